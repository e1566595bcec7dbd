"""`metrics`: series over time, the names there are, or Prometheus' text."""

from __future__ import annotations

import click

from dynamo_tui.cli import quantities
from dynamo_tui.cli.output import Column, print_json, print_rows
from dynamo_tui.cli.quantities import Duration, Moment
from dynamo_tui.cli.session import Session, SessionCommand, complete_graphs
from dynamo_tui.client import calls
from dynamod.schema.observations import Series


@click.command("metrics", cls=SessionCommand)
@click.argument("graph", required=False, shell_complete=complete_graphs)
@click.argument("name", required=False)
@click.option("--service", metavar="NAME", help="Only this service.")
@click.option("--replica", metavar="ID", help="Only this replica.")
@click.option("--since", type=Moment(), help="From then on: 5m (ago), or a time.")
@click.option("--until", type=Moment(), help="Up to then: 5m (ago), or a time.")
@click.option("--step", type=Duration(), help="Time between points, e.g. 10s.")
@click.option("--prometheus", is_flag=True, help="The latest samples in Prometheus' text format.")
@click.pass_obj
def command(
    session: Session,
    graph: str | None,
    name: str | None,
    service: str | None,
    replica: str | None,
    since: float | None,
    until: float | None,
    step: float | None,
    prometheus: bool,
) -> None:
    """Show the metric NAME of GRAPH over time. Without NAME list what there is; without GRAPH show the daemon's own."""
    client, project = session.client, session.project
    if graph is None:
        click.echo(client.send(calls.daemon_metrics()), nl=False)
    elif prometheus:
        click.echo(client.send(calls.prometheus(graph, project=project)), nl=False)
    elif name is None:
        names = client.send(calls.metric_names(graph, project=project))
        if session.json:
            print_json(names)
        for found in names if not session.json else ():
            click.echo(found)
    else:
        rows = client.send(
            calls.metrics(
                graph, name, service=service, replica=replica, since=since, until=until, step=step, project=project
            )
        )
        print_rows(session, rows, _COLUMNS, name=_labels, empty=f"nothing was measured as {name}")


def _labels(series: Series) -> str:
    return ",".join(f"{k}={v}" for k, v in sorted(series.labels.items()))


def _values(series: Series) -> list[float]:
    return [v for _, v in series.points if v is not None]


_COLUMNS: tuple[Column[Series], ...] = (
    Column("LABELS", _labels),
    Column("LATEST", lambda s: quantities.number(_values(s)[-1], 3) if _values(s) else "-"),
    Column("LOWEST", lambda s: quantities.number(min(_values(s)), 3) if _values(s) else "-"),
    Column("HIGHEST", lambda s: quantities.number(max(_values(s)), 3) if _values(s) else "-"),
    Column("POINTS", lambda s: len(_values(s))),
    Column("UNIT", lambda s: s.unit),
)
