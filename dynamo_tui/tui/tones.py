"""Colour with meaning: the few tones that everything is drawn in, taken from the theme of the moment.

No tone is the only signal: each state also has a symbol, each series a label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from rich.color import Color as RichColor
from rich.style import Style
from textual.color import Color

from dynamod.schema import Event, GraphState, ReplicaState


class Tone(StrEnum):
    TEXT = "text"
    STRONG = "strong"
    MUTED = "muted"
    OK = "ok"
    WARN = "warn"
    BAD = "bad"
    INFO = "info"
    ACCENT = "accent"
    TITLE = "title"
    SERIES_1 = "series-1"
    SERIES_2 = "series-2"
    SERIES_3 = "series-3"
    SERIES_4 = "series-4"
    SERIES_5 = "series-5"
    SERIES_6 = "series-6"


SERIES = (Tone.SERIES_1, Tone.SERIES_2, Tone.SERIES_3, Tone.SERIES_4, Tone.SERIES_5, Tone.SERIES_6)

Run = tuple[str, Tone]
"""A stretch of text in one tone; a cell or a line is a tuple of them."""


def series_tone(index: int) -> Tone:
    return SERIES[index % len(SERIES)]


@dataclass(frozen=True)
class Palette:
    """The tones as styles, and the styles of a cursor row."""

    styles: Mapping[Tone, Style]
    base: Style
    cursor: Style
    cursor_idle: Style
    header: Style
    match: Style

    def __getitem__(self, tone: Tone) -> Style:
        return self.styles[tone]


_VARIABLES: dict[Tone, str] = {
    Tone.TEXT: "foreground",
    Tone.STRONG: "foreground",
    Tone.MUTED: "text-muted",
    Tone.OK: "text-success",
    Tone.WARN: "text-warning",
    Tone.BAD: "text-error",
    Tone.INFO: "text-primary",
    Tone.ACCENT: "text-accent",
    Tone.TITLE: "text-primary",
}
_BOLD = (Tone.STRONG, Tone.BAD, Tone.TITLE)
_SERIES_DARK = ("#5fd7ff", "#ffd75f", "#87ff87", "#ff87d7", "#af87ff", "#ffaf5f")
_SERIES_LIGHT = ("#005f87", "#875f00", "#1c6b1c", "#870087", "#5f00af", "#af3a00")


def _colour(text: str, over: Color, ink: Color) -> RichColor:
    """A theme variable over a background. `auto 87%` means: the ink, that strong."""
    if text.startswith("auto"):
        share = float(text.removeprefix("auto").strip().rstrip("%") or 100) / 100
        return over.blend(ink, share, 1.0).rich_color
    colour = Color.parse(text)
    return (over + colour).rich_color


@lru_cache(maxsize=8)
def _palette(variables: tuple[tuple[str, str], ...], dark: bool) -> Palette:
    values = dict(variables)
    background = Color.parse(values["background"])
    ink = Color.parse(values["foreground"])
    styles = {
        tone: Style(color=_colour(values.get(name, values["foreground"]), background, ink), bold=tone in _BOLD)
        for tone, name in _VARIABLES.items()
    }
    styles[Tone.MUTED] = Style(color=background.blend(ink, 0.6, 1.0).rich_color)
    series = _SERIES_DARK if dark else _SERIES_LIGHT
    styles |= {tone: Style(color=series[i]) for i, tone in enumerate(SERIES)}
    primary = Color.parse(values["primary"])
    # Bold beside the background: without colour, a cursor row still stands out.
    return Palette(
        styles=styles,
        base=Style(color=ink.rich_color, bgcolor=background.rich_color),
        cursor=Style(bgcolor=background.blend(primary, 0.45, 1.0).rich_color, bold=True),
        cursor_idle=Style(bgcolor=background.blend(primary, 0.18, 1.0).rich_color),
        header=Style(color=background.blend(ink, 0.6, 1.0).rich_color, bold=True),
        match=Style(color=background.rich_color, bgcolor=Color.parse(values["warning"]).rich_color, bold=True),
    )


def palette(variables: Mapping[str, str], dark: bool) -> Palette:
    """The palette of a theme, from Textual's theme variables; the same theme gives the same object."""
    needed = {*_VARIABLES.values(), "background", "foreground", "primary", "warning"}
    return _palette(tuple(sorted((k, v) for k, v in variables.items() if k in needed)), dark)


_REPLICA_MARKS: dict[ReplicaState, Run] = {
    ReplicaState.PENDING: ("○", Tone.WARN),
    ReplicaState.STARTING: ("◐", Tone.INFO),
    ReplicaState.READY: ("●", Tone.OK),
    ReplicaState.UNREADY: ("▲", Tone.WARN),
    ReplicaState.STOPPING: ("◒", Tone.INFO),
    ReplicaState.EXITED: ("◌", Tone.MUTED),
    ReplicaState.FAILED: ("✗", Tone.BAD),
    ReplicaState.LOST: ("?", Tone.BAD),
}
_GRAPH_MARKS: dict[GraphState, Run] = {
    GraphState.PENDING: ("○", Tone.WARN),
    GraphState.DEPLOYING: ("◐", Tone.INFO),
    GraphState.READY: ("●", Tone.OK),
    GraphState.DEGRADED: ("▲", Tone.WARN),
    GraphState.STOPPING: ("◒", Tone.INFO),
    GraphState.STOPPED: ("◌", Tone.MUTED),
    GraphState.FAILED: ("✗", Tone.BAD),
}


def replica_mark(state: ReplicaState) -> Run:
    return _REPLICA_MARKS[state]


def graph_mark(state: GraphState) -> Run:
    return _GRAPH_MARKS[state]


def level_tone(level: str) -> Tone:
    """The tone of a log level, whatever its spelling."""
    match level.lower():
        case "error" | "critical" | "fatal":
            return Tone.BAD
        case "warning" | "warn":
            return Tone.WARN
        case "debug" | "trace":
            return Tone.MUTED
        case _:
            return Tone.TEXT


def ratio_tone(ratio: float | None) -> Tone:
    """A hit rate's tone: good from 60 %, poor below 30 %."""
    if ratio is None:
        return Tone.MUTED
    return Tone.OK if ratio >= 0.6 else Tone.WARN if ratio >= 0.3 else Tone.BAD


_BAD = ("failed", "lost", "exited_with_error", "killed_by_signal", "out_of_memory", "restart_budget_spent")
_BROKEN_OFF = ("backing_off", "liveness_failed", "readiness_failed")
_WAITS = ("backing_off", "waiting", "readiness_failed", "liveness_failed", "replicas_unready", "unavailable")


def event_tone(event: Event) -> Tone:
    """What went wrong stands out; what a person did, too."""
    text = f"{event.action} {event.reason or ''}"
    if any(word in text for word in _BAD):
        return Tone.BAD
    if any(word in text for word in _WAITS):
        return Tone.WARN
    return Tone.TEXT if event.actor == "engine" else Tone.INFO


def is_trouble(event: Event) -> bool:
    """Something failed, or is tried again because it did."""
    return event_tone(event) is Tone.BAD or (event.reason or "") in _BROKEN_OFF
