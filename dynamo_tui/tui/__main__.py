"""`dynamo-tui`: the command line. Textual is imported only once it is known what to show."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from dynamo_tui.cli.exits import CliError, UserError, exit_code, one_line
from dynamo_tui.client.contexts import Choice, Context, answers, choose
from dynamo_tui.client.errors import ClientError, ContextError
from dynamo_tui.tui.settings import load_settings, settings_file


def chosen(context: str | None, socket: str | None, url: str | None, token_file: str | None) -> Choice:
    """The daemon that the options name, else the one that every command talks to.

    Raises:
        ContextError: there is no such context, or the token cannot be read.
    """
    token = None
    if token_file is not None:
        try:
            token = Path(token_file).expanduser().read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ContextError(
                f"{token_file}: {error.strerror}", remedy="name a readable file with the token"
            ) from None
    if url is not None:
        return Choice(Context(name="url", url=url, token=token or os.environ.get("DYNAMOD_TOKEN")))
    if socket is not None:
        return Choice(Context(name="socket", socket=socket, token=token))
    return choose(os.environ, context)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--context", metavar="NAME", help="The daemon: a configured context, `local`, or `serve:PID`.")
@click.option("--socket", metavar="PATH", help="The daemon's Unix socket.")
@click.option("--url", metavar="URL", help="The daemon's address over TCP.")
@click.option("--token-file", metavar="PATH", help="A file that holds the token for it.")
@click.option("--graph", metavar="NAME", help="Open this graph.")
@click.option("--read-only", is_flag=True, help="Look, and change nothing.")
@click.option("--replay", metavar="FILE", help="Show a recording (dynamoctl record) instead of a daemon.")
@click.option("--no-start", is_flag=True, help="Never start a daemon.")
@click.option("--web", is_flag=True, help="Serve it to a browser, on the loopback interface, until Ctrl-C.")
@click.option("--web-port", metavar="PORT", type=click.IntRange(1, 65535), default=8421, show_default=True)
@click.option("--web-host", metavar="ADDRESS", default="127.0.0.1", show_default=True)
@click.option("--web-allow-remote", is_flag=True, help="Let --web-host be an address that other machines reach.")
def command(
    context: str | None,
    socket: str | None,
    url: str | None,
    token_file: str | None,
    graph: str | None,
    read_only: bool,
    replay: str | None,
    no_start: bool,
    web: bool,
    web_port: int,
    web_host: str,
    web_allow_remote: bool,
) -> int:
    """The dashboard: graphs, replicas, logs and the KV router, live. `?` lists the keys."""
    if web:
        named = {"context": context, "socket": socket, "url": url, "token-file": token_file, "graph": graph}
        named["replay"] = replay
        arguments = [word for name, value in named.items() if value is not None for word in (f"--{name}", value)]
        arguments += ["--read-only"] * read_only + ["--no-start"] * no_start
        return _served(arguments, web_host, web_port, remote=web_allow_remote)
    if replay is not None:
        return _replayed(Path(replay), graph)
    choice = chosen(context, socket, url, token_file)
    settings = load_settings(settings_file(os.environ))
    notice = _prepare(choice, may_start=not no_start)
    from dynamo_tui.tui.app import Dashboard
    from dynamo_tui.tui.hangup import leave_with_terminal

    app = Dashboard(choice.context, graph=graph, read_only=read_only, notice=notice, settings=settings)
    leave_with_terminal()
    return app.run() or 0


def _served(arguments: Sequence[str], host: str, port: int, *, remote: bool) -> int:
    """Serve to browsers what these arguments show."""
    try:
        from dynamo_tui.tui.web import Address, serve
    except ModuleNotFoundError as error:
        raise UserError(f"--web needs {error.name}", remedy="install it: pip install 'dynamod[web]'") from None
    serve([sys.executable, "-m", "dynamo_tui.tui", *arguments], Address(host=host, port=port, remote=remote))
    return 0


def _replayed(path: Path, graph: str | None) -> int:
    """Show a recording."""
    from dynamo_tui.client.recording import read_recording

    recording = read_recording(path)
    settings = load_settings(settings_file(os.environ))
    from dynamo_tui.tui.app import Dashboard
    from dynamo_tui.tui.hangup import leave_with_terminal
    from dynamo_tui.tui.replay import Replay

    replay = Replay(recording, path.name)
    app = Dashboard(
        replay.context, graph=graph or recording.header.graph, read_only=True, settings=settings, replay=replay
    )
    leave_with_terminal()
    return app.run() or 0


def _prepare(choice: Choice, *, may_start: bool) -> str:
    """See that there is a daemon where one may be started. Returns what there is to say about it."""
    if choice.attached is not None:
        return f"no daemon runs: showing serve of {choice.attached.graph} (pid {choice.attached.pid})"
    context = choice.context
    if not (may_start and choice.may_start) or context.socket is None or answers(context.socket):
        return ""
    from dynamo_tui.client.processes import start_daemon

    started = start_daemon(os.environ)
    return f"no daemon was running: started one (pid {started.pid}, log {started.log})"


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the dashboard and exit. Errors become one line on stderr."""
    try:
        code = command.main(args=None if argv is None else list(argv), prog_name="dynamo-tui", standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except (ClientError, CliError) as error:
        click.echo(one_line(error), err=True)
        sys.exit(exit_code(error))
    sys.exit(code or 0)


if __name__ == "__main__":
    main()
