"""`record`: one graph's life in one file."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import click

from dynamo_tui.cli.exits import UserError
from dynamo_tui.cli.quantities import Duration
from dynamo_tui.cli.session import Session, SessionCommand, complete_graphs, say


class RecordCommand(SessionCommand):
    """Its `-o` names the file."""

    show_output = False


@click.command("record", cls=RecordCommand)
@click.argument("graph", shell_complete=complete_graphs)
@click.option("-o", "--output", "target", metavar="FILE", required=True, help="Where to; a name in .gz is compressed.")
@click.option("--for", "seconds", type=Duration(), help="How long, e.g. 90s; until Ctrl-C by default.")
@click.pass_obj
def command(session: Session, graph: str, target: str, seconds: float | None) -> None:
    """Record events, metrics, routing decisions and logs of GRAPH; `dynamo-tui --replay FILE` shows them again.

    What the daemon has retained of events and logs is put in front.
    """
    with suppress(KeyboardInterrupt):
        asyncio.run(_record(session, graph, Path(target), seconds))
    say(f"recorded {graph}; see it: dynamo-tui --replay {target}")


async def _record(session: Session, graph: str, path: Path, seconds: float | None) -> None:
    from dynamo_tui.client.aio import AsyncClient
    from dynamo_tui.client.recording import Recorder, entries_of

    async with AsyncClient(session.choice.context) as client:
        recorder = Recorder(client, graph, session.project, path)
        try:
            async for _ in entries_of(recorder, seconds):
                pass
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}") from None
