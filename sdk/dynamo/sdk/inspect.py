"""`python -m dynamo.sdk.inspect TARGET`: print the GraphSpec of a target as JSON.

Whoever runs graphs calls this with the graph's own interpreter, so that no user code is imported
elsewhere. stdout carries the JSON and nothing else, whatever the graph's modules print; a user error is
one line on stderr and exit code 2.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from dynamo.sdk.config import Source, read_environment, read_file, read_port
from dynamo.sdk.errors import ExitCode, SdkError
from dynamo.sdk.graph import DEFAULT_HTTP_HOST, DEFAULT_HTTP_PORT, Graph
from dynamo.sdk.overrides import parse_overrides, split_overrides
from dynamo.sdk.spec import GraphSpec, encode, json_schema


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m dynamo.sdk.inspect",
        description="Print the GraphSpec of a target as JSON. Overrides are written --Service.key=value.",
        allow_abbrev=False,
    )
    parser.add_argument("target", nargs="?", help="module:Service, path/to/file.py:Service or module")
    parser.add_argument("-f", "--file", type=Path, help="a YAML configuration")
    parser.add_argument("--name", help="the graph's name; the module's otherwise")
    parser.add_argument("--working-dir", type=Path, help="where the target is imported from; the current directory")
    parser.add_argument("-p", "--port", type=int, help="port of the first service with HTTP routes; 0 is any free one")
    parser.add_argument("--host", help="address that it listens on")
    parser.add_argument("--service-name", help="this service alone; the rest runs elsewhere")
    parser.add_argument("--schema", action="store_true", help="print the JSON schema of a GraphSpec instead")
    return parser


def sources(file: Path | None, overrides: Sequence[str], environ: Mapping[str, str]) -> list[Source]:
    """Every configuration source that is given, the weakest first.

    Raises:
        ConfigError: one of them cannot be read.
    """
    found = [read_file(file)] if file else []
    if (deployment := read_environment(environ)) is not None:
        found.append(deployment)
    if overrides:
        found.append(parse_overrides(overrides))
    return found


def inspect_target(
    target: str,
    *,
    file: Path | None = None,
    name: str | None = None,
    working_dir: Path | None = None,
    port: int | None = None,
    host: str | None = None,
    service_name: str | None = None,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
) -> GraphSpec:
    """Import a target and describe it.

    `file` and `working_dir` are relative to the current directory. Port and host come from `DYNAMO_PORT`
    and `DYNAMO_HOST` where they are not given.

    Raises:
        SdkError: anything a user can put right. One line.
    """
    given = sources(file, overrides, environ)
    graph = Graph.load(target, working_dir=working_dir, name=name)
    graph.configure(given)
    return graph.spec(
        http_port=read_port(environ, "DYNAMO_PORT", DEFAULT_HTTP_PORT) if port is None else port,
        http_host=host or environ.get("DYNAMO_HOST") or DEFAULT_HTTP_HOST,
        only=service_name,
    )


@contextmanager
def stdout_for_data_only() -> Iterator[int]:
    """Send everything written to stdout to stderr, and give the descriptor of the real stdout."""
    sys.stdout.flush()
    real = os.dup(1)
    try:
        os.dup2(2, 1)
        yield real
    finally:
        sys.stdout.flush()
        os.dup2(real, 1)
        os.close(real)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    own, overrides = split_overrides(sys.argv[1:] if argv is None else argv)
    parser = arguments()
    options = parser.parse_args(own)
    if options.schema:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(json_schema())) + b"\n")
        return ExitCode.OK
    if not options.target:
        parser.error("the target is missing; write module:Service")
    if options.port is not None and not 0 <= options.port <= 65535:
        parser.error(f"--port must be from 0 to 65535, not {options.port}")
    try:
        with stdout_for_data_only() as real:
            spec = inspect_target(
                options.target,
                file=options.file,
                name=options.name,
                working_dir=options.working_dir,
                port=options.port,
                host=options.host,
                service_name=options.service_name,
                overrides=overrides,
            )
            with os.fdopen(os.dup(real), "wb") as out:
                out.write(encode(spec) + b"\n")
    except SdkError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201 - this is the command's answer
        return ExitCode.CONFIGURATION
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
