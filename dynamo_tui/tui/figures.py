"""How figures read on screen: short, aligned, and `—` for what nobody measured."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

MISSING = "—"


def count(value: float | None) -> str:
    """A whole number with thousands separators, shortened from a million on: `48,112`, `1.2M`."""
    if value is None:
        return MISSING
    if abs(value) >= 1e9:
        return f"{value / 1e9:.1f}G"
    if abs(value) >= 1e6:
        return f"{value / 1e6:.1f}M"
    return f"{value:,.0f}"


def number(value: float | None) -> str:
    """Three significant digits at most."""
    if value is None:
        return MISSING
    if abs(value) >= 100 or value == int(value):
        return count(value)
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}"


def rate(value: float | None) -> str:
    """A rate per second: `12.3/s`."""
    return MISSING if value is None else f"{number(value)}/s"


def percent(ratio: float | None) -> str:
    """A ratio as a percentage: 0.842 is `84.2%`."""
    if ratio is None:
        return MISSING
    return "100%" if ratio >= 0.9995 else f"{ratio * 100:.1f}%"


def duration(seconds: float | None) -> str:
    """A latency: `850µs`, `38ms`, `1.24s`."""
    if seconds is None:
        return MISSING
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f}µs"
    if seconds < 0.1:
        return f"{seconds * 1e3:.1f}ms" if seconds < 0.01 else f"{seconds * 1e3:.0f}ms"
    if seconds < 1:
        return f"{seconds * 1e3:.0f}ms"
    return f"{seconds:.2f}s" if seconds < 10 else f"{seconds:.1f}s"


def memory(size: float | None) -> str:
    """Bytes in binary units: `812Mi`, `1.4Gi`."""
    if size is None:
        return MISSING
    value = float(size)
    for unit in ("B", "Ki", "Mi", "Gi"):
        if abs(value) < 1000:
            return f"{value:.0f}{unit}" if value >= 100 or unit == "B" else f"{value:.1f}{unit}"
        value /= 1024
    return f"{value:.1f}Ti"


def cores(value: float | None) -> str:
    """CPU in cores, as a percentage of one: `3.2%`, `180%`."""
    if value is None:
        return MISSING
    share = value * 100
    return f"{share:.1f}%" if share < 10 else f"{share:.0f}%"


def span(seconds: float) -> str:
    """A length of time, one or two units: `8s`, `3m12s`, `2h05m`, `4d`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s" if whole < 600 else f"{whole // 60}m"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h" if whole < 864000 else f"{whole // 86400}d"


def age(since: datetime | None, now: float) -> str:
    """How long ago `since` was."""
    return MISSING if since is None else span(now - since.timestamp())


def clock(moment: datetime | float) -> str:
    """Local time of day, to the second."""
    when = datetime.fromtimestamp(moment, UTC) if isinstance(moment, int | float) else moment
    return when.astimezone().strftime("%H:%M:%S")


def moment(t: float, present: float) -> str:
    """A local time, with its date where that is not the day of `present`: `14:02:11`, `Nov 23 14:02:11`."""
    when, now = (datetime.fromtimestamp(x, UTC).astimezone() for x in (t, present))
    return when.strftime("%H:%M:%S" if when.date() == now.date() else "%b %d %H:%M:%S")


_AGO = re.compile(r"(\d+)([smhd])")
_TIME_OF_DAY = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d))?")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_moment(text: str, present: float) -> float | None:
    """A time as people write it, in seconds since the epoch: `14:02[:30]`, the last such local time, or `10m` ago."""
    if found := _AGO.fullmatch(text):
        return present - int(found[1]) * _SECONDS[found[2]]
    if (found := _TIME_OF_DAY.fullmatch(text)) is None:
        return None
    hour, minute, second = (int(part or 0) for part in found.groups())
    if hour > 23 or minute > 59 or second > 59:
        return None
    today = datetime.fromtimestamp(present, UTC).astimezone()
    t = today.replace(hour=hour, minute=minute, second=second, microsecond=0)
    return (t if t <= today else t - timedelta(days=1)).timestamp()


def precise_clock(t: float) -> str:
    """Local time of day, to the millisecond: for log lines."""
    when = datetime.fromtimestamp(t, UTC).astimezone()
    return f"{when:%H:%M:%S}.{when.microsecond // 1000:03d}"


def shortened(text: str, width: int) -> str:
    """`text` in `width` cells at most, its end replaced by `…` where it does not fit."""
    if len(text) <= width:
        return text
    return text[: max(0, width - 1)] + "…" if width > 0 else ""
