"""`build`: make an archive of a graph, and hand it to the daemon."""

from __future__ import annotations

import os
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from dynamo_tui.cli import builds, targets
from dynamo_tui.cli.commands.containerize import containerize, image_options, report
from dynamo_tui.cli.output import print_json
from dynamo_tui.cli.session import GlobalCommand, Session, say
from dynamod.schema.builds import Build, BuildOptions
from dynamod.schema.locations import default_state_dir, locations
from dynamod.schema.references import is_archive


class BuildCommand(targets.TargetCommand, GlobalCommand):
    """`-o` is where the archive goes, as it always was for `build`."""

    show_output = False


@click.command("build", cls=BuildCommand)
@click.argument("target")
@click.option("-o", "--output-dir", type=click.Path(file_okay=False), help="Write the archive there, too.")
@click.option("-t", "--tag", metavar="NAME[:VERSION]", help="Its tag; the graph's name and a part of its digest else.")
@click.option("-f", "--force", is_flag=True, help="Take the tag from another build that has it.")
@click.option(
    "--config-file", "--file", "config_file", type=click.Path(dir_okay=False, exists=True), help="Configuration, YAML."
)
@click.option("--working-dir", type=click.Path(file_okay=False, exists=True), help="The project; what is built.")
@click.option("--python", "interpreter", default="", metavar="PATH", help="The interpreter that reads the graph.")
@click.option("--containerize", "as_image", is_flag=True, help="Make a container image of it, too.")
@click.option("--push", is_flag=True, help="Push that image.")
@image_options
@click.option("--label", "labels", metavar="K=V", multiple=True, callback=targets.key_value, help="A label of it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def command(
    session: Session,
    /,
    target: str,
    output_dir: str | None,
    tag: str | None,
    force: bool,
    config_file: str | None,
    working_dir: str | None,
    interpreter: str,
    labels: dict[str, str],
    overrides: tuple[str, ...],
    as_image: bool,
    push: bool,
    **image: Any,
) -> None:
    """Make a build of the graph TARGET: its sources, its locked packages and its configuration in one archive.

    The daemon keeps it; where none runs, it is kept on this machine and the next daemon finds it.
    """
    if push and not as_image:
        raise click.UsageError("--push goes with --containerize")
    upload = builds.keeper_answers(session)
    keep_in = "" if upload or output_dir else str(locations(default_state_dir(os.environ)).builds_dir)
    with tempfile.TemporaryDirectory() if output_dir is None else nullcontext(output_dir) as output:
        made = builds.make(
            BuildOptions(
                target=target,
                output_dir=output,
                keep_in=keep_in,
                tag=tag,
                config_file=config_file,
                working_dir=working_dir or "",
                overrides=overrides,
                interpreter=interpreter,
                labels=labels,
                force=force,
            ),
            builds.shown_step,
        )
        if upload:
            builds.shown_step("handing it to the daemon")
            kept, _ = builds.send(session, Path(made.path), force=force)
            made = kept if output_dir is None else made
    _report(session, made, kept=upload)
    if as_image:
        archive = made.path if is_archive(made.path) else made.tag
        report(session, containerize(session, archive, labels=labels, push=push, **image))


def _report(session: Session, build: Build, *, kept: bool) -> None:
    if session.json:
        print_json(build)
        return
    click.echo(f"Successfully built {build.tag}.")
    if not kept:
        say(f"no daemon runs; it is in {build.path}")
    say(f"run it: dynamoctl serve {build.tag}, or dynamoctl submit {build.tag}")
