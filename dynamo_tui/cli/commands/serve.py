"""`serve`: a graph in the foreground. The options are handed to the foreground program, which takes our place."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import NoReturn

import click
import msgspec

from dynamo_tui.cli import targets
from dynamod.schema.serve import DEFAULT_HOST, DEFAULT_PORT, ServeOptions


@click.command("serve", cls=targets.TargetCommand)
@click.argument("target")
@click.option(
    "-f",
    "--config-file",
    "--file",
    "config_file",
    type=click.Path(dir_okay=False, exists=True),
    help="The graph's configuration, YAML.",
)
@click.option("--dry-run", is_flag=True, help="Print the configuration, the graph and the GPU plan, and exit.")
@click.option("--working-dir", type=click.Path(file_okay=False, exists=True), help="Where its modules are.")
@click.option("-p", "--port", type=click.IntRange(0, 65535), help=f"HTTP port, 0 for any.  [default: {DEFAULT_PORT}]")
@click.option("--host", metavar="ADDRESS", help=f"HTTP address.  [default: {DEFAULT_HOST}]")
@click.option("--service-name", metavar="NAME", help="Run this service alone; another host runs the rest.")
@click.option(
    "--depends",
    metavar="NAME=VALUE",
    multiple=True,
    callback=targets.key_value,
    help="Where a dependency is found that is not run here.",
)
@click.option("--enable-system-app", is_flag=True, help="Serve /healthz, /readyz and /metrics for every replica.")
@click.option("--system-app-port", type=click.IntRange(0, 65535), help="The port of those.")
@click.option("--use-default-health-checks", is_flag=True, help="Let those check nothing but that the process runs.")
@click.option(
    "--discovery",
    metavar="URL",
    callback=targets.discovery_url,
    help="Where replicas meet those of other hosts, e.g. etcd://10.0.0.1:2379.  [default: $DYN_DISCOVERY, else none]",
)
@click.option(
    "--advertise",
    metavar="ADDRESS",
    help="The address at which other hosts reach this one's replicas.  [default: $DYN_TCP_HOST]",
)
@click.option("--name", metavar="NAME", help="The graph's name; the module's by default.")
@click.option("--project", default="default", metavar="NAME", help="The project.")
@click.option(
    "--env", "envs", metavar="K=V", multiple=True, callback=targets.key_value, help="Environment of every replica."
)
@click.option("--python", "interpreter", default="", metavar="PATH", help="The interpreter that runs the graph.")
def command(
    target: str,
    config_file: str | None,
    dry_run: bool,
    working_dir: str | None,
    port: int | None,
    host: str | None,
    service_name: str | None,
    depends: dict[str, str],
    enable_system_app: bool,
    system_app_port: int | None,
    use_default_health_checks: bool,
    discovery: str | None,
    advertise: str | None,
    name: str | None,
    project: str,
    envs: dict[str, str],
    interpreter: str,
    overrides: tuple[str, ...],
) -> None:
    """Run the graph TARGET (module:Class, path.py:Class, or a build) in the foreground; Ctrl-C drains and stops it.

    Each worker is a process of its own. Configuration can be overridden with --Service.key=value.
    `dynamo-tui` and all other commands can look at it while it runs.

    With --discovery a graph spans hosts: each host runs `serve` with --service-name for its part, on the same
    etcd and under the same name, and gives with --advertise the address that the others reach it by.
    """
    if discovery is not None and advertise is None and not os.environ.get("DYN_TCP_HOST"):
        raise click.UsageError("--discovery needs --advertise: the address by which other hosts reach this one")
    meeting = {"DYN_DISCOVERY": discovery, "DYN_TCP_HOST": advertise}
    os.environ.update({name: value for name, value in meeting.items() if value is not None})
    _become_foreground(
        ServeOptions(
            target=target,
            name=name,
            project=project,
            config_file=config_file,
            working_dir=working_dir or "",
            host=host,
            port=port,
            service_name=service_name,
            depends=depends,
            system_app_port=system_app_port,
            enable_system_app=enable_system_app,
            use_default_health_checks=use_default_health_checks,
            overrides=overrides,
            envs=envs,
            interpreter=interpreter,
            dry_run=dry_run,
        )
    )


def _become_foreground(options: ServeOptions) -> NoReturn:
    """Replace this process: signals and the exit code are then the foreground program's own."""
    descriptor, path = tempfile.mkstemp(prefix="dynamo-serve-", suffix=".json")
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(options))
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "dynamod.foreground", "--options", path])  # noqa: S606
