"""`deploy` and `deployment`: build a graph, and run the build where it is wanted."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import click

from dynamo_tui.cli import builds, columns, lookup, targets
from dynamo_tui.cli.exits import CliError, ExitCode
from dynamo_tui.cli.kubernetes import placement_options
from dynamo_tui.cli.output import print_one, print_rows
from dynamo_tui.cli.quantities import Duration
from dynamo_tui.cli.session import Session, SessionCommand, complete_graphs, say
from dynamo_tui.cli.waiting import service_lines, settle, shown_progress, wait_for
from dynamo_tui.client import calls
from dynamo_tui.client.errors import NotFound
from dynamod.schema.builds import BuildOptions
from dynamod.schema.graphs import Graph


class _Exists(CliError):
    """There is a deployment of that name already."""

    code = ExitCode.CONFLICT


_OPTIONS = (
    click.option(
        "--target",
        "place",
        type=click.Choice(list(targets.DRIVERS)),
        default="local",
        show_default=True,
        help="Where it runs: processes here, containers, or pods.",
    ),
    click.option("--wait/--no-wait", "wait", default=True, show_default=True, help="Wait until it is ready."),
    click.option(
        "--timeout", type=Duration(), default=3600.0, help="How long to wait, e.g. 90s or 10m.  [default: 1h]"
    ),
)


def _deploy_options(function: Callable[..., Any]) -> Callable[..., Any]:
    @placement_options
    @functools.wraps(function)
    def with_place(*args: Any, source: targets.Source, place: str, kubernetes: dict[str, Any], **params: Any) -> Any:
        return function(*args, source=replace(source, driver=targets.DRIVERS[place], kubernetes=kubernetes), **params)

    for decorate in reversed(_OPTIONS):
        with_place = decorate(with_place)
    return targets.code_options(with_place)


_name = click.option("-n", "--name", metavar="NAME", help="The deployment's name; the graph's by default.")


@click.command("deploy", cls=targets.TargetSessionCommand)
@_deploy_options
@_name
@click.pass_obj
def deploy_command(session: Session, source: targets.Source, name: str | None, wait: bool, timeout: float) -> None:
    """Build the graph TARGET, unless it is a build, and run it; a deployment of that name is updated."""
    _deploy(session, replace(source, name=name), wait, timeout)


@click.group("deployment")
def command() -> None:
    """Deployments: graphs that run from a build."""


@command.command("create", cls=targets.TargetSessionCommand)
@_deploy_options
@_name
@click.pass_obj
def create_command(session: Session, source: targets.Source, name: str | None, wait: bool, timeout: float) -> None:
    """Build the graph TARGET, unless it is a build, and run it under a new name."""
    _deploy(session, replace(source, name=name), wait, timeout, new=True)


@command.command("update", cls=targets.TargetSessionCommand)
@click.argument("name", shell_complete=complete_graphs)
@_deploy_options
@click.pass_obj
def update_command(session: Session, name: str, source: targets.Source, wait: bool, timeout: float) -> None:
    """Roll the deployment NAME over to TARGET."""
    session.client.send(calls.graph(name, project=session.project))
    _deploy(session, replace(source, name=name), wait, timeout)


@command.command("get", cls=SessionCommand)
@click.argument("name", shell_complete=complete_graphs)
@click.pass_obj
def get_command(session: Session, name: str) -> None:
    """Show the deployment NAME: its build, its services and how they fare."""
    graph = session.client.send(calls.graph(name, project=session.project))
    revision = session.client.send(calls.revision(name, graph.revision, project=session.project))
    found = lookup.replicas(session.client, session.project, name)

    def lines(shown: Graph) -> list[str]:
        where = f" at {shown.address}" if shown.address else ""
        return [
            f"{shown.name}: {shown.state.value} ({shown.reason.value}){where}",
            f"  driver    {shown.driver}",
            f"  revision  {shown.revision} of {revision.build[:12] if revision.build else 'a working tree'}",
            *(f"  {line}" for line in service_lines(shown, found)),
        ]

    print_one(session, graph, name=graph.name, text=lines)


@command.command("list", cls=SessionCommand)
@click.pass_obj
def list_command(session: Session) -> None:
    """List deployments."""
    rows = list(
        lookup.every(
            session.client, lambda cursor: calls.graphs(project=session.project, after=cursor, limit=lookup.PAGE)
        )
    )
    print_rows(session, rows, columns.GRAPHS, name=lambda g: g.name, empty="no deployments")


@command.command("delete", cls=SessionCommand)
@click.argument("name", shell_complete=complete_graphs)
@click.option("--wait/--no-wait", "wait", default=True, show_default=True, help="Wait until it is gone.")
@click.option("--timeout", type=Duration(), default=600.0, help="How long to wait, e.g. 90s or 10m.  [default: 10m]")
@click.pass_obj
def delete_command(session: Session, name: str, wait: bool, timeout: float) -> None:
    """Stop the deployment NAME and forget it; its build is kept."""
    session.client.send(calls.remove(name, project=session.project))
    if wait:
        with shown_progress() as progress:
            wait_for(session.client, name, "removed", project=session.project, timeout=timeout, progress=progress)
    message = f"deployment {name} deleted" if wait else f"deployment {name} is being deleted"
    print_one(session, {"name": name, "message": message}, name=name, text=lambda one: [one["message"]])


def _deploy(session: Session, source: targets.Source, wait: bool, timeout: float, *, new: bool = False) -> None:
    session.ensure_daemon()
    build = builds.meant(session, source)
    if build is None:
        build = _built(session, source)
        # What says where the code is, is no part of a build; what configures it goes with the deployment.
        source = replace(source, working_dir=None, interpreter=None)
    request = builds.submission(session, source, build=build)
    if new:
        _refuse_known(session, request.name or session.client.send(calls.build(request.build or "")).graph)
    with builds.progress_of(session, request):
        graph = session.client.send(calls.submit(request))
    if wait:
        graph = settle(session, graph, "ready", timeout)
    elif not session.json:
        say(f"follow it: dynamoctl deployment get {graph.name}")
    where = f" at {graph.address}" if graph.address else ""
    print_one(
        session, graph, name=graph.name, text=lambda g: [f"deployment {g.name} of {request.build}: {g.state}{where}"]
    )


def _built(session: Session, source: targets.Source) -> str:
    """The tag of a build of the source, without its configuration, which the daemon keeps."""
    with tempfile.TemporaryDirectory() as output:
        options = BuildOptions(
            target=source.target,
            output_dir=output,
            working_dir=source.working_dir or "",
            interpreter=source.interpreter or "",
        )
        made = builds.make(options, builds.shown_step)
        build, _ = builds.send(session, builds.archive_of(made), force=False)
    return build.tag


def _refuse_known(session: Session, name: str) -> None:
    try:
        session.client.send(calls.graph(name, project=session.project))
    except NotFound:
        return
    raise _Exists(f"there is a deployment {name!r} already", remedy=f"dynamoctl deployment update {name} TARGET")
