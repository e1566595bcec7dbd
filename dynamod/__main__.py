"""`dynamod`: run the daemon, make a token for it, or look what is wrong with the machine.

Exit codes: 0 ended as it was asked to, 1 cannot start (`doctor`: something is to be mended), 2 wrong arguments,
130 told to end twice.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dynamod.schema.locations import Locations, default_state_dir, locations


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(_with_command(list(sys.argv[1:] if arguments is None else arguments)))
    where = locations(Path(options.state_dir) if options.state_dir else default_state_dir(os.environ))
    if options.command == "token":
        return _make_token(where, options)
    if options.command == "doctor":
        return _examine(where, options)
    return _run(where, options)


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--state-dir", metavar="DIR", help="where state, sockets and logs live")
    common.add_argument("--token-file", metavar="FILE", type=Path, help="hashes of the tokens that TCP accepts")
    parser = argparse.ArgumentParser(prog="dynamod", description="Runs inference graphs; dynamoctl talks to it.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    run = commands.add_parser("run", parents=[common], help="run the daemon until it is told to end (the default)")
    run.add_argument("--listen", metavar="HOST:PORT", type=_host_port, help="serve over TCP too; needs --token-file")
    run.add_argument("--allowed-host", metavar="NAME", action="append", default=[], help="a name clients use for it")
    run.add_argument("--database", metavar="URL", help="PostgreSQL in place of the SQLite file")
    run.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    token = commands.add_parser("token", parents=[common], help="make a token and print it, once")
    token.add_argument("name", metavar="NAME", help="who it is for: events show token:NAME")
    token.add_argument("--read-only", action="store_true", help="it may look, not change")
    doctor = commands.add_parser("doctor", help="find what is wrong with this machine, and say what to do")
    doctor.add_argument("--state-dir", metavar="DIR", help="where state, sockets and logs live")
    doctor.add_argument("--port", metavar="PORT", type=int, action="append", default=[], help="a port to look at, too")
    doctor.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _with_command(arguments: list[str]) -> list[str]:
    """`run` is what is meant when no command is named."""
    if arguments and arguments[0] in ("run", "token", "doctor", "-h", "--help"):
        return arguments
    return ["run", *arguments]


def _host_port(text: str) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    if not separator or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def _make_token(where: Locations, options: argparse.Namespace) -> int:
    from dynamod.api.tokens import TokenFileError, add_token

    path: Path = options.token_file or where.state_dir / "tokens"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        token = add_token(path, options.name, read_only=options.read_only)
    except (TokenFileError, OSError) as error:
        return _fail(str(error))
    sys.stdout.write(f"{token}\n")
    return 0


def _examine(where: Locations, options: argparse.Namespace) -> int:
    from dynamod.doctor.examination import as_json, as_text, examine, is_well

    findings = list(examine(where, os.environ, more_ports=options.port))
    sys.stdout.write(as_json(findings) if options.json else as_text(findings))
    return 0 if is_well(findings) else 1


def _run(where: Locations, options: argparse.Namespace) -> int:
    if options.listen is not None and options.token_file is None:
        return _fail("--listen needs --token-file: TCP without a token is refused", 2)

    import uvloop

    from dynamo.runtime.open_files import allow_many_files
    from dynamod.api.listening import ListenError
    from dynamod.api.tokens import TokenFileError
    from dynamod.core.errors import EngineError
    from dynamod.daemon import DaemonOptions, run_daemon
    from dynamod.own_log import set_up_logging

    set_up_logging(where.daemon_log, options.log_level)
    allow_many_files()
    daemon = DaemonOptions(
        where=where,
        listen=options.listen,
        token_file=options.token_file,
        allowed_hosts=tuple(options.allowed_host),
        database_url=options.database,
    )
    try:
        uvloop.run(run_daemon(daemon))
    except (EngineError, ListenError, TokenFileError) as error:
        return _fail(str(error))
    return 0


def _fail(message: str, code: int = 1) -> int:
    sys.stderr.write(f"dynamod: {message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
