"""Is an object on the cluster what we would apply? Then nothing is sent.

What was applied is stamped with its digest. A live object with that stamp whose fields still have our values needs no
write; what the server filled in or others added is no difference.
"""

from __future__ import annotations

import hashlib
import re
from decimal import Decimal
from typing import Any

from dynamod.drivers.kubernetes.workloads import Object
from dynamod.drivers.kubernetes.yaml_text import document

APPLIED = "ai.dynamo.applied"

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
    stamp = wanted["metadata"]["annotations"][APPLIED]
    return live["metadata"].get("annotations", {}).get(APPLIED) == stamp and _covers(live, wanted)


def _covers(live: Any, wanted: Any) -> bool:
    """Whether everything that is wanted is there. The server leaves out what is empty, zero or false."""
    if isinstance(wanted, dict):
        if live is None:
            return not any(wanted.values())
        return isinstance(live, dict) and all(_covers(live.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, (list, tuple)):
        there = [] if live is None else live
        return (
            isinstance(there, list)
            and len(there) == len(wanted)
            and all(_covers(one, other) for one, other in zip(there, wanted, strict=True))
        )
    if live is None:
        return not wanted
    return bool(live == wanted) or _same_quantity(live, wanted)


def _same_quantity(live: object, wanted: object) -> bool:
    """The server rewrites 1073741824 as 1Gi."""
    if not isinstance(live, str) or not isinstance(wanted, str):
        return False
    first, second = _QUANTITY.fullmatch(live), _QUANTITY.fullmatch(wanted)
    return first is not None and second is not None and _amount(first) == _amount(second)


def _amount(found: re.Match[str]) -> Decimal:
    return Decimal(found[1]) * _FACTORS[found[2] or ""]
