"""`kubernetes`: a graph on a cluster, without a daemon. A subprocess talks to the cluster; here it is shown."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from dynamo_tui.cli import targets
from dynamo_tui.cli.exits import CliError
from dynamo_tui.cli.kubernetes import asked_of, kubernetes_options, on_cluster
from dynamo_tui.cli.quantities import Duration
from dynamo_tui.cli.session import say


class NotOnCluster(CliError):
    """The cluster refuses, does not answer, or the graph did not become ready."""


def _cluster_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Which cluster; the command gets it as `where`."""

    @functools.wraps(function)
    def with_where(*args: Any, kubeconfig: str | None, context: str | None, **params: Any) -> Any:
        return function(*args, where={"kubeconfig": kubeconfig, "context": context}, **params)

    for decorate in (
        click.option("--context", metavar="NAME", help="The kubeconfig's context; the current one by default."),
        click.option(
            "--kubeconfig",
            type=click.Path(dir_okay=False, exists=True),
            help="The kubeconfig.  [default: $KUBECONFIG, else ~/.kube/config]",
        ),
    ):
        with_where = decorate(with_where)
    return with_where


def _graph_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Which graph of it, by name; the command gets its options as `kubernetes`."""

    @functools.wraps(function)
    def with_graph(*args: Any, graph: str, namespace: str | None, project: str, **params: Any) -> Any:
        kubernetes = {"graph": graph, "project": project} | ({"namespace": namespace} if namespace else {})
        return function(*args, kubernetes=kubernetes, **params)

    for decorate in (
        click.option("--project", default="default", metavar="NAME", help="The project."),
        click.option("--namespace", metavar="NAME", help="The namespace; the context's by default."),
        click.argument("graph"),
    ):
        with_graph = decorate(with_graph)
    return with_graph


@click.group("kubernetes")
def command() -> None:
    """A graph on a Kubernetes cluster: apply it, look at it, take it away."""


@command.command("apply", cls=targets.TargetCommand)
@targets.spec_options
@kubernetes_options
@_cluster_options
@click.option("--wait/--no-wait", "wait", default=True, show_default=True, help="Wait until it is ready.")
@click.option("--timeout", type=Duration(), default=3600.0, help="How long to wait, e.g. 90s or 10m.  [default: 1h]")
@click.option("--force", is_flag=True, help="Take over fields that somebody else manages.")
def apply_command(
    source: targets.Source,
    kubernetes: dict[str, Any],
    where: dict[str, Any],
    wait: bool,
    timeout: float,
    force: bool,
) -> None:
    """Bring the graph TARGET to the cluster (server-side apply); where nothing changes, nothing is written."""
    asked = asked_of(source, kubernetes) | {"wait": wait, "timeout": timeout, "force": force}
    _show(_run("apply", asked | where))


@command.command("status")
@_graph_options
@_cluster_options
def status_command(kubernetes: dict[str, Any], where: dict[str, Any]) -> None:
    """Show how GRAPH fares: its services, and each replica with the reason for its state."""
    found = _run("status", {"kubernetes": kubernetes} | where)
    for replica in found["replicas"]:
        click.echo(_replica(replica))
    _show(found)


@command.command("logs")
@_graph_options
@_cluster_options
@click.option("--service", metavar="NAME", help="Of this service alone.")
@click.option("--tail", type=click.IntRange(0), metavar="N", help="The last N lines of each replica.")
@click.option("-f", "--follow", is_flag=True, help="Go on; replicas that start later are followed as well.")
def logs_command(
    kubernetes: dict[str, Any], where: dict[str, Any], service: str | None, tail: int | None, follow: bool
) -> None:
    """Print the logs of GRAPH, each line with its replica."""
    _run("logs", {"kubernetes": kubernetes, "service": service, "tail": tail, "follow": follow} | where)


@command.command("delete")
@_graph_options
@_cluster_options
@click.option("--timeout", type=Duration(), default=600.0, help="How long replicas may drain.  [default: 10m]")
def delete_command(kubernetes: dict[str, Any], where: dict[str, Any], timeout: float) -> None:
    """Delete everything of GRAPH but its volumes, and wait until its replicas have drained."""
    found = _run("delete", {"kubernetes": kubernetes, "timeout": timeout} | where)
    for path in found["deleted"]:
        say(f"deleted {path}")


def _run(action: str, asked: dict[str, Any]) -> Any:
    """Do it and show what comes meanwhile: logs on stdout, everything else on stderr.

    Raises:
        NotOnCluster: one line, with the reason.
    """
    for message in on_cluster({"action": action, **asked}):
        if "line" in message:
            click.echo(f"{message['replica']}  {message['line']}")
        elif "replica" in message:
            say(_replica(message["replica"]))
        elif "error" in message:
            where = f"{message['field']}: " if message.get("field") else ""
            raise NotOnCluster(f"{where}{message['error']}", remedy=message.get("remedy") or "")
        elif "done" in message:
            return message["done"]
        else:
            say(f"note: {message['note']}" if "note" in message else message["step"])
    raise NotOnCluster("the program that talks to the cluster ended without a word")


def _show(found: dict[str, Any]) -> None:
    for service in found.get("services", ()):
        click.echo(f"{service['name']}  {service['ready']}/{service['desired']}")
    if "state" in found:
        click.echo(f"{found['state']}: {found['message'] or found['reason']}")


def _replica(replica: dict[str, Any]) -> str:
    words = f"  {replica['message']}" if replica["message"] else ""
    return f"{replica['id']}  {replica['state']}  {replica['reason']}{words}"
