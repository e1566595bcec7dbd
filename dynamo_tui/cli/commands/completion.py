"""`completion`: the script that teaches a shell our commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from dynamo_tui.cli.app import application


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script of SHELL. For bash: `source <(dynamoctl completion bash)`."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    name = ctx.find_root().info_name or "dynamoctl"
    variable = f"_{name.upper().replace('-', '_')}_COMPLETE"
    click.echo(kind(application, {}, name, variable).source())
