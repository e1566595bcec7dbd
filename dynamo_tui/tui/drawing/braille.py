"""Lines in braille dots (2 x 4 a cell), bars and sparklines in block characters.

Dot numbers as in Unicode's Braille Patterns block: https://www.unicode.org/charts/PDF/U2800.pdf
"""

from __future__ import annotations

from collections.abc import Sequence

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_BLANK = 0x2800
_BLOCKS = "▁▂▃▄▅▆▇█"
_EIGHTHS = " ▏▎▍▌▋▊▉█"

Cell = tuple[str, int]
"""A character, and the index of the series that drew it (-1: none)."""


def plot(
    series: Sequence[Sequence[float | None]], width: int, height: int, low: float, high: float
) -> list[list[Cell]]:
    """Draw each series, one value a dot column (`2 * width` of them), into `height` rows of cells.

    Neighbouring values are joined; None breaks the line. Where two series meet in one cell, the
    later one gives the colour.
    """
    bits = [[0] * width for _ in range(height)]
    owner = [[-1] * width for _ in range(height)]
    rows = height * 4
    scale = (rows - 1) / (high - low) if high > low else 0.0
    for index, values in enumerate(series):
        previous: int | None = None
        for x, value in enumerate(values[: width * 2]):
            if value is None:
                previous = None
                continue
            y = rows - 1 - round((min(max(value, low), high) - low) * scale)
            start = y if previous is None else previous + (1 if y > previous else -1 if y < previous else 0)
            for dot in range(min(start, y), max(start, y) + 1):
                bits[dot // 4][x // 2] |= _DOTS[x % 2][dot % 4]
                owner[dot // 4][x // 2] = index
            previous = y
    return [
        [(chr(_BLANK + b) if b else " ", o) for b, o in zip(row, owners, strict=True)]
        for row, owners in zip(bits, owner, strict=True)
    ]


def joined(values: Sequence[float | None], reach: int) -> list[float | None]:
    """Fill gaps of at most `reach` values with the value before: points come slower than dots."""
    filled: list[float | None] = []
    last: float | None = None
    since = 0
    for value in values:
        if value is not None:
            last, since = value, 0
        else:
            since += 1
        filled.append(last if since <= reach else None)
    return filled


def sparkline(values: Sequence[float | None], low: float = 0.0, high: float | None = None) -> str:
    """One character a value, scaled to `high` or the largest of them; a gap is a space."""
    known = [v for v in values if v is not None]
    top = high if high is not None else max(known, default=0.0)
    span = top - low
    marks = []
    for value in values:
        if value is None:
            marks.append(" ")
        elif span <= 0:
            marks.append(_BLOCKS[0])
        else:
            share = min(max((value - low) / span, 0.0), 1.0)
            marks.append(_BLOCKS[min(len(_BLOCKS) - 1, int(share * len(_BLOCKS)))])
    return "".join(marks)


def bar(share: float, width: int) -> tuple[str, str]:
    """A bar of `width` cells as its filled part and the rest, to an eighth of a cell."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    full, part = divmod(eighths, 8)
    filled = "█" * full + (_EIGHTHS[part] if part else "")
    return filled, "·" * (width - len(filled))
