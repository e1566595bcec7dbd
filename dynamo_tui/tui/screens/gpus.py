"""GPUs in three ledgers: who claims one, who was granted it, and who holds its memory in fact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult

from dynamo_tui.tui import figures
from dynamo_tui.tui.drawing.braille import bar
from dynamo_tui.tui.screens.base import Feed, View
from dynamo_tui.tui.screens.replica_cells import replica_name
from dynamo_tui.tui.store import GraphKey, Topic
from dynamo_tui.tui.tones import Run, Tone
from dynamo_tui.tui.widgets.paint import Lines
from dynamo_tui.tui.widgets.table import Column, Table
from dynamod.schema import Gpu, GpuProcess

BAR_WIDTH = 8
_LEAK_BYTES = 1 << 30
"""Memory that is held on a device without a claim or a process, from this size on, is called a leak."""


def foreign(gpu: Gpu) -> list[GpuProcess]:
    """Processes on it that are none of ours."""
    return [p for p in gpu.observed if p.replica is None]


def verdict(gpu: Gpu) -> Run:
    """The device in one word."""
    claimed = {c.replica for c in gpu.claimed}
    if gpu.conditions:
        return "trouble", Tone.BAD
    if foreign(gpu):
        return "foreign", Tone.BAD
    if any(p.replica is not None and p.replica not in claimed for p in gpu.observed):
        return "unclaimed", Tone.BAD
    if not claimed and not gpu.observed and (gpu.memory_used_bytes or 0) >= _LEAK_BYTES:
        return "leak", Tone.BAD
    if claimed:
        return ("in use", Tone.OK) if gpu.observed else ("claimed", Tone.INFO)
    return "free", Tone.MUTED


_BLOCKS = {"in use": "■", "claimed": "▣", "free": "□"}


class GpusView(View):
    listens: ClassVar[frozenset[Topic]] = frozenset({Topic.GPUS, Topic.REPLICAS})

    def compose(self) -> ComposeResult:
        def memory(gpu: Gpu) -> tuple[Run, ...]:
            used = gpu.memory_used_bytes
            if used is None:
                return ((figures.MISSING, Tone.MUTED),)
            full, rest = bar(used / gpu.memory_total_bytes if gpu.memory_total_bytes else 0.0, BAR_WIDTH)
            return (
                (full, verdict(gpu)[1]),
                (rest, Tone.MUTED),
                (f" {figures.memory(used)}/{figures.memory(gpu.memory_total_bytes)}", Tone.TEXT),
            )

        def plain(text: str) -> tuple[Run, ...]:
            return ((text, Tone.MUTED if text == figures.MISSING else Tone.TEXT),)

        yield Lines(id="gpu-map")
        yield Table[Gpu](
            [
                Column("GPU", lambda g: ((f"{g.index}", Tone.STRONG),), width=3, align="right"),
                Column("", lambda g: (verdict(g),), width=9),
                Column("MEMORY", memory, width=BAR_WIDTH + 14),
                Column("UTIL", lambda g: plain(figures.percent(g.utilisation)), width=6, align="right", rank=2),
                Column("CLAIMED BY", self._claims, limit=26),
                Column("HELD BY PID", self._holders, limit=28, rank=1),
                Column("TEMP", lambda g: plain(_unit(g.temperature_c, "°C")), width=5, align="right", rank=2),
                Column("POWER", lambda g: plain(_unit(g.power_w, "W")), width=5, align="right", rank=2),
                Column("NUMA", lambda g: plain(figures.count(g.numa_node)), width=4, align="right", rank=3),
                Column("NAME", lambda g: ((g.name, Tone.MUTED),), limit=24, rank=4),
                Column("CONDITION", lambda g: (("; ".join(g.conditions), Tone.BAD),), width=12, grow=1, rank=1),
            ],
            lambda g: g.uuid,
            empty="waiting for the inventory …",
            id="gpus",
        )

    @property
    def table(self) -> Table[Gpu]:
        return self.query_one("#gpus", Table)

    @property
    def crumbs(self) -> Sequence[str]:
        return ("gpus",)

    @property
    def graph_key(self) -> GraphKey | None:
        owner = self._owner()
        return owner[0] if owner else None

    def _owner(self) -> tuple[GraphKey, str] | None:
        gpu = self.table.row
        if gpu is None or not gpu.claimed:
            return None
        wanted = gpu.claimed[0].replica
        return next(((key, wanted) for key, held in self.store.replicas.items() if wanted in held), None)

    def feeds(self) -> Sequence[Feed]:
        return (self.connection.gpus,)

    def update_view(self, changed: frozenset[Topic]) -> None:
        del changed
        gpus = self.store.gpus
        lines = _map(gpus or [])
        if self.session.in_past:
            lines.append([(" claims as they were; memory, use, processes and faults have no history", Tone.WARN)])
        self.query_one("#gpu-map", Lines).set_lines(lines)
        if gpus is not None:
            self.table.empty = "this machine has no GPU that can be seen"
            self.table.set_rows(sorted(gpus, key=lambda g: g.index))

    def apply_filter(self, text: str) -> None:
        self.table.set_filter(text)

    @on(Table.Selected, "#gpus")
    def _open(self, message: Table.Selected) -> None:
        message.stop()
        if (owner := self._owner()) is not None:
            self.dashboard.open_replica(*owner)

    # -- cells ----------------------------------------------------------------------------------------------

    def _name_of(self, replica_id: str) -> str:
        held = next((r[replica_id] for r in self.store.replicas.values() if replica_id in r), None)
        return f"{held.graph}/{replica_name(held)}" if held else replica_id[-12:]

    def _claims(self, gpu: Gpu) -> tuple[Run, ...]:
        if not gpu.claimed:
            return ((figures.MISSING, Tone.MUTED),)
        parts = (self._name_of(c.replica) + (f"×{c.share.share:g}" if c.share.share < 1 else "") for c in gpu.claimed)
        return ((" ".join(parts), Tone.TEXT),)

    def _holders(self, gpu: Gpu) -> tuple[Run, ...]:
        if not gpu.observed:
            return ((figures.MISSING, Tone.MUTED),)
        claimed = {c.replica for c in gpu.claimed}
        runs: list[Run] = []
        for process in gpu.observed:
            if process.replica is None:
                runs.append((f"{process.pid} {figures.memory(process.memory_bytes)} foreign ", Tone.BAD))
            else:
                tone = Tone.TEXT if process.replica in claimed else Tone.BAD
                runs.append((f"{process.pid} {figures.memory(process.memory_bytes)} ", tone))
        return tuple(runs)


def _map(gpus: Sequence[Gpu]) -> list[list[Run]]:
    """One block a device, in groups of a NUMA node, and what there is of each kind."""
    line: list[Run] = [(" ", Tone.MUTED)]
    counts: dict[str, int] = {}
    node: int | None = None
    for gpu in sorted(gpus, key=lambda g: (g.numa_node or 0, g.index)):
        word, tone = verdict(gpu)
        counts[word] = counts.get(word, 0) + 1
        if gpu.numa_node is not None and gpu.numa_node != node:
            node = gpu.numa_node
            line.append((f" numa {node} ", Tone.MUTED))
        line.append((_BLOCKS.get(word, "✗") + " ", tone))
    line.append(("  " + ", ".join(f"{n} {word}" for word, n in sorted(counts.items())), Tone.TEXT))
    if any(g.simulated for g in gpus):
        line.append(("  simulated inventory", Tone.WARN))
    return [line] if gpus else []


def _unit(value: float | None, unit: str) -> str:
    return figures.MISSING if value is None else f"{value:.0f}{unit}"
