"""Commands that take a graph's code: its target, its options, and the spec that its own interpreter derives."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from dynamo.sdk import spec as graph_spec
from dynamo.sdk.spec import GraphSpec, SpecError
from dynamo_tui.cli.exits import UserError
from dynamo_tui.cli.session import SessionCommand
from dynamod.schema.graphs import DriverName, GraphSubmit

INSPECT_TIMEOUT_S = 300.0
_OVERRIDE = re.compile(r"--[A-Za-z_]\w*\.[^=\s]+(=.*)?", re.DOTALL)


def take_overrides(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split off `--Service.key=value` and `--Service.key value`; the latter are joined with `=`.

    No option of ours has a dot in its name, so a dotted one is always an override. What follows `--` is left alone.

    Raises:
        click.UsageError: an override without a value.
    """
    rest: list[str] = []
    overrides: list[str] = []
    queue = list(arguments)
    while queue:
        word = queue.pop(0)
        if word == "--":
            return [*rest, word, *queue], overrides
        found = _OVERRIDE.fullmatch(word)
        if found is None:
            rest.append(word)
        elif found.group(1) is not None:
            overrides.append(word)
        elif queue and not queue[0].startswith("--"):
            overrides.append(f"{word}={queue.pop(0)}")
        else:
            raise click.UsageError(f"{word} needs a value: {word}=VALUE")
    return rest, overrides


class _WithOverrides(click.Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest, overrides = take_overrides(args)
        result = super().parse_args(ctx, rest)
        ctx.params["overrides"] = tuple(overrides)
        return result


class TargetCommand(_WithOverrides):
    """A command that takes a target and overrides, and talks to no daemon."""


class TargetSessionCommand(_WithOverrides, SessionCommand):
    """A command that takes a target and overrides, and talks to a daemon: a `serve` would forget the graph."""

    attach = False


def key_value(_: click.Context, parameter: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    """The callback of repeated `KEY=VALUE` options."""
    pairs = {}
    for value in values:
        key, separator, text = value.partition("=")
        if not separator or not key:
            raise click.BadParameter(f"{value!r}: write it as KEY=VALUE", param=parameter)
        pairs[key] = text
    return pairs


def discovery_url(_: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """The callback of `--discovery`: a store that several hosts can share."""
    if value is not None and not re.fullmatch(r"etcds?://[^/\s]+/?", value):
        raise click.BadParameter(f"{value!r}: write it as etcd://host:2379[,host:2379]", param=parameter)
    return value


@dataclass(frozen=True, kw_only=True)
class Source:
    """Which code is meant and how it is configured: what the target options say."""

    target: str
    config_file: str | None
    working_dir: str | None
    interpreter: str | None
    port: int | None
    host: str | None
    envs: dict[str, str]
    overrides: tuple[str, ...]
    name: str | None = None
    driver: DriverName = "process"
    kubernetes: dict[str, Any] = field(default_factory=dict)

    def submission(self, project: str) -> GraphSubmit:
        """What is submitted. Raises `UserError` as `spec` does."""
        return GraphSubmit(
            spec=self.spec(),
            name=self.name,
            project=project,
            driver=self.driver,
            envs=self.envs,
            **self.placed(),
        )

    def placed(self) -> dict[str, Any]:
        """What of a `GraphSubmit` depends on where it runs: secrets are the cluster's, or the daemon's machine's."""
        rest = dict(self.kubernetes)
        if self.driver == "kubernetes":
            return {"kubernetes": rest}
        whole, single = rest.pop("env_secrets", ()), rest.pop("secret_envs", {})
        return {"kubernetes": rest, "env_secrets": list(whole), "secret_envs": single}

    def spec(self) -> GraphSpec:
        """Derive the spec in the graph's own interpreter; its code is never imported here.

        Raises:
            UserError: the interpreter cannot be run, or the graph is not sound; the message is the SDK's own line.
        """
        python = self.interpreter or sys.executable
        arguments = [python, "-m", "dynamo.sdk.inspect", self.target]
        for option, value in (
            ("--file", self.config_file),
            ("--working-dir", self.working_dir),
            ("--name", self.name),
            ("--port", self.port),
            ("--host", self.host),
        ):
            if value is not None:
                arguments += [option, str(value)]
        arguments += self.overrides
        try:
            done = subprocess.run(arguments, capture_output=True, timeout=INSPECT_TIMEOUT_S, check=False)
        except OSError as error:
            raise UserError(
                f"cannot run {python}: {error.strerror}", remedy="name an interpreter: --python PATH"
            ) from None
        except subprocess.TimeoutExpired:
            raise UserError(f"importing {self.target} took longer than {INSPECT_TIMEOUT_S:.0f} s") from None
        if done.returncode != 0:
            raise UserError(_complaint(done.stderr, self.target, python))
        try:
            return graph_spec.decode(done.stdout)
        except SpecError as error:
            raise UserError(
                f"{python} printed something that is no graph spec: {error}",
                remedy="a module of the graph prints while it is imported, or its SDK has another version",
            ) from None


def target_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The target, its options and the driver; the command gets them together as `source`."""
    return _with_source(function, (*_CODE_OPTIONS, _NAME, _DRIVER))


def spec_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same for commands that have no choice of a driver."""
    return _with_source(function, (*_CODE_OPTIONS, _NAME))


def code_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same without the name, for commands that take one in a way of their own."""
    return _with_source(function, _CODE_OPTIONS, leave=("name",))


def _with_source(
    function: Callable[..., Any], options: Sequence[Callable[..., Any]], *, leave: Sequence[str] = ()
) -> Callable[..., Any]:
    fields = [field for field in Source.__dataclass_fields__ if field not in leave]

    @functools.wraps(function)
    def with_source(*args: Any, **params: Any) -> Any:
        source = Source(**{field: params.pop(field) for field in fields if field in params})
        return function(*args, source=source, **params)

    for decorate in reversed(options):
        with_source = decorate(with_source)
    return with_source


_CODE_OPTIONS = (
    click.argument("target"),
    click.option(
        "-f",
        "--config-file",
        "--file",
        "config_file",
        type=click.Path(dir_okay=False, exists=True),
        help="The graph's configuration, YAML.",
    ),
    click.option("--working-dir", type=click.Path(file_okay=False, exists=True), help="Where its modules are."),
    click.option("--python", "interpreter", metavar="PATH", help="The interpreter that runs the graph."),
    click.option(
        "-p",
        "--port",
        type=click.IntRange(0, 65535),
        help="HTTP port of the entry service, 0 for any.  [default: 8000]",
    ),
    click.option("--host", metavar="ADDRESS", help="HTTP address of the entry service.  [default: 0.0.0.0]"),
    click.option(
        "--env", "envs", metavar="K=V", multiple=True, callback=key_value, help="Environment of every replica."
    ),
)
_NAME = click.option("--name", metavar="NAME", help="The graph's name; the module's by default.")
DRIVERS: dict[str, DriverName] = {"local": "process", "docker": "docker", "kubernetes": "kubernetes"}
"""What a place is called on the command line, and what runs replicas there."""
_DRIVER = click.option(
    "--driver",
    "--target",
    type=click.Choice(["process", *DRIVERS]),
    default="process",
    show_default=True,
    callback=lambda _context, _parameter, value: DRIVERS.get(value, value),
    help="What runs the replicas; `local` is another word for processes.",
)


def _complaint(stderr: bytes, target: str, python: str) -> str:
    """The line that explains: the last one that inspect wrote."""
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    last = lines[-1].strip() if lines else "no output"
    if "No module named" in last and "dynamo" in last:
        return f"{python} has no dynamo SDK: install dynamod in it, or choose another with --python"
    return last.removeprefix("error: ") if lines else f"{target} cannot be inspected with {Path(python).name}"
