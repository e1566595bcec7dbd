"""YAML that every reader takes for the same: keys sorted, no anchors, no folded lines, doubtful text quoted."""

from __future__ import annotations

import re
from typing import Any

import yaml

_DOUBTFUL = re.compile(r"[-+.0-9].*|[yYnN]", re.DOTALL)
"""Text that YAML 1.1 as Python reads it leaves a string, and that readers in Go may take for a number or a truth."""


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - named by the base class
        return True


_BREAKS = re.compile("[\\n\\r\\x85\\u2028\\u2029\\ufeff]")
"""Only in double quotes do they come back as what they were."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = '"' if _BREAKS.search(value) else "'" if _DOUBTFUL.fullmatch(value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def document(value: Any) -> str:
    """One document."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=True, allow_unicode=True, width=2**31)
    return text


def file_name(one: dict[str, Any]) -> str:
    """What an object's own file is called."""
    return f"{one['kind'].lower()}-{one['metadata']['name']}.yaml"
