"""`serve`: a graph in the foreground. The options are handed to the foreground program, which takes our place."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import NoReturn

import click
import msgspec

from dynamo_tui.cli import targets
from dynamod.schema.serve import ServeOptions


@click.command("serve", cls=targets.TargetCommand)
@targets.spec_options
@click.option("--dry-run", is_flag=True, help="Print the configuration, the graph and the GPU plan, and exit.")
@click.option("--service-name", metavar="NAME", help="Run this service alone; another host runs the rest.")
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
@click.option("--project", default="default", metavar="NAME", help="The project.")
def command(
    source: targets.Source,
    dry_run: bool,
    service_name: str | None,
    enable_system_app: bool,
    system_app_port: int | None,
    use_default_health_checks: bool,
    discovery: str | None,
    advertise: str | None,
    project: str,
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
            target=source.target,
            name=source.name,
            project=project,
            config_file=source.config_file,
            working_dir=source.working_dir or "",
            host=source.host,
            port=source.port,
            service_name=service_name,
            system_app_port=system_app_port,
            enable_system_app=enable_system_app,
            use_default_health_checks=use_default_health_checks,
            overrides=source.overrides,
            envs=source.envs,
            interpreter=source.interpreter or "",
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
