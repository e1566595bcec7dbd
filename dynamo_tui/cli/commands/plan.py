"""`plan` and `apply`: what would change, and doing just that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click
import msgspec

from dynamo_tui.cli import builds, targets
from dynamo_tui.cli.exits import CliError, ExitCode, one_line
from dynamo_tui.cli.kubernetes import placement_options
from dynamo_tui.cli.output import Column, Table, print_one
from dynamo_tui.cli.quantities import Duration
from dynamo_tui.cli.session import GlobalCommand, Session
from dynamo_tui.cli.waiting import settle
from dynamo_tui.client import calls
from dynamo_tui.client.errors import ClientError
from dynamod.schema.graphs import Plan, PlanOperation
from dynamod.schema.states import OperationKind

OPERATIONS: tuple[Column[PlanOperation], ...] = (
    Column("WAVE", lambda o: o.wave),
    Column("OPERATION", lambda o: o.kind.value),
    Column("SERVICE", lambda o: o.service),
    Column("REPLICA", lambda o: o.replica or (f"#{o.index}" if o.index is not None else "")),
    Column("GPUS", lambda o: ",".join(str(g.index) for g in o.gpus)),
    Column("CAUSE", lambda o: o.cause),
)


@click.command("plan", cls=targets.TargetSessionCommand)
@placement_options
@targets.target_options
@click.pass_obj
def command(session: Session, source: targets.Source) -> int:
    """Show what submitting TARGET would change, each operation with its cause; nothing is changed.

    Exits 0 when nothing would change, 1 when something would, 2 on any error.
    """
    try:
        request = builds.submission(session, source)
        with builds.progress_of(session, request):
            plan = session.client.send(calls.plan(request))
    except (ClientError, CliError) as error:
        click.echo(one_line(error), err=True)
        return ExitCode.ERROR
    print_one(session, plan, name=plan.id, text=plan_lines)
    return ExitCode.OK if plan.is_empty else ExitCode.CHANGES


@click.command("apply", cls=GlobalCommand)
@click.argument("plan_id", metavar="PLAN")
@click.option("--wait/--no-wait", "wait", default=False, help="Wait until the graph is ready.")
@click.option("--timeout", type=Duration(), default=3600.0, help="How long to wait, e.g. 90s or 10m.  [default: 1h]")
@click.pass_obj
def apply_command(session: Session, plan_id: str, wait: bool, timeout: float) -> None:
    """Carry out the plan PLAN, as `dynamoctl plan` named it; refused when the world has changed since."""
    graph = session.client.send(calls.apply_plan(plan_id))
    if wait:
        graph = settle(session, graph, "ready", timeout)
    print_one(
        session, graph, name=graph.name, text=lambda g: [f"graph {g.name}, revision {g.revision}: {g.state.value}"]
    )


def plan_lines(plan: Plan) -> Iterator[str]:
    """A plan as people read it."""
    if plan.is_empty:
        yield f"graph {plan.graph}: nothing to change"
        return
    yield f"graph {plan.graph}: {plan.strategy.replace('_', ' ')}"
    for change in plan.changes:
        yield f"  {change.path}: {_value(change.before)} -> {_value(change.after)}"
    if plan.operations:
        yield ""
        yield from Table(OPERATIONS).lines(plan.operations)
        yield from _gpu_lines(plan.operations)
    if plan.manifests:
        yield ""
        yield from plan.manifests.splitlines()
    for note in plan.notes:
        yield f"note: {note}"
    yield ""
    yield f"carry it out: dynamoctl apply {plan.id}"


def _gpu_lines(operations: Sequence[PlanOperation]) -> Iterator[str]:
    """Which device each replica would get, and why it is that one and no other."""
    for operation in operations:
        if operation.kind is OperationKind.START and operation.gpus:
            shares = (
                f"GPU {g.index} ({g.uuid}){f', {g.share:g} of it' if g.share < 1 else ''}" for g in operation.gpus
            )
            yield ""
            yield f"{operation.service} {operation.replica or f'#{operation.index}'}: {', '.join(shares)}"
            yield from (f"  {reason}" for reason in operation.placement)


def _value(value: Any) -> str:
    text = "nothing" if value is None else msgspec.json.encode(value).decode()
    return text if len(text) <= 100 else f"{text[:97]}..."
