"""`daemon`: start, stop and inspect the local daemon."""

from __future__ import annotations

import os
from collections.abc import Iterator

import click

from dynamo_tui.cli import quantities
from dynamo_tui.cli.output import print_one
from dynamo_tui.cli.quantities import Duration
from dynamo_tui.cli.session import DaemonCommand, LocalCommand, Session
from dynamo_tui.client import calls, processes
from dynamo_tui.client.contexts import LOCAL, answers, local_context
from dynamo_tui.client.sync import Client
from dynamod.schema.daemon import DaemonInfo


@click.group("daemon")
def command() -> None:
    """Start, stop and inspect the local daemon. Its state directory is DYN_LOCAL_STATE_DIR."""


@command.command("start", cls=LocalCommand)
@click.option("--listen", metavar="HOST:PORT", help="Serve over TCP too; needs --token-file.")
@click.option("--token-file", type=click.Path(resolve_path=True), help="The tokens that TCP accepts: `dynamod token`.")
@click.option("--log-level", type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"]), help="How much it logs.")
@click.pass_obj
def start(session: Session, listen: str | None, token_file: str | None, log_level: str | None) -> None:
    """Start the local daemon; nothing happens when it already runs. `dynamod --help` has all its options."""
    context = local_context(os.environ)
    running = bool(context.socket) and answers(context.socket or "")
    if not running:
        given = {"--listen": listen, "--token-file": token_file, "--log-level": log_level}
        arguments = [word for option, value in given.items() if value is not None for word in (option, value)]
        processes.start_daemon(os.environ, arguments)
    with Client(context) as client:
        info = client.send(calls.info())
    verb = "already runs" if running else "started"
    print_one(
        session, info, name=str(info.pid), text=lambda i: [f"dynamod {verb}, pid {i.pid}, state in {i.state_dir}"]
    )


@command.command("stop", cls=DaemonCommand)
@click.option("--stop-graphs", is_flag=True, help="Stop all graphs as well; otherwise their replicas run on.")
@click.option("--timeout", type=Duration(), default=processes.STOP_TIMEOUT_S, help="How long to wait.  [default: 1m]")
@click.pass_obj
def stop(session: Session, stop_graphs: bool, timeout: float) -> None:
    """Stop the daemon. Replicas go on serving, and the next daemon adopts them."""
    session.context_name = session.context_name or LOCAL
    pid = processes.stop_daemon(session.client, stop_graphs=stop_graphs, timeout=timeout)
    print_one(session, {"pid": pid, "stopped": True}, name=str(pid), text=lambda _: [f"dynamod (pid {pid}) stopped"])


@command.command("status", cls=DaemonCommand)
@click.pass_obj
def status(session: Session) -> None:
    """Say whether a daemon answers and how it is; exits 5 when none does."""
    info = session.client.send(calls.info())
    print_one(session, info, name=str(info.pid), text=lambda i: _lines(i, session.choice.context.address))


def _lines(info: DaemonInfo, address: str) -> Iterator[str]:
    kind = "serve" if info.ephemeral else "dynamod"
    yield f"{kind} {info.version}, pid {info.pid}, up {quantities.age(info.started_at)}"
    yield f"API:       {address} (version {info.api_version})"
    yield f"State:     {info.state_dir}"
    if info.discovery:
        yield f"Discovery: {info.discovery}"
    yield f"Events:    {info.last_seq}"
    if info.gpus_simulated:
        yield "GPUs:      simulated"
    for name, result in info.checks.items():
        yield f"Check:     {name}: {result}"
