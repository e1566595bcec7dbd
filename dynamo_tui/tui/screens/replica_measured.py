"""What one replica measures, now and over the last minutes: a figure and a sparkline a line."""

from __future__ import annotations

from collections.abc import Iterator

from dynamo_tui.tui import figures
from dynamo_tui.tui.drawing.braille import sparkline
from dynamo_tui.tui.screens.rate_fields import RATE_FORMATS
from dynamo_tui.tui.store import GraphKey, Store
from dynamo_tui.tui.tones import Run, Tone
from dynamod.schema import Replica

WINDOWS_S = (120.0, 900.0, 3600.0)
ESSENTIAL = ("cpu_cores", "rss_bytes", "requests_per_s", "latency_p95_s", "queue_depth")
"""What is shown where there is no room for everything, in this order."""


def measured_lines(
    store: Store,
    key: GraphKey,
    replica: Replica,
    now: float,
    window_s: float,
    width: int,
    *,
    only: tuple[str, ...] = (),
) -> Iterator[list[Run]]:
    """Each figure that was measured in the window, or is now; `width` is that of a sparkline in cells."""
    held = store.rates.get(key, {}).get((replica.service, replica.id))
    lines: list[list[Run]] = []
    for name in only or RATE_FORMATS:
        label, form = RATE_FORMATS[name]
        value = getattr(held, name) if held is not None else None
        values = store.rate_track(key, (replica.service, replica.id), name).buckets(now - window_s, now, width)
        if value is None and not any(v is not None for v in values):
            continue
        tone = Tone.MUTED if value is None else Tone.TEXT
        lines.append([(f" {label:<12}", Tone.MUTED), (f"{form(value):>8}  ", tone), (sparkline(values), Tone.INFO)])
    if lines:
        title = f"last {figures.span(window_s)}"
        yield [(" " * 23 + title.ljust(width), Tone.MUTED)]
        yield from lines
