"""What a soak did and what it found, as a table and as JSON."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Report:
    """`findings` is what broke a promise; everything else is what happened. `late_s`: see `checks.feel_lateness`."""

    setting: str
    seed: int
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    chats: Counter[str] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)
    chat_seconds: list[float] = field(default_factory=list)
    operations: Counter[str] = field(default_factory=Counter)
    followed: Counter[str] = field(default_factory=Counter)
    misbehaved: Counter[str] = field(default_factory=Counter)
    recoveries_s: list[float] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    usage: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    def found(self, what: str) -> None:
        self.findings.append(f"{time.monotonic() - self.began:6.1f} s: {what}")

    def as_json(self) -> dict[str, Any]:
        return {
            "setting": self.setting,
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "faults": dict(sorted(self.faults.items())),
            "chats": dict(sorted(self.chats.items())),
            "errors_told": dict(self.told.most_common()),
            "chat_s": _quantiles(self.chat_seconds),
            "operations": dict(sorted(self.operations.items())),
            "followed": dict(sorted(self.followed.items())),
            "misbehaved": dict(sorted(self.misbehaved.items())),
            "ready_again_s": [round(s, 1) for s in self.recoveries_s],
            "soak_late_s": _quantiles(self.late_s),
            "usage": self.usage,
            "notes": self.notes,
            "findings": self.findings,
        }

    def text(self) -> str:
        shown = self.as_json()
        usage = shown.pop("usage")
        lines = [f"== {shown.pop('setting')} =="]
        for key, value in shown.items():
            if isinstance(value, dict):
                value = ", ".join(f"{name} {count}" for name, count in value.items()) or "none"
            elif isinstance(value, list) and key in ("findings", "notes"):
                value = "".join(f"\n    {line}" for line in value) or "none"
            lines.append(f"{key:>14}  {value}")
        lines += _usage_lines(usage)
        return "\n".join(lines)


def _quantiles(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds) or [0.0]
    places = {"p50": len(ordered) // 2, "p99": int(len(ordered) * 0.99), "max": -1}
    return {name: round(ordered[place], 3) for name, place in places.items()}


def _usage_lines(usage: list[dict[str, Any]]) -> list[str]:
    """One line a role, one column a quiet moment: resident MiB / open files."""
    roles = sorted({role for moment in usage for role in moment["roles"]})
    lines = ["at each quiet moment (MiB resident / open files / threads, per role; then counts)"]
    for role in roles:
        cells = (moment["roles"].get(role) for moment in usage)
        lines.append(f"{role:>14}  " + "  ".join("/".join(map(str, cell)) if cell else "-" for cell in cells))
    for name in sorted({name for moment in usage for name in moment["counts"]}):
        lines.append(f"{name:>14}  " + "  ".join(str(moment["counts"].get(name, "-")) for moment in usage))
    return lines
