"""Links: which of the declared dependencies a graph uses, and who fulfils an interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dynamo.sdk.errors import LinkError

if TYPE_CHECKING:
    from dynamo.sdk.dependency import Dependency
    from dynamo.sdk.services import Service


class Links:
    """Every link made in this process, by its source."""

    def __init__(self) -> None:
        self.edges: dict[Service[Any], list[Service[Any]]] = {}

    def add(self, edge: tuple[Service[Any], Service[Any]]) -> None:
        """Record one. The target counts as linked too, so its own unused dependencies go as well."""
        source, target = edge
        targets = self.edges.setdefault(source, [])
        if target not in targets:
            targets.append(target)
        self.edges.setdefault(target, [])

    def remove_unused_edges(self) -> None:
        """Take from every service that appears in a link the dependencies that no link uses. Idempotent."""
        for source, targets in self.edges.items():
            source.remove_unused_edges(set(targets))

    def clear(self) -> None:
        """Forget all links; edges that were removed stay removed."""
        self.edges.clear()


LinkedServices = Links()


def fulfilled_by(source: Service[Any], target: Service[Any]) -> Dependency:
    """The one dependency of `source` that `target` fulfils.

    Raises:
        LinkError: there is none, or several.
    """
    edges = source.dependencies.values()
    matching = [edge for edge in edges if edge.on is target]
    if not matching:
        matching = [edge for edge in edges if issubclass(target.inner, edge.on.inner)]
    if not matching:
        raise LinkError(f"{target.name} does not fulfill any dependencies required by {source.name}")
    if len(matching) > 1:
        names = ", ".join(edge.attribute for edge in matching)
        raise LinkError(f"{target.name} fulfills multiple dependencies required by {source.name}: {names}")
    return matching[0]
