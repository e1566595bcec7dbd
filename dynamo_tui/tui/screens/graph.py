"""One graph: its topology with live figures on the nodes, and its replicas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from dynamo_tui.tui import figures
from dynamo_tui.tui.drawing.braille import sparkline
from dynamo_tui.tui.drawing.topology import Branch, tree
from dynamo_tui.tui.log_feed import LogPart
from dynamo_tui.tui.screens.base import Feed, View
from dynamo_tui.tui.screens.graphs import reason_text
from dynamo_tui.tui.screens.replica_cells import replica_columns
from dynamo_tui.tui.store import GraphKey, Topic
from dynamo_tui.tui.tones import Run, Tone, graph_mark, ratio_tone
from dynamo_tui.tui.widgets.paint import Lines
from dynamo_tui.tui.widgets.table import Column, Table
from dynamod.schema import Graph, Replica, ServiceRates, ServiceStatus

SPARK_WIDTH = 12
SPARK_S = 60.0


@dataclass(frozen=True)
class Node:
    """A service in the tree."""

    branch: Branch
    status: ServiceStatus


class GraphView(View):
    listens: ClassVar[frozenset[Topic]] = frozenset({Topic.GRAPHS, Topic.REPLICAS, Topic.RATES, Topic.CLOCK})
    DEFAULT_CSS = """
    GraphView #services { height: auto; max-height: 50%; }
    GraphView #replicas { height: 1fr; border-top: solid $panel; border-title-color: $text-muted; }
    GraphView #replicas:focus { border-top: solid $primary; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l", "open_logs", "Logs", id="graph.logs"),
        Binding("v", "open_kv", "KV router", id="graph.kv"),
        Binding("space", "mark", "Mark for logs", show=False, id="graph.mark"),
        Binding("tab", "other_table", "Services/replicas", id="graph.switch"),
        Binding("a", "all_services", "All replicas", show=False, id="graph.all"),
    ]

    def __init__(self, key: GraphKey) -> None:
        super().__init__()
        self.key = key
        self.only: str | None = None

    def compose(self) -> ComposeResult:
        yield Lines(id="summary")
        yield Table(self._service_columns(), lambda n: n.branch.prefix + n.status.name, id="services")
        yield Table(replica_columns(self._rates_of, self.now), lambda r: r.id, empty="no replicas", id="replicas")

    @property
    def services(self) -> Table[Node]:
        return self.query_one("#services", Table)

    @property
    def replica_table(self) -> Table[Replica]:
        return self.query_one("#replicas", Table)

    @property
    def identity(self) -> tuple[object, ...]:
        return (type(self), self.key)

    @property
    def crumbs(self) -> Sequence[str]:
        return ("graphs", str(self.key))

    @property
    def graph_key(self) -> GraphKey:
        return self.key

    @property
    def service(self) -> str | None:
        if self.replica_table.has_focus and self.replica_table.row is not None:
            return self.replica_table.row.service
        row = self.services.row
        return None if row is None else row.status.name

    @property
    def replica_id(self) -> str | None:
        row = self.replica_table.row
        return row.id if row is not None and self.replica_table.has_focus else None

    def feeds(self) -> Sequence[Feed]:
        return (partial(self.connection.rates, self.key),)

    def focus_main(self) -> None:
        self.screen.set_focus(self.services)

    def update_view(self, changed: frozenset[Topic]) -> None:
        graph = self.store.graphs.get(self.key)
        self.query_one("#summary", Lines).set_lines(self._summary(graph))
        if graph is None:
            self.services.set_rows(())
            self.replica_table.set_rows(())
            return
        if changed == {Topic.CLOCK}:
            self.replica_table.refresh()
            return
        self._show_services(graph)
        replicas = self.store.replicas_of(self.key, self.only)
        self.replica_table.set_rows(replicas)
        whose = f" of {self.only} (a: all)" if self.only else ""
        self.replica_table.border_title = f"{len(replicas)} replicas{whose}"

    def _show_services(self, graph: Graph) -> None:
        by_name = {s.name: s for s in graph.services}
        edges = {s.name: [d.service for d in s.dependencies] for s in graph.services}
        self.services.set_rows(Node(b, by_name[b.service]) for b in tree(edges, graph.entry))

    def _summary(self, graph: Graph | None) -> list[list[Run]]:
        if graph is None:
            return [[(f" {self.key} is not there any more", Tone.WARN)]]
        mark, tone = graph_mark(graph.state)
        line: list[Run] = [
            (f" {mark} {graph.state}", tone),
            (f"  {reason_text(graph)}", Tone.MUTED),
            ("  rev ", Tone.MUTED),
            (str(graph.revision), Tone.TEXT),
            (f"  {graph.driver}", Tone.MUTED),
        ]
        if graph.address:
            line += [("  ", Tone.MUTED), (graph.address, Tone.INFO)]
        return [line]

    def apply_filter(self, text: str) -> None:
        self.replica_table.set_filter(text)

    # -- actions --------------------------------------------------------------------------------------------

    @on(Table.Selected, "#services")
    def _narrow(self, message: Table.Selected) -> None:
        message.stop()
        self.only = message.row.status.name
        self.update_view(self.listens)
        self.screen.set_focus(self.replica_table)

    @on(Table.Selected, "#replicas")
    def _open_replica(self, message: Table.Selected) -> None:
        message.stop()
        self.dashboard.open_replica(self.key, message.row.id)

    def action_all_services(self) -> None:
        self.only = None
        self.update_view(self.listens)

    def action_other_table(self) -> None:
        self.screen.set_focus(self.services if self.replica_table.has_focus else self.replica_table)

    def action_mark(self) -> None:
        (self.replica_table if self.replica_table.has_focus else self.services).toggle_mark()

    def action_open_logs(self) -> None:
        marked = [LogPart(self.key, row.status.name) for row in self.services.marked_rows if not row.branch.again]
        marked += [LogPart(self.key, r.service, r.id) for r in self.replica_table.marked_rows]
        if marked:
            self.dashboard.open_selected_logs(marked)
            return
        self.dashboard.open_logs(self.key, service=self.service, replica=self.replica_id)

    def action_open_kv(self) -> None:
        self.dashboard.open_kv(self.key)

    # -- cells ----------------------------------------------------------------------------------------------

    def _rates_of(self, replica: Replica) -> ServiceRates | None:
        return self.store.rates.get(self.key, {}).get((replica.service, replica.id))

    def _rates(self, node: Node) -> ServiceRates:
        held = self.store.rates.get(self.key, {}).get((node.status.name, None))
        return held if held is not None else ServiceRates(service=node.status.name)

    def _service_columns(self) -> list[Column[Node]]:
        def figure(text: str) -> tuple[Run, ...]:
            return ((text, Tone.MUTED if text == figures.MISSING else Tone.TEXT),)

        return [
            Column("SERVICE", self._service_name, limit=36),
            Column("READY", self._ready, width=5, align="right"),
            Column("REQ/S", lambda n: figure(figures.number(self._rates(n).requests_per_s)), width=6, align="right"),
            Column("QUEUE", lambda n: figure(figures.number(self._rates(n).queue_depth)), width=5, align="right"),
            Column("P95", lambda n: figure(figures.duration(self._rates(n).latency_p95_s)), width=6, align="right"),
            Column("HIT", self._hit, width=5, align="right"),
            Column("ERR/S", self._errors, width=5, align="right", rank=2),
            Column("BUSY", lambda n: figure(figures.number(self._rates(n).in_flight)), width=5, align="right", rank=3),
            Column(
                "TTFT95", lambda n: figure(figures.duration(self._rates(n).ttft_p95_s)), width=6, align="right", rank=4
            ),
            Column("CPU", lambda n: figure(figures.cores(self._rates(n).cpu_cores)), width=6, align="right", rank=2),
            Column("MEM", lambda n: figure(figures.memory(self._rates(n).rss_bytes)), width=6, align="right", rank=2),
            Column("LAST MINUTE", self._spark, width=SPARK_WIDTH, rank=3),
        ]

    def _service_name(self, node: Node) -> tuple[Run, ...]:
        status = node.status
        if node.branch.again:
            return ((node.branch.prefix, Tone.MUTED), (f"{status.name} ↑", Tone.MUTED))
        ready = self.store.ready_count(self.key, status.name)
        mark: Run = ("●", Tone.OK) if ready >= status.desired else ("▲", Tone.WARN) if ready else ("○", Tone.BAD)
        return ((node.branch.prefix, Tone.MUTED), mark, (f" {status.name}", Tone.STRONG))

    def _ready(self, node: Node) -> tuple[Run, ...]:
        ready = self.store.ready_count(self.key, node.status.name)
        return ((f"{ready}/{node.status.desired}", Tone.OK if ready >= node.status.desired else Tone.WARN),)

    def _hit(self, node: Node) -> tuple[Run, ...]:
        ratio = self._rates(node).hit_rate
        return ((figures.percent(ratio), ratio_tone(ratio)),)

    def _errors(self, node: Node) -> tuple[Run, ...]:
        errors = self._rates(node).errors_per_s
        return ((figures.number(errors), Tone.BAD if errors else Tone.MUTED),)

    def _spark(self, node: Node) -> tuple[Run, ...]:
        now = self.now()
        track = self.store.rate_track(self.key, (node.status.name, None), "requests_per_s")
        return ((sparkline(track.buckets(now - SPARK_S, now, SPARK_WIDTH)), Tone.INFO),)
