"""Old path of the command line application: `from dynamo.sdk.cli.cli import cli`.

The application lives in the front-end package, which a replica must never import; it is looked up by name
when somebody asks for it.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["cli"]  # noqa: F822 - resolved below


def __getattr__(name: str) -> Any:
    if name != "cli":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module("dynamo_tui.cli.app").application
