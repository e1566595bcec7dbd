"""The KV router: what it reuses, what it could have reused, who carries the load, and how it decides."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal

from dynamo_tui.tui import figures
from dynamo_tui.tui.drawing.braille import bar, sparkline
from dynamo_tui.tui.history import Track
from dynamo_tui.tui.screens.base import Feed, View
from dynamo_tui.tui.screens.replica_cells import replica_name
from dynamo_tui.tui.store import GraphKey, KvFeed, Topic
from dynamo_tui.tui.tones import Run, Tone, ratio_tone, series_tone
from dynamo_tui.tui.widgets.chart import Chart, Curve, Range
from dynamo_tui.tui.widgets.paint import Lines
from dynamo_tui.tui.widgets.table import Column, Table
from dynamod.schema import HitRate, KvDecision, KvPrefix, KvSnapshot, KvWorker

WINDOWS_S = (60.0, 300.0, 600.0, 1800.0)
TREND_WIDTH = 10
BAR_WIDTH = 8
MAX_DECISIONS_SHOWN = 200


class KvView(View):
    listens: ClassVar[frozenset[Topic]] = frozenset({Topic.KV, Topic.REPLICAS, Topic.CLOCK})
    DEFAULT_CSS = """
    KvView #hit-rate { height: 1fr; min-height: 6; }
    KvView #workers { height: auto; max-height: 40%; min-height: 3; }
    KvView #lower { height: 1fr; min-height: 4; border-top: solid $panel; border-title-color: $text-muted; }
    KvView #decisions { width: 1fr; height: 1fr; }
    KvView #prefixes { width: 44; height: 1fr; display: none; }
    KvView.-wide #prefixes { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("plus,equals_sign", "zoom(-1)", "Shorter", key_display="+", show=False, id="kv.zoom-in"),
        Binding("minus", "zoom(1)", "Longer", show=False, id="kv.zoom-out"),
        Binding("p", "predicted", "Predicted/actual", id="kv.kind"),
        Binding("tab", "next_table", "Next panel", id="kv.next"),
        Binding("l", "open_logs", "Logs", id="kv.logs"),
    ]

    def __init__(self, key: GraphKey) -> None:
        super().__init__()
        self.key = key
        self.window = 2
        self.show_actual = False
        self._tones: dict[str, Tone] = {}

    def compose(self) -> ComposeResult:
        yield Lines(id="kv-summary")
        yield Chart(value_format=lambda v: f"{v * 100:.0f}%", id="hit-rate")
        yield Table(self._worker_columns(), lambda w: w.worker, empty="no worker has reported yet", id="workers")
        with Horizontal(id="lower"):
            yield Table(self._decision_columns(), lambda d: f"{d.seq}", empty="no routing decision yet", id="decisions")
            yield Table(self._prefix_columns(), lambda p: p.prefix, empty="no hot prefixes yet", id="prefixes")

    def on_resize(self) -> None:
        self.set_class(self.size.width >= 130, "-wide")

    @property
    def identity(self) -> tuple[object, ...]:
        return (type(self), self.key)

    @property
    def crumbs(self) -> Sequence[str]:
        return ("graphs", str(self.key), "kv router")

    @property
    def graph_key(self) -> GraphKey:
        return self.key

    @property
    def workers_table(self) -> Table[KvWorker]:
        return self.query_one("#workers", Table)

    @property
    def decisions_table(self) -> Table[KvDecision]:
        return self.query_one("#decisions", Table)

    def feeds(self) -> Sequence[Feed]:
        return (partial(self.connection.kv, self.key),)

    def focus_main(self) -> None:
        self.screen.set_focus(self.workers_table)

    @property
    def feed(self) -> KvFeed:
        return self.store.kv_feed(self.key)

    # -- drawing --------------------------------------------------------------------------------------------

    def update_view(self, changed: frozenset[Topic]) -> None:
        del changed
        feed = self.feed
        self.query_one("#kv-summary", Lines).set_lines(self._summary(feed.snapshot))
        self._show_chart(feed)
        workers = self._workers()
        self._tones = {w.worker: series_tone(i) for i, w in enumerate(workers)}
        self.workers_table.set_rows(workers)
        latest = list(feed.decisions)[-MAX_DECISIONS_SHOWN:]
        self.decisions_table.set_rows(reversed(latest))
        self.query_one("#prefixes", Table).set_rows(feed.snapshot.prefixes if feed.snapshot else ())
        kept = " (of those that the daemon still holds)" if self.session.in_past else ""
        self.query_one("#lower").border_title = f"latest decisions{kept}"

    def _workers(self) -> list[KvWorker]:
        """By name, so that each keeps its place and its colour."""
        held = self.feed.snapshot.workers if self.feed.snapshot else ()
        return sorted(held, key=lambda w: (self._worker_name(w.worker), w.worker))

    def _show_chart(self, feed: KvFeed) -> None:
        tracks = feed.actual if self.show_actual else feed.predicted
        overall = tracks.get("", Track())
        curves = [Curve(w.worker, series_tone(i), tracks.get(w.worker, Track())) for i, w in enumerate(self._workers())]
        end = self.now()
        curves.append(Curve("overall", Tone.STRONG, overall))
        self.query_one("#hit-rate", Chart).show(curves, Range(end - WINDOWS_S[self.window], end, 0.0, 1.0))

    def _summary(self, snapshot: KvSnapshot | None) -> list[list[Run]]:
        if snapshot is None:
            return [[(" waiting for the router's first figures …", Tone.MUTED)], []]
        predicted, actual = snapshot.predicted, snapshot.actual
        shown = actual if self.show_actual else predicted
        first: list[Run] = [
            (" hit rate ", Tone.MUTED),
            ("predicted " if not self.show_actual else "actual ", Tone.STRONG),
            (figures.percent(shown.ratio_of_sums), ratio_tone(shown.ratio_of_sums)),
            ("  actual " if not self.show_actual else "  predicted ", Tone.MUTED),
            (figures.percent((predicted if self.show_actual else actual).ratio_of_sums), Tone.TEXT),
            ("  mean of requests ", Tone.MUTED),
            (figures.percent(shown.mean_of_ratios), Tone.TEXT),
            ("  avoidable misses ", Tone.MUTED),
            (figures.percent(snapshot.avoidable_share), Tone.WARN if snapshot.avoidable_share else Tone.TEXT),
        ]
        second: list[Run] = [
            (f" last {figures.span(snapshot.window_s)}: ", Tone.MUTED),
            (figures.count(shown.requests), Tone.TEXT),
            (" requests, ", Tone.MUTED),
            (figures.count(shown.blocks_reused), Tone.TEXT),
            (" of ", Tone.MUTED),
            (figures.count(shown.blocks_asked), Tone.TEXT),
            (" blocks reused", Tone.MUTED),
            (f"  block {figures.count(snapshot.block_size)}", Tone.MUTED),
            (f"  mode {snapshot.mode or figures.MISSING}", Tone.MUTED),
        ]
        return [first, second]

    # -- cells ----------------------------------------------------------------------------------------------

    def _rate_of(self, worker: KvWorker) -> HitRate:
        return worker.actual if self.show_actual else worker.predicted

    def _worker_name(self, worker_id: str) -> str:
        snapshot = self.feed.snapshot
        worker = next((w for w in snapshot.workers if w.worker == worker_id), None) if snapshot else None
        if worker is not None and worker.replica:
            replica = self.store.replica(self.key, worker.replica)
            if replica is not None:
                _, dot, rank = worker_id.partition(".")
                return replica_name(replica) + dot + rank
        return worker_id[-6:]

    def _tone(self, worker: str) -> Tone:
        return self._tones.get(worker, Tone.TEXT)

    def _kept(self, text: str) -> str:
        """What workers hold and do is not retained: in a daemon's past it is missing."""
        return figures.MISSING if self.session.in_past else text

    def _worker_columns(self) -> list[Column[KvWorker]]:
        def name(w: KvWorker) -> tuple[Run, ...]:
            return (("━ ", self._tone(w.worker)), (self._worker_name(w.worker), Tone.STRONG))

        def cache(w: KvWorker) -> tuple[Run, ...]:
            # How much of the cache holds something that could be reused; in use by requests is LOAD.
            occupied = w.cached_blocks / w.total_blocks if w.total_blocks else w.cache_usage
            if occupied is None or self.session.in_past:
                return ((figures.MISSING, Tone.MUTED),)
            full, rest = bar(occupied, BAR_WIDTH)
            return ((full, self._tone(w.worker)), (rest, Tone.MUTED), (figures.percent(occupied).rjust(6), Tone.TEXT))

        def hit(w: KvWorker) -> tuple[Run, ...]:
            ratio = self._rate_of(w).ratio_of_sums
            return ((figures.percent(ratio), ratio_tone(ratio)),)

        def trend(w: KvWorker) -> tuple[Run, ...]:
            end = self.now()
            tracks = self.feed.actual if self.show_actual else self.feed.predicted
            values = tracks.get(w.worker, Track()).buckets(end - WINDOWS_S[self.window], end, TREND_WIDTH)
            return ((sparkline(values, 0.0, 1.0), self._tone(w.worker)),)

        return [
            Column("WORKER", name, limit=24),
            Column("HIT", hit, width=6, align="right"),
            Column("REQS", lambda w: ((figures.count(self._rate_of(w).requests), Tone.TEXT),), width=6, align="right"),
            Column("RUN", lambda w: ((self._kept(str(w.active_requests)), Tone.TEXT),), width=4, align="right"),
            Column(
                "WAIT",
                lambda w: ((self._kept(str(w.waiting_requests)), Tone.WARN if w.waiting_requests else Tone.MUTED),),
                width=4,
                align="right",
            ),
            Column(
                "LOAD", lambda w: ((self._kept(figures.count(w.active_blocks)), Tone.TEXT),), width=6, align="right"
            ),
            Column(
                "CACHED",
                lambda w: ((self._kept(figures.count(w.cached_blocks)), Tone.TEXT),),
                width=7,
                align="right",
                rank=2,
            ),
            Column("BLOCKS", lambda w: ((figures.count(w.total_blocks), Tone.MUTED),), width=7, align="right", rank=3),
            Column("CACHE", cache, width=BAR_WIDTH + 6, rank=1),
            Column("TREND", trend, width=TREND_WIDTH, rank=2),
        ]

    def _decision_columns(self) -> list[Column[KvDecision]]:
        def overlap(d: KvDecision) -> tuple[Run, ...]:
            share = d.overlap_blocks / d.prompt_blocks if d.prompt_blocks else None
            return ((f"{d.overlap_blocks}/{d.prompt_blocks}", ratio_tone(share)),)

        def missed(d: KvDecision) -> tuple[Run, ...]:
            lost = d.best_overlap_blocks - d.overlap_blocks
            return ((f"-{lost}" if lost > 0 else "·", Tone.WARN if lost > 0 else Tone.MUTED),)

        def cost(d: KvDecision) -> tuple[Run, ...]:
            chosen = next((c for c in d.candidates if c.worker == d.worker), None)
            return ((figures.MISSING if chosen is None else f"{chosen.cost:.2f}", Tone.TEXT),)

        def candidates(d: KvDecision) -> tuple[Run, ...]:
            runs: list[Run] = []
            for c in sorted(d.candidates, key=lambda c: (c.worker != d.worker, c.cost)):
                text = f"{self._worker_name(c.worker)} {c.overlap_blocks}b/{c.cost:.2f}"
                tone = self._tone(c.worker) if c.eligible else Tone.MUTED
                runs.append((("✓" if c.worker == d.worker else " ") + text + " ", tone))
            return tuple(runs)

        return [
            Column("TIME", lambda d: ((figures.clock(d.t), Tone.MUTED),), width=8),
            Column("WORKER", lambda d: ((self._worker_name(d.worker), self._tone(d.worker)),), limit=24),
            Column("OVERLAP", overlap, width=9, align="right"),
            Column("BEST", lambda d: ((str(d.best_overlap_blocks), Tone.MUTED),), width=5, align="right", rank=3),
            Column("MISS", missed, width=4, align="right", rank=2),
            Column(
                "ACTUAL",
                lambda d: ((figures.count(d.actual_cached_blocks), Tone.TEXT),),
                width=6,
                align="right",
                rank=2,
            ),
            Column("COST", cost, width=6, align="right"),
            Column("CANDIDATES overlap/cost", candidates, width=23, grow=1, rank=1),
        ]

    def _prefix_columns(self) -> list[Column[KvPrefix]]:
        return [
            Column("HOT PREFIX", lambda p: ((p.prefix[:10], Tone.TEXT),), width=10),
            Column("BLOCKS", lambda p: ((str(p.blocks), Tone.TEXT),), width=6, align="right"),
            Column("REQS", lambda p: ((figures.count(p.requests), Tone.TEXT),), width=5, align="right"),
            Column(
                "HELD BY",
                lambda p: tuple((self._worker_name(w) + " ", self._tone(w)) for w in p.workers),
                width=10,
                grow=1,
            ),
        ]

    # -- actions --------------------------------------------------------------------------------------------

    def action_zoom(self, by: int) -> None:
        self.window = min(len(WINDOWS_S) - 1, max(0, self.window + by))
        self.update_view(self.listens)

    def action_predicted(self) -> None:
        self.show_actual = not self.show_actual
        self.update_view(self.listens)

    def action_next_table(self) -> None:
        tables = [t for t in self.query(Table) if t.display]
        focused = next((i for i, t in enumerate(tables) if t.has_focus), -1)
        self.screen.set_focus(tables[(focused + 1) % len(tables)])

    def action_open_logs(self) -> None:
        row = self.workers_table.row
        self.dashboard.open_logs(self.key, replica=row.replica if row else None)

    def apply_filter(self, text: str) -> None:
        self.decisions_table.set_filter(text)

    @on(Table.Selected, "#workers")
    def _open_worker(self, message: Table.Selected) -> None:
        message.stop()
        if message.row.replica:
            self.dashboard.open_replica(self.key, message.row.replica)
