"""What the build programs print: one JSON document a line on stdout, at once."""

from __future__ import annotations

import sys
from typing import Any

import msgspec


def tell(message: dict[str, Any]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()
