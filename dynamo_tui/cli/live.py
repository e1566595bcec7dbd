"""Progress on a terminal, drawn with rich. Imported only when somebody watches."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from dynamo_tui.cli.waiting import service_lines
from dynamod.schema.graphs import Graph, Replica


class LiveProgress:
    """The services of the graph, each with a tick once all its replicas are ready."""

    def __init__(self, console: Console | None = None) -> None:
        self._spinner = Spinner("dots")
        self._live = Live(console=console or Console(stderr=True), refresh_per_second=10, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._live.stop()

    def graph(self, graph: Graph, replicas: list[Replica]) -> None:
        rows: list[Text | Spinner] = []
        for service, line in zip(graph.services, service_lines(graph, replicas), strict=True):
            done = service.desired > 0 and service.ready >= service.desired
            rows.append(Text(f"  {'✓' if done else '…'} {line}", style="green" if done else ""))
        self._spinner.update(text=Text(f"{graph.name}: {graph.state.value}"))
        self._live.update(Group(self._spinner, *rows))
