"""Times, durations, sizes and rates as people write and read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    _Seconds = click.ParamType[float]
else:
    _Seconds = click.ParamType  # generic in newer versions of click only

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def duration(text: str) -> float:
    """Seconds in `90`, `1.5s`, `5m`, `1h30m`.

    Raises:
        ValueError: it is none of these.
    """
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not re.fullmatch(rf"(?:{_DURATION.pattern})+", text):
        raise ValueError(f"{text!r} is not a duration; write for example 90, 30s, 5m or 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))


def moment(text: str, now: float) -> float:
    """Seconds since the epoch for `5m` (ago), an RFC 3339 time, or a plain number of seconds.

    Raises:
        ValueError: it is none of these.
    """
    if re.fullmatch(r"\d{9,}(\.\d+)?", text):
        return float(text)
    try:
        return now - duration(text)
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time; write for example 5m (ago) or 2026-01-31T08:00:00Z") from None
    return at.astimezone().timestamp() if at.tzinfo is None else at.timestamp()


class Size(click.ParamType):  # type: ignore[type-arg, unused-ignore]  # generic in newer versions of click only
    """A click parameter in bytes: `500`, `20MiB`, `5G` (binary units all)."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kKMGT]?)(?:i?B)?", str(value))
        if found is None:
            self.fail(f"{value!r} is no size; write for example 500, 20MiB or 5G", param, ctx)
        return int(float(found[1]) * 1024 ** " kMGT".index(found[2].replace("K", "k") or " "))


class Duration(_Seconds):
    """A click parameter in seconds, written as `duration` reads it."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, (int, float)):
            return float(value)
        try:
            return duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Moment(_Seconds):
    """A click parameter in seconds since the epoch, written as `moment` reads it."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, (int, float)):
            return float(value)
        try:
            return moment(str(value), datetime.now(UTC).timestamp())
        except ValueError as error:
            self.fail(str(error), param, ctx)


def age(at: datetime | None) -> str:
    """How long ago, in one or two units: `41s`, `5m`, `3h12m`, `9d`."""
    if at is None:
        return "-"
    return span((datetime.now(UTC) - at).total_seconds())


def span(seconds: float) -> str:
    """A duration in one or two units."""
    whole = max(0, int(seconds))
    if whole < 120:
        return f"{whole}s"
    if whole < 7200:
        return f"{whole // 60}m"
    if whole < 172800:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d"


def clock(at: datetime | float) -> str:
    """Local date and time to the millisecond."""
    local = datetime.fromtimestamp(at).astimezone() if isinstance(at, float) else at.astimezone()
    return local.strftime("%Y-%m-%d %H:%M:%S.") + f"{local.microsecond // 1000:03d}"


def memory(size: float | None) -> str:
    """Bytes in binary units, three digits."""
    if size is None:
        return "-"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def seconds(value: float | None) -> str:
    """A latency: µs, ms or s."""
    if value is None:
        return "-"
    if value < 0.001:
        return f"{value * 1e6:.0f} µs"
    if value < 1:
        return f"{value * 1000:.1f} ms"
    return f"{value:.2f} s"


def percent(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio * 100:.1f} %"


def number(value: float | None, digits: int = 1) -> str:
    """A figure without needless zeros."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value == int(value) else f"{value:.{digits}f}"
