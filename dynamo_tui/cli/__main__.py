"""The entry point: it alone writes errors and decides the exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from dynamo_tui.cli.app import application


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run `dynamoctl` and exit."""
    code = run(sys.argv[1:] if argv is None else argv)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _abandon_stdout()
    sys.exit(code)


def run(argv: Sequence[str]) -> int:
    """Run one command line and return its exit code. Errors become one line on stderr; a traceback is a bug."""
    name = os.path.basename(sys.argv[0])  # noqa: PTH119 - pathlib costs milliseconds here
    try:
        result = application.main(
            args=list(argv), prog_name=name if name in ("dynamo", "dynamoctl") else "dynamoctl", standalone_mode=False
        )
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.ClickException as error:
        click.echo(_usage(error), err=True)
        return error.exit_code if error.exit_code != 1 else 2
    except (click.Abort, KeyboardInterrupt):
        return 130
    except (BrokenPipeError, SystemExit):  # click turns the first into the second, and raises it for nothing else
        _abandon_stdout()
        return 0
    except Exception as error:
        return _report(error)
    return int(result) if isinstance(result, int) else 0


def _usage(error: click.ClickException) -> str:
    """One line: what is wrong with the command line, and where it is explained."""
    text = " ".join(error.format_message().split()).rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"error: {text}; see `{context.command_path} --help`" if context and "`" not in text else f"error: {text}"


def _report(error: Exception) -> int:
    from dynamo_tui.cli.exits import CliError, exit_code, one_line
    from dynamo_tui.client.errors import ClientError

    if not isinstance(error, (ClientError, CliError)):
        raise error
    click.echo(one_line(error), err=True)
    return exit_code(error)


def _abandon_stdout() -> None:
    """Whoever read our output has left: what is still buffered has nowhere to go."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


if __name__ == "__main__":
    main()
