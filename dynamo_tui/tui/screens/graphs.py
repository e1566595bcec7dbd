"""Home: every graph, its state, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from dynamo_tui.tui.figures import MISSING, age
from dynamo_tui.tui.log_feed import LogPart
from dynamo_tui.tui.screens.base import View
from dynamo_tui.tui.store import GraphKey, Link, Topic
from dynamo_tui.tui.tones import Run, Tone, graph_mark
from dynamo_tui.tui.widgets.table import Column, Table
from dynamod.schema import Graph, GraphState


def key_of(graph: Graph) -> GraphKey:
    return GraphKey(graph.project, graph.name)


def reason_text(graph: Graph) -> str:
    """The reason for a state in words, with its evidence."""
    words = graph.reason.replace("_", " ")
    return f"{words}: {graph.message}" if graph.message else words


class GraphsView(View):
    listens: ClassVar[frozenset[Topic]] = frozenset({Topic.GRAPHS, Topic.REPLICAS, Topic.LINK, Topic.CLOCK})
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l", "open_logs", "Logs", id="graphs.logs"),
        Binding("v", "open_kv", "KV router", id="graphs.kv"),
        Binding("space", "mark", "Mark for logs", show=False, id="graphs.mark"),
    ]

    def compose(self) -> ComposeResult:
        columns: list[Column[Graph]] = [
            Column("GRAPH", self._title, limit=40),
            Column("STATE", lambda g: ((g.state, graph_mark(g.state)[1]),), width=9),
            Column("READY", self._ready, width=7, align="right"),
            Column("RST", self._restarts, width=4, align="right", rank=2),
            Column("REV", lambda g: ((str(g.revision), Tone.TEXT),), width=3, align="right", rank=3),
            Column("AGE", self._age, width=6, align="right", rank=2),
            Column("DRIVER", lambda g: ((g.driver, Tone.MUTED),), width=10, rank=5),
            Column(
                "ADDRESS", lambda g: ((g.address or MISSING, Tone.INFO if g.address else Tone.MUTED),), width=24, rank=4
            ),
            Column("WHY", self._why, width=30, grow=1, rank=1),
        ]
        yield Table(columns, lambda g: str(key_of(g)), id="graphs")

    @property
    def table(self) -> Table[Graph]:
        return self.query_one("#graphs", Table)

    @property
    def crumbs(self) -> Sequence[str]:
        return ("graphs",)

    @property
    def graph_key(self) -> GraphKey | None:
        row = self.table.row
        return None if row is None else key_of(row)

    def update_view(self, changed: frozenset[Topic]) -> None:
        if changed == {Topic.CLOCK}:
            self.table.refresh()
            return
        self.table.empty = (
            "no graphs yet - start one: dynamoctl submit module:Class"
            if self.store.link is not Link.CONNECTING
            else self.store.link_message or "connecting …"
        )
        self.table.set_rows(sorted(self.store.graphs.values(), key=_order))

    def apply_filter(self, text: str) -> None:
        self.table.set_filter(text)

    @on(Table.Selected, "#graphs")
    def _open(self, message: Table.Selected) -> None:
        message.stop()
        if (key := self.graph_key) is not None:
            self.dashboard.open_graph(key)

    def action_mark(self) -> None:
        self.table.toggle_mark()

    def action_open_logs(self) -> None:
        if marked := self.table.marked_rows:
            self.dashboard.open_selected_logs([LogPart(key_of(graph)) for graph in marked])
        elif (key := self.graph_key) is not None:
            self.dashboard.open_logs(key)

    def action_open_kv(self) -> None:
        if (key := self.graph_key) is not None:
            self.dashboard.open_kv(key)

    # -- cells ----------------------------------------------------------------------------------------------

    def _title(self, graph: Graph) -> tuple[Run, ...]:
        return (graph_mark(graph.state), (f" {key_of(graph)}", Tone.STRONG))

    def _ready(self, graph: Graph) -> tuple[Run, ...]:
        desired = sum(s.desired for s in graph.services)
        ready = sum(self.store.ready_count(key_of(graph), s.name) for s in graph.services)
        return ((f"{ready}/{desired}", Tone.OK if ready >= desired else Tone.WARN),)

    def _restarts(self, graph: Graph) -> tuple[Run, ...]:
        restarts = sum(r.restarts for r in self.store.replicas.get(key_of(graph), {}).values())
        return ((str(restarts), Tone.WARN if restarts else Tone.MUTED),)

    def _age(self, graph: Graph) -> tuple[Run, ...]:
        return ((age(graph.created_at, self.now()), Tone.MUTED),)

    def _why(self, graph: Graph) -> tuple[Run, ...]:
        troubled = graph.state in (GraphState.FAILED, GraphState.DEGRADED)
        return ((reason_text(graph), Tone.WARN if troubled else Tone.MUTED),)


_TROUBLE_FIRST = {GraphState.FAILED: 0, GraphState.DEGRADED: 1}


def _order(graph: Graph) -> tuple[int, GraphKey]:
    """What needs a look comes first."""
    return _TROUBLE_FIRST.get(graph.state, 2), key_of(graph)
