"""`gpus`: every device in three ledgers."""

from __future__ import annotations

import click

from dynamo_tui.cli import quantities
from dynamo_tui.cli.output import Column, print_rows
from dynamo_tui.cli.session import GlobalCommand, Session, say
from dynamo_tui.client import calls
from dynamod.schema.observations import Gpu

_COLUMNS: tuple[Column[Gpu], ...] = (
    Column("GPU", lambda g: g.index),
    Column("NAME", lambda g: f"{g.name} (simulated)" if g.simulated else g.name),
    Column("CLAIMED", lambda g: _share(sum(c.share.share for c in g.claimed))),
    Column("BY", lambda g: ", ".join(c.replica for c in g.claimed)),
    Column("OBSERVED", lambda g: ", ".join(_process(p.pid, p.replica) for p in g.observed)),
    Column("MEMORY", lambda g: f"{quantities.memory(g.memory_used_bytes)} / {quantities.memory(g.memory_total_bytes)}"),
    Column("BUSY", lambda g: quantities.percent(g.utilisation)),
    Column("CONDITIONS", lambda g: "; ".join(g.conditions)),
    Column("UUID", lambda g: g.uuid, wide=True),
    Column("GRANTED", lambda g: ", ".join(g.granted), wide=True),
    Column("NUMA", lambda g: g.numa_node, wide=True),
    Column("POWER", lambda g: f"{g.power_w:.0f} W" if g.power_w is not None else None, wide=True),
    Column("TEMPERATURE", lambda g: f"{g.temperature_c:.0f} °C" if g.temperature_c is not None else None, wide=True),
)


@click.command("gpus", cls=GlobalCommand)
@click.pass_obj
def command(session: Session) -> None:
    """List GPUs: which replicas claim them, which processes hold them, and what is wrong with them."""
    rows = session.client.send(calls.gpus())
    if any(g.simulated for g in rows) and not session.json:
        say("the GPUs are simulated")
    print_rows(session, rows, _COLUMNS, name=lambda g: g.uuid, empty="no GPUs on this machine")


def _share(share: float) -> str:
    return "free" if share == 0 else f"{share:g}"


def _process(pid: int, replica: str | None) -> str:
    return f"{pid}" if replica else f"{pid} (foreign)"
