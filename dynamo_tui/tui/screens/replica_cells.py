"""How a replica reads in a table."""

from __future__ import annotations

from collections.abc import Callable

from dynamo_tui.tui import figures
from dynamo_tui.tui.store import next_retry_in
from dynamo_tui.tui.tones import Run, Tone, replica_mark
from dynamo_tui.tui.widgets.table import Column
from dynamod.schema import Replica, ReplicaState, ServiceRates


def replica_name(replica: Replica) -> str:
    """Short and unique within a graph: the service and the number of the copy."""
    return f"{replica.service}-{replica.index}"


def replica_reason(replica: Replica, now: float) -> str:
    """Why it is in its state: progress while it starts, the next retry while it backs off, evidence otherwise."""
    words = replica.reason.replace("_", " ")
    if replica.state is ReplicaState.STARTING and replica.progress:
        return replica.progress
    retry = next_retry_in(replica, now)
    parts = [words]
    if replica.message:
        parts.append(replica.message)
    if retry is not None:
        parts.append(f"retry in {figures.span(retry)}")
    return ": ".join(parts[:2]) + (f", {parts[2]}" if len(parts) > 2 else "")


def gpu_text(replica: Replica) -> str:
    """Its devices by index, with the share where it is not whole: `0,1` or `2×0.5`."""
    if not replica.gpus:
        return figures.MISSING
    return ",".join(str(g.index) if g.share >= 1 else f"{g.index}×{g.share:g}" for g in replica.gpus)


def replica_columns(rates: Callable[[Replica], ServiceRates | None], now: Callable[[], float]) -> list[Column[Replica]]:
    """The columns of a table of replicas; `rates` gives what is measured of one."""

    def name(replica: Replica) -> tuple[Run, ...]:
        return (replica_mark(replica.state), (f" {replica_name(replica)}", Tone.STRONG))

    def state(replica: Replica) -> tuple[Run, ...]:
        return ((replica.state, replica_mark(replica.state)[1]),)

    def uptime(replica: Replica) -> tuple[Run, ...]:
        since = replica.started_at if replica.state.holds_process else None
        return ((figures.age(since, now()), Tone.TEXT),)

    def restarts(replica: Replica) -> tuple[Run, ...]:
        return ((str(replica.restarts), Tone.WARN if replica.restarts else Tone.MUTED),)

    def measured(read: Callable[[ServiceRates], str]) -> Callable[[Replica], tuple[Run, ...]]:
        def cell(replica: Replica) -> tuple[Run, ...]:
            held = rates(replica)
            text = figures.MISSING if held is None else read(held)
            return ((text, Tone.MUTED if text == figures.MISSING else Tone.TEXT),)

        return cell

    def reason(replica: Replica) -> tuple[Run, ...]:
        troubled = replica.state in (ReplicaState.FAILED, ReplicaState.UNREADY, ReplicaState.LOST)
        waits = replica.next_retry_at is not None
        return ((replica_reason(replica, now()), Tone.WARN if troubled or waits else Tone.MUTED),)

    return [
        Column("REPLICA", name, limit=30),
        Column("STATE", state, width=8),
        Column("UPTIME", uptime, width=6, align="right"),
        Column("RST", restarts, width=3, align="right"),
        Column("CPU", measured(lambda r: figures.cores(r.cpu_cores)), width=6, align="right", rank=2),
        Column("MEM", measured(lambda r: figures.memory(r.rss_bytes)), width=6, align="right", rank=2),
        Column("REQ/S", measured(lambda r: figures.number(r.requests_per_s)), width=6, align="right", rank=2),
        Column("BUSY", measured(lambda r: figures.number(r.in_flight)), width=5, align="right", rank=4),
        Column("P95", measured(lambda r: figures.duration(r.latency_p95_s)), width=6, align="right", rank=3),
        Column("GPU", lambda r: ((gpu_text(r), Tone.TEXT if r.gpus else Tone.MUTED),), width=5, align="right", rank=2),
        Column("PID", lambda r: ((str(r.pid or figures.MISSING), Tone.MUTED),), width=7, align="right", rank=3),
        Column("REV", lambda r: ((str(r.revision), Tone.MUTED),), width=3, align="right", rank=4),
        Column("REASON", reason, width=30, grow=1, rank=1),
    ]
