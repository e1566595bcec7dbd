"""The ids that a key map may name: those of every binding of the dashboard."""

from __future__ import annotations

import importlib
import pkgutil

from textual.binding import Binding
from textual.dom import DOMNode

import dynamo_tui.tui


def known_key_ids() -> set[str]:
    """Imports every page, for most are imported only once they are opened."""
    ids = set()
    for module in pkgutil.walk_packages(dynamo_tui.tui.__path__, "dynamo_tui.tui."):
        if module.name.rpartition(".")[2] in ("__main__", "web"):
            continue  # programs, without pages
        for found in vars(importlib.import_module(module.name)).values():
            if isinstance(found, type) and issubclass(found, DOMNode):
                bindings = found.__dict__.get("BINDINGS", ())
                ids |= {binding.id for binding in bindings if isinstance(binding, Binding) and binding.id}
    return ids
