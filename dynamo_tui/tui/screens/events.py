"""What happened, by whom, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult

from dynamo_tui.tui import figures
from dynamo_tui.tui.screens.base import Feed, View
from dynamo_tui.tui.screens.replica_cells import replica_name
from dynamo_tui.tui.store import GraphKey, Topic
from dynamo_tui.tui.tones import Run, Tone, event_tone
from dynamo_tui.tui.widgets.table import Column, Table
from dynamod.schema import Event


class EventsView(View):
    listens: ClassVar[frozenset[Topic]] = frozenset({Topic.EVENTS})

    def __init__(self, key: GraphKey | None = None) -> None:
        super().__init__()
        self.key = key

    def compose(self) -> ComposeResult:
        def text(read: Any, tone: Tone = Tone.TEXT) -> Any:
            def cell(event: Event) -> tuple[Run, ...]:
                value = read(event)
                return ((str(value), tone),) if value else ((figures.MISSING, Tone.MUTED),)

            return cell

        def action(event: Event) -> tuple[Run, ...]:
            return ((event.action, event_tone(event)),)

        def reason(event: Event) -> tuple[Run, ...]:
            return (((event.reason or figures.MISSING).replace("_", " "), event_tone(event)),)

        yield Table[Event](
            [
                Column("TIME", text(lambda e: figures.clock(e.at), Tone.MUTED), width=8),
                Column("GRAPH", text(lambda e: e.graph, Tone.STRONG), limit=24),
                Column("ACTION", action, width=16),
                Column("REASON", reason, limit=24),
                Column("TARGET", text(self._target), limit=22, rank=2),
                Column("ACTOR", text(lambda e: e.actor), limit=20, rank=3),
                Column("SEQ", text(lambda e: e.seq, Tone.MUTED), width=7, align="right", rank=4),
                Column("MESSAGE", text(lambda e: e.message, Tone.MUTED), width=16, grow=1, rank=1),
            ],
            lambda e: str(e.seq),
            empty="nothing has happened yet",
            id="events",
        )

    def _target(self, event: Event) -> str | None:
        """The replica by its short name where it is known, else the service."""
        if event.replica and event.project and event.graph:
            held = self.store.replica(GraphKey(event.project, event.graph), event.replica)
            return replica_name(held) if held else event.replica
        return event.service

    @property
    def table(self) -> Table[Event]:
        return self.query_one("#events", Table)

    @property
    def identity(self) -> tuple[object, ...]:
        return (type(self), self.key)

    @property
    def crumbs(self) -> Sequence[str]:
        return ("graphs", str(self.key), "events") if self.key else ("events",)

    @property
    def graph_key(self) -> GraphKey | None:
        row = self.table.row
        if row is not None and row.project and row.graph:
            return GraphKey(row.project, row.graph)
        return self.key

    @property
    def replica_id(self) -> str | None:
        return self.table.row.replica if self.table.row else None

    def feeds(self) -> Sequence[Feed]:
        return (self.connection.past_events,)

    def update_view(self, changed: frozenset[Topic]) -> None:
        del changed
        events = [e for e in self.store.events if self.key is None or (e.project, e.graph) == self.key]
        self.table.set_rows(reversed(events))

    def apply_filter(self, text: str) -> None:
        self.table.set_filter(text)

    @on(Table.Selected, "#events")
    def _open(self, message: Table.Selected) -> None:
        message.stop()
        key, replica = self.graph_key, self.replica_id
        if key is None:
            return
        if replica is not None and self.store.replica(key, replica) is not None:
            self.dashboard.open_replica(key, replica)
        elif key in self.store.graphs:
            self.dashboard.open_graph(key)
