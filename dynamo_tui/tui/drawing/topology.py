"""A graph of services as a tree of lines. Pure.

Edges lead from a service to what it depends on, as requests flow: from the entry to the workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Branch:
    """One service in the tree: what stands before its name, and whether it was shown further up."""

    service: str
    prefix: str
    again: bool = False


def tree(edges: Mapping[str, Sequence[str]], entry: str) -> list[Branch]:
    """Every service once, below the first that leads to it; further edges to it are `again`.

    `edges` has a key for every service. Services that the entry does not reach are roots of their own.
    """
    branches: list[Branch] = []
    seen: set[str] = set()

    def walk(service: str, lead: str, joint: str) -> None:
        again = service in seen
        branches.append(Branch(service, lead + joint, again))
        if again:
            return
        seen.add(service)
        below = lead + ("   " if joint == "└─ " else "│  " if joint else "")
        children = [c for c in edges.get(service, ()) if c in edges]
        for i, child in enumerate(children):
            walk(child, below, "└─ " if i == len(children) - 1 else "├─ ")

    reached_by_other = {c for targets in edges.values() for c in targets}
    for root in [entry, *(s for s in edges if s not in reached_by_other), *edges]:
        if root in edges and root not in seen:
            walk(root, "", "")
    return branches
