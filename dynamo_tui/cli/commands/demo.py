"""`demo`: the whole product at work, in one command."""

from __future__ import annotations

from pathlib import Path

import click

from dynamo_tui.cli.session import interactive


@click.command("demo")
@click.option(
    "--examples",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="The folder of examples; that of the checkout by default.",
)
@click.option(
    "--dashboard/--no-dashboard",
    "dashboard",
    default=None,
    help="Open the dashboard, or print what it would show; the former on a terminal.",
)
def command(examples: Path | None, dashboard: bool | None) -> None:
    """Run the KV-routing example on simulated engines, with traffic, and open the dashboard.

    Quitting the dashboard stops everything it started. Without a terminal it prints the status, a streamed
    answer and the hit rate, and exits.
    """
    from dynamo_tui.cli.demo import find_example, run_demo

    run_demo(find_example(examples), dashboard=interactive() if dashboard is None else dashboard)
