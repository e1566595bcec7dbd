"""Is an object on the cluster what we would apply? Then nothing is sent.

What was applied is stamped with its digest. A live object with that stamp whose fields still have our values needs no
write; what the server filled in or others added is no difference.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from dynamod.drivers.kubernetes.workloads import Object
from dynamod.drivers.kubernetes.yaml_text import document

APPLIED = "ai.dynamo.applied"
_KEYS = ("name", "mountPath", "containerPort", "topologyKey", "host")

_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_FACTORS = {
    "m": Decimal("0.001"),
    **{unit: Decimal(1000) ** power for power, unit in enumerate(("", "k", "M", "G", "T", "P", "E"))},
    **{unit: Decimal(1024) ** power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), start=1)},
}


def stamped(one: Object) -> Object:
    """The object with the digest of what it says."""
    digest = hashlib.sha256(document(one).encode()).hexdigest()
    about = one["metadata"]
    return one | {"metadata": about | {"annotations": about.get("annotations", {}) | {APPLIED: digest}}}


def holds(live: Object, wanted: Object) -> bool:
    """`wanted` is stamped. True where applying it would change nothing."""
    return next(differences(live, wanted), None) is None


def differences(live: Object, wanted: Object) -> Iterator[str]:
    """The fields, by dotted path, that are not as wanted. `wanted` is stamped: where nothing else differs, the stamp
    alone tells that a field is to go."""
    yield from _differing(live, wanted, "")


def _differing(live: Any, wanted: Any, path: str) -> Iterator[str]:
    """The server leaves out what is empty, zero or false, and keeps lists of named things in an order of its own."""
    if live is None:
        if not _is_empty(wanted):
            yield path
    elif isinstance(wanted, dict) and isinstance(live, dict):
        for key, value in wanted.items():
            yield from _differing(live.get(key), value, f"{path}.{key}" if path else str(key))
    elif isinstance(wanted, (list, tuple)) and isinstance(live, list) and len(live) == len(wanted):
        there, meant = _by_key(live), _by_key(wanted)
        for key, value in meant.items():
            yield from _differing(there.get(key), value, f"{path}[{key}]")
    elif live != wanted and not _same_quantity(live, wanted):
        yield path


def _by_key(items: Sequence[Any]) -> dict[Any, Any]:
    """By what the server tells the items of a list apart, else by their place."""
    for name in _KEYS:
        keys = [one.get(name) if isinstance(one, dict) else None for one in items]
        if None not in keys and len(set(keys)) == len(keys):
            return dict(zip(keys, items, strict=True))
    return dict(enumerate(items))


def _is_empty(wanted: Any) -> bool:
    return all(map(_is_empty, wanted.values())) if isinstance(wanted, dict) else not wanted


def _same_quantity(live: object, wanted: object) -> bool:
    """The server rewrites 1073741824 as 1Gi."""
    if not isinstance(live, str) or not isinstance(wanted, str):
        return False
    first, second = _QUANTITY.fullmatch(live), _QUANTITY.fullmatch(wanted)
    return first is not None and second is not None and _amount(first) == _amount(second)


def _amount(found: re.Match[str]) -> Decimal:
    return Decimal(found[1]) * _FACTORS[found[2] or ""]
