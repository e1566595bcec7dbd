"""`tui`: open the dashboard."""

from __future__ import annotations

import os
import sys

import click


@click.command("tui", context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """Open the dashboard; arguments are `dynamo-tui`'s own."""
    os.execv(sys.executable, [sys.executable, "-m", "dynamo_tui.tui", *arguments])  # noqa: S606
