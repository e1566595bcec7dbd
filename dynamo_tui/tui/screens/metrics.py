"""Every figure of a graph's services over time: a sparkline each, one or two of them in a large chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from dynamo_tui.tui import figures
from dynamo_tui.tui.drawing.braille import sparkline
from dynamo_tui.tui.history import Track
from dynamo_tui.tui.screens.base import Feed, View
from dynamo_tui.tui.screens.rate_fields import RATE_FORMATS
from dynamo_tui.tui.store import GraphKey, RateKey, Topic
from dynamo_tui.tui.tones import Run, Tone, series_tone
from dynamo_tui.tui.widgets.chart import Chart, Curve, Range
from dynamo_tui.tui.widgets.paint import Lines
from dynamo_tui.tui.widgets.table import Column, Table

WINDOWS_S = (60.0, 300.0, 900.0, 1800.0, 3600.0)
TREND_WIDTH = 20


@dataclass(frozen=True)
class Metric:
    """One figure of one service."""

    service: str
    field: str

    @property
    def label(self) -> str:
        return RATE_FORMATS[self.field][0]

    @property
    def key(self) -> str:
        return f"{self.service} {self.label}"

    def text(self, value: float | None) -> str:
        return RATE_FORMATS[self.field][1](value)


class MetricsView(View):
    listens: ClassVar[frozenset[Topic]] = frozenset({Topic.RATES, Topic.CLOCK})
    DEFAULT_CSS = """
    MetricsView #metric-chart { height: 1fr; min-height: 6; }
    MetricsView #metrics { height: 1fr; border-top: solid $panel; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "compare", "Compare", id="metrics.compare"),
        Binding("plus,equals_sign", "zoom(-1)", "Shorter", key_display="+", id="metrics.zoom-in"),
        Binding("minus", "zoom(1)", "Longer", key_display="-", id="metrics.zoom-out"),
        Binding("left,h", "cursor(-1)", "Cursor left", show=False, id="metrics.cursor-left"),
        Binding("right", "cursor(1)", "Cursor right", show=False, id="metrics.cursor-right"),
        Binding("a", "replicas", "Replicas", id="metrics.replicas"),
    ]

    def __init__(self, key: GraphKey) -> None:
        super().__init__()
        self.key = key
        self.window = 1
        self.other: Metric | None = None
        self.with_replicas = False
        self._cursor: float | None = None  # a share of the range, from its start

    def compose(self) -> ComposeResult:
        yield Lines(id="metric-legend")
        yield Chart(id="metric-chart")
        yield Table[Metric](
            [
                Column("SERVICE", lambda m: ((m.service, Tone.STRONG),), limit=30),
                Column("METRIC", self._label, width=14),
                Column("NOW", lambda m: ((m.text(self._track(m).at(self.now())), Tone.TEXT),), width=8, align="right"),
                Column("MIN", lambda m: self._extreme(m, min), width=8, align="right", rank=1),
                Column("MAX", lambda m: self._extreme(m, max), width=8, align="right", rank=1),
                Column("TREND", self._trend, width=TREND_WIDTH, grow=1),
            ],
            lambda m: m.key,
            empty="nothing has been measured yet",
            id="metrics",
        )

    @property
    def table(self) -> Table[Metric]:
        return self.query_one("#metrics", Table)

    @property
    def chart(self) -> Chart:
        return self.query_one("#metric-chart", Chart)

    @property
    def identity(self) -> tuple[object, ...]:
        return (type(self), self.key)

    @property
    def crumbs(self) -> Sequence[str]:
        return ("graphs", str(self.key), "metrics")

    @property
    def graph_key(self) -> GraphKey:
        return self.key

    @property
    def service(self) -> str | None:
        return self.table.row.service if self.table.row else None

    def feeds(self) -> Sequence[Feed]:
        return (partial(self.connection.rates, self.key),)

    def focus_main(self) -> None:
        self.screen.set_focus(self.table)

    # -- drawing --------------------------------------------------------------------------------------------

    def _track(self, metric: Metric, replica: str | None = None) -> Track:
        key: RateKey = (metric.service, replica)
        return self.store.rate_track(self.key, key, metric.field)

    def _span(self) -> tuple[float, float]:
        end = self.now()
        return end - WINDOWS_S[self.window], end

    def update_view(self, changed: frozenset[Topic]) -> None:
        if Topic.RATES in changed:
            services = [s.name for s in self.store.graphs[self.key].services] if self.key in self.store.graphs else []
            held = {
                (service, field)
                for key, (service, replica), field in self.store.rate_tracks
                if key == self.key and replica is None
            }
            self.table.set_rows(Metric(s, f) for s in services for f in RATE_FORMATS if (s, f) in held)
        self._show_chart()

    def _curves(self, metric: Metric) -> list[Curve]:
        curves = []
        if self.with_replicas:
            replicas = self.store.replicas_of(self.key, metric.service)
            curves = [Curve(r.id, series_tone(i + 2), self._track(metric, r.id)) for i, r in enumerate(replicas)]
        return [*curves, Curve(metric.key, series_tone(0), self._track(metric))]

    def _show_chart(self) -> None:
        metric = self.table.row
        legend = self.query_one("#metric-legend", Lines)
        start, end = self._span()
        if metric is None:
            legend.set_lines([])
            self.chart.show((), Range(start, end))
            return
        at = None if self._cursor is None else start + (end - start) * self._cursor
        curves = self._curves(metric)
        runs: list[Run] = [
            (" ━ ", series_tone(0)),
            (f"{metric.key} ", Tone.STRONG),
            (self._reading(metric, at), Tone.TEXT),
        ]
        high = None
        if self.other is not None and self.other != metric:
            # Two units cannot share an axis: the second is drawn against its own maximum.
            own, theirs = self._highest(metric), self._highest(self.other)
            factor = own / theirs if own and theirs and self.other.field != metric.field else 1.0
            scaled = Track((t, None if v is None else v * factor) for t, v in self._track(self.other).points)
            curves.insert(0, Curve(self.other.key, series_tone(1), scaled))
            runs += [
                ("   ━ ", series_tone(1)),
                (f"{self.other.key} ", Tone.STRONG),
                (self._reading(self.other, at), Tone.TEXT),
            ]
            if factor != 1.0:
                runs.append((f" (its maximum {self.other.text(theirs)} at {metric.text(own)})", Tone.MUTED))
        if at is not None:
            runs.append((f"   at {figures.clock(at)}", Tone.MUTED))
        legend.set_lines([runs])
        self.chart.value_format = metric.text
        if metric.field in ("hit_rate", "cache_usage"):
            high = 1.0
        self.chart.show(curves, Range(start, end, 0.0, high), cursor=at)

    def _reading(self, metric: Metric, at: float | None) -> str:
        return metric.text(self._track(metric).at(self.now() if at is None else at))

    def _values(self, metric: Metric) -> list[float]:
        return [v for _, v in self._track(metric).between(*self._span()) if v is not None]

    def _highest(self, metric: Metric) -> float:
        return max(self._values(metric), default=0.0)

    # -- cells ----------------------------------------------------------------------------------------------

    def _label(self, metric: Metric) -> tuple[Run, ...]:
        if metric == self.other:
            return (("━ ", series_tone(1)), (metric.label, Tone.TEXT))
        return ((metric.label, Tone.TEXT),)

    def _extreme(self, metric: Metric, pick: Any) -> tuple[Run, ...]:
        values = self._values(metric)
        return ((metric.text(pick(values)) if values else figures.MISSING, Tone.MUTED),)

    def _trend(self, metric: Metric) -> tuple[Run, ...]:
        width = max(TREND_WIDTH, self.size.width - 62)
        return ((sparkline(self._track(metric).buckets(*self._span(), width)), Tone.INFO),)

    # -- actions --------------------------------------------------------------------------------------------

    @on(Table.Moved, "#metrics")
    def _moved(self, message: Table.Moved) -> None:
        message.stop()
        self._show_chart()

    @on(Table.Selected, "#metrics")
    def action_compare(self) -> None:
        metric = self.table.row
        self.other = None if metric == self.other else metric
        self.table.refresh()
        self._show_chart()

    def action_zoom(self, by: int) -> None:
        self.window = min(len(WINDOWS_S) - 1, max(0, self.window + by))
        self.update_view(self.listens)

    def action_cursor(self, by: int) -> None:
        cells = max(1, self.chart.size.width - 7)
        place = (1.0 if self._cursor is None else self._cursor) + by / cells
        self._cursor = None if place >= 1.0 else max(0.0, place)
        self._show_chart()

    def action_replicas(self) -> None:
        self.with_replicas = not self.with_replicas
        self._show_chart()

    def apply_filter(self, text: str) -> None:
        self.table.set_filter(text)
