"""The demo: a daemon of its own, the KV-routing example on simulated engines, real traffic, and a look at it.

Everything it starts lives in one throw-away state directory and is stopped when it ends, however it ends.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from dynamo_tui.cli import columns, lookup
from dynamo_tui.cli.chat import ChatOptions, Frontend, Message
from dynamo_tui.cli.commands.kv import snapshot_lines
from dynamo_tui.cli.demo_traffic import Traffic
from dynamo_tui.cli.exits import CliError, UserError
from dynamo_tui.cli.output import Table
from dynamo_tui.cli.session import say
from dynamo_tui.cli.targets import Source
from dynamo_tui.cli.waiting import shown_progress, wait_for
from dynamo_tui.client import calls
from dynamo_tui.client.contexts import local_context
from dynamo_tui.client.errors import ClientError
from dynamo_tui.client.processes import start_daemon, stop_daemon
from dynamo_tui.client.sync import Client
from dynamod.schema.graphs import Graph
from dynamod.schema.locations import locations

GRAPH = "demo"
READY_TIMEOUT_S = 180.0
TRAFFIC_TIMEOUT_S = 120.0
CACHE_BLOCKS = 256
"""Of 16 tokens, a worker: four of them hold about twenty of the traffic's documents, so that old ones are evicted."""
TRICKLE_PER_S = 4.0
BRISK_PER_S = 20.0
"""Without a dashboard nobody watches the requests come: the figures are wanted soon."""
ENOUGH_REQUESTS = 60
"""So many answered requests make the hit rate mean something."""


def find_example(examples: Path | None) -> Path:
    """The folder of the LLM example: in `examples`, in the current directory, or beside the package in a checkout.

    Raises:
        UserError: it is in none of them.
    """
    places = [examples] if examples else [Path.cwd() / "examples", Path(__file__).resolve().parents[2] / "examples"]
    for place in places:
        if (place / "llm" / "graphs" / "agg_router.py").is_file():
            return place / "llm"
    raise UserError(
        f"the example llm/graphs/agg_router.py is not in {' or '.join(str(p) for p in places)}",
        remedy="run it in a checkout, or name the folder: --examples DIR",
    )


def run_demo(example: Path, *, dashboard: bool) -> None:
    """Run the whole demo; returns when the dashboard is quit, or when everything has been shown."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # a closed terminal must leave nothing running either
        signal.signal(number, _interrupt)
    with _state_directory() as state_dir:
        environ = os.environ | {"DYN_LOCAL_STATE_DIR": str(state_dir)}
        for name in ("DYNAMOD_CONTEXT", "DYNAMOD_URL"):
            environ.pop(name, None)
        with _daemon(environ) as client:
            say("submitting the KV-routing example: a frontend, a processor, a router and simulated workers")
            graph = _submit(client, example)
            frontend = Frontend(graph.address or "")
            rate = TRICKLE_PER_S if dashboard else BRISK_PER_S
            with Traffic(frontend.url, frontend.models()[0], rate=rate) as traffic:
                say(f"{GRAPH} serves {traffic.model} at {graph.address}, and a trickle of requests runs against it")
                say(f"look from another terminal: DYN_LOCAL_STATE_DIR={state_dir} dynamoctl ps")
                if dashboard:
                    subprocess.run([sys.executable, "-m", "dynamo_tui.tui", "--graph", GRAPH], env=environ, check=False)
                else:
                    _show(client, frontend, traffic)
            say("stopping everything that the demo started")


def _show(client: Client, frontend: Frontend, traffic: Traffic) -> None:
    """The same without a dashboard: status table, one streamed answer, hit rate."""
    traffic.wait_for(ENOUGH_REQUESTS, TRAFFIC_TIMEOUT_S)
    graph = client.send(calls.graph(GRAPH))
    for line in (
        *Table(columns.GRAPHS).lines([graph]),
        "",
        *Table(columns.REPLICAS).lines(lookup.replicas(client, graph.project, graph.name)),
        "",
    ):
        click.echo(line)
    question = "In one sentence: what does a KV-cache router do?"
    click.echo(f"> {question}")
    for piece in frontend.stream(traffic.model, [Message("user", question)], ChatOptions(max_tokens=48)):
        click.echo(piece, nl=False)
        sys.stdout.flush()
    click.echo("\n")
    for line in snapshot_lines(client.send(calls.kv(GRAPH))):
        click.echo(line)


def _submit(client: Client, example: Path) -> Graph:
    config = example / "configs" / "agg_router.yaml"
    source = Source(
        target="graphs.agg_router:Frontend",
        config_file=str(config) if config.is_file() else None,
        working_dir=str(example),
        interpreter=None,
        name=GRAPH,
        port=0,
        host="127.0.0.1",
        envs={},
        driver="process",
        overrides=(f"--Worker.num-gpu-blocks={CACHE_BLOCKS}",),
    )
    submitted = client.send(calls.submit(source.submission("default")))
    with shown_progress() as progress:
        ready = wait_for(client, submitted.name, "ready", project="default", timeout=READY_TIMEOUT_S, progress=progress)
    if ready is None or not ready.address:
        raise CliError(f"graph {GRAPH!r} is ready, but has no HTTP address")
    return ready


@contextmanager
def _daemon(environ: Mapping[str, str]) -> Iterator[Client]:
    started = start_daemon(environ)
    say(f"started a daemon (pid {started.pid})")
    client = Client(local_context(environ))
    try:
        yield client
    finally:
        client.close()
        try:
            with Client(client.context) as last:
                stop_daemon(last, stop_graphs=True)
        except ClientError as error:
            say(f"the daemon did not stop by itself ({error}); killing it")
            with suppress(ProcessLookupError):
                os.kill(started.pid, signal.SIGKILL)


@contextmanager
def _state_directory() -> Iterator[Path]:
    where = locations(Path(tempfile.mkdtemp(prefix="dynamod-demo-")))
    try:
        yield where.state_dir
    finally:
        for directory in (where.state_dir, where.run_dir):  # sockets may have needed a shorter path outside
            shutil.rmtree(directory, ignore_errors=True)


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
