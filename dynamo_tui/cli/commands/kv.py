"""`kv`: how a graph's KV router does."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from dynamo_tui.cli import quantities
from dynamo_tui.cli.output import Column, Table, print_json_line, print_one
from dynamo_tui.cli.quantities import Duration
from dynamo_tui.cli.screen import redraw
from dynamo_tui.cli.session import Session, SessionCommand, complete_graphs
from dynamo_tui.client import calls, streams
from dynamod.schema.observations import HitRate, KvDecision, KvSnapshot, KvWorker

LATEST = 8

WORKERS: tuple[Column[KvWorker], ...] = (
    Column("WORKER", lambda w: worker_name(w)),
    Column("RUNNING", lambda w: w.active_requests),
    Column("WAITING", lambda w: w.waiting_requests),
    Column("ACTIVE BLOCKS", lambda w: w.active_blocks),
    Column("CACHED BLOCKS", lambda w: w.cached_blocks),
    Column("CACHE", lambda w: quantities.percent(w.cache_usage)),
    Column("HIT RATE", lambda w: quantities.percent(best_rate(w.predicted, w.actual))),
    Column("REQUESTS", lambda w: w.predicted.requests),
)

DECISIONS: tuple[Column[KvDecision], ...] = (
    Column("TIME", lambda d: quantities.clock(d.t), least=23),
    Column("REQUEST", lambda d: d.request_id[:12], least=12),
    Column("WORKER", lambda d: d.worker, least=16),
    Column("BLOCKS", lambda d: d.prompt_blocks),
    Column("OVERLAP", lambda d: d.overlap_blocks),
    Column("BEST", lambda d: d.best_overlap_blocks),
    Column("COST", lambda d: next((quantities.number(c.cost) for c in d.candidates if c.worker == d.worker), "-")),
)


@click.command("kv", cls=SessionCommand)
@click.argument("graph", shell_complete=complete_graphs)
@click.option("--window", type=Duration(), help="Over the last so many seconds, e.g. 5m.")
@click.option("-w", "--watch", is_flag=True, help="Go on: a live picture on a terminal, decisions in a pipe.")
@click.pass_obj
def command(session: Session, graph: str, window: float | None, watch: bool) -> None:
    """Show KV routing of GRAPH: hit rates overall and per worker, load, latest decisions."""
    if watch:
        _watch(session, graph, window)
        return
    snapshot = session.client.send(calls.kv(graph, window=window, project=session.project))
    print_one(session, snapshot, name=graph, text=snapshot_lines)


def _watch(session: Session, graph: str, window: float | None) -> None:
    live = sys.stdout.isatty() and not session.json
    table = Table(DECISIONS)
    if not live and not session.json:
        click.echo(table.lines([])[0])
    for item in session.client.follow(streams.kv(graph, window=window, project=session.project), pause=session.pause):
        if session.json:
            print_json_line(item)
        elif live and isinstance(item, KvSnapshot):
            redraw(snapshot_lines(item))
        elif not live and isinstance(item, KvDecision):
            click.echo(table.lines([item], header=False)[0])


def worker_name(worker: KvWorker) -> str:
    """The replica, with `.rank` for data-parallel ranks above 0 as in the worker's own name."""
    if worker.replica is None:
        return worker.worker
    _, dot, rank = worker.worker.partition(".")
    return worker.replica + dot + rank


def best_rate(predicted: HitRate, actual: HitRate) -> float | None:
    """What the engines measured, or else what the router predicted; blocks reused by blocks asked."""
    return predicted.ratio_of_sums if actual.ratio_of_sums is None else actual.ratio_of_sums


def snapshot_lines(snapshot: KvSnapshot) -> Iterator[str]:
    """A snapshot as people read it."""
    predicted, actual = snapshot.predicted, snapshot.actual
    yield (
        f"{snapshot.graph}: hit rate {quantities.percent(best_rate(predicted, actual))} over the last "
        f"{quantities.span(snapshot.window_s)} ({predicted.requests} requests)"
    )
    yield f"  predicted  {_rate(predicted)}"
    yield f"  actual     {_rate(actual)}"
    if snapshot.avoidable_share is not None:
        yield f"  avoidable  {snapshot.avoidable_blocks} blocks, {quantities.percent(snapshot.avoidable_share)}"
    if snapshot.mode:
        yield f"  mode {snapshot.mode}, {snapshot.block_size or '?'} tokens a block"
    yield ""
    yield from Table(WORKERS).lines(snapshot.workers)
    if snapshot.decisions:
        yield ""
        yield from Table(DECISIONS).lines(snapshot.decisions[-LATEST:])


def _rate(rate: HitRate) -> str:
    return (
        f"{quantities.percent(rate.ratio_of_sums)} of {rate.blocks_asked} blocks; "
        f"mean of requests {quantities.percent(rate.mean_of_ratios)}"
    )
