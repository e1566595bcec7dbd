"""`top`: what services and replicas do right now."""

from __future__ import annotations

import sys
import time

import click

from dynamo_tui.cli import quantities
from dynamo_tui.cli.output import Column, Table, print_json_line, print_rows
from dynamo_tui.cli.screen import redraw
from dynamo_tui.cli.session import Session, SessionCommand, complete_graphs
from dynamo_tui.client import calls, streams
from dynamod.schema.observations import ServiceRates

_COLUMNS: tuple[Column[ServiceRates], ...] = (
    Column("SERVICE", lambda r: r.service if r.replica is None else f"  {r.replica}"),
    Column("REQ/S", lambda r: quantities.number(r.requests_per_s)),
    Column("ERR/S", lambda r: quantities.number(r.errors_per_s)),
    Column("RUNNING", lambda r: quantities.number(r.in_flight)),
    Column("QUEUE", lambda r: quantities.number(r.queue_depth)),
    Column("P50", lambda r: quantities.seconds(r.latency_p50_s)),
    Column("P95", lambda r: quantities.seconds(r.latency_p95_s)),
    Column("TTFT", lambda r: quantities.seconds(r.ttft_p50_s)),
    Column("ITL", lambda r: quantities.seconds(r.itl_p50_s)),
    Column("CACHE", lambda r: quantities.percent(r.cache_usage)),
    Column("HIT RATE", lambda r: quantities.percent(r.hit_rate)),
    Column("CPU", lambda r: quantities.number(r.cpu_cores, 2)),
    Column("MEMORY", lambda r: quantities.memory(r.rss_bytes)),
    Column("P99", lambda r: quantities.seconds(r.latency_p99_s), wide=True),
    Column("TTFT P95", lambda r: quantities.seconds(r.ttft_p95_s), wide=True),
    Column("FILES", lambda r: quantities.number(r.open_files), wide=True),
)


@click.command("top", cls=SessionCommand)
@click.argument("graph", shell_complete=complete_graphs)
@click.option("-w", "--watch", is_flag=True, help="Go on, as it does on a terminal anyway.")
@click.option("--once", is_flag=True, help="Print once and exit, as it does in a pipe anyway.")
@click.pass_obj
def command(session: Session, graph: str, watch: bool, once: bool) -> None:
    """Show rates, latencies, queues, CPU and memory of GRAPH's services and replicas."""
    live = sys.stdout.isatty() and not session.json and session.output != "name"
    if once or not (watch or live):
        rows = session.client.send(calls.rates(graph, project=session.project))
        print_rows(session, rows, _COLUMNS, name=lambda r: r.replica or r.service, empty="nothing is measured yet")
        return
    table = Table(_COLUMNS, wide=session.output == "wide")
    for rates in session.client.follow(streams.rates(graph, project=session.project), pause=session.pause):
        if session.json:
            print_json_line(rates)
        elif live:
            redraw([f"{graph}  {time.strftime('%H:%M:%S')}", *table.lines(rates)])
        else:
            for line in table.lines(rates):
                click.echo(line)
