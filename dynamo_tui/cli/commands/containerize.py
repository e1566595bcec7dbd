"""`containerize` and `push`: images of builds."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from dynamo_tui.cli import builds, quantities, targets
from dynamo_tui.cli.output import print_json
from dynamo_tui.cli.session import GlobalCommand, Session
from dynamod.schema.builds import BuiltImage, ContainerizeOptions, ContainerizeRequest, PushOptions
from dynamod.schema.locations import default_state_dir, locations
from dynamod.schema.references import is_archive


class _ImageCommand(GlobalCommand):
    show_output = False


def image_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What an image is made with."""
    for decorate in reversed(_IMAGE_OPTIONS):
        function = decorate(function)
    return function


_IMAGE_OPTIONS = (
    click.option("--image", metavar="NAME", help="The image's name; the build's tag by default."),
    click.option("--base-image", metavar="IMAGE", help="What it is made from.  [default: python:X.Y-slim]"),
    click.option("--gpu/--cpu", "gpu", default=None, help="The variant; as the graph asks by default."),
    click.option("--platform", metavar="OS/ARCH", help="The platform, e.g. linux/arm64."),
    click.option(
        "--ca", type=click.Path(dir_okay=False, exists=True), help="Certificates for the package index, while building."
    ),
)


@click.command("containerize", cls=_ImageCommand)
@click.argument("build")
@image_options
@click.option("--label", "labels", metavar="K=V", multiple=True, callback=targets.key_value, help="A label of it.")
@click.option("--push", is_flag=True, help="Push it when it is made.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def command(session: Session, /, build: str, **chosen: Any) -> None:
    """Make a container image of BUILD with the daemon's Docker engine.

    BUILD is a tag; of an archive's file, and where no daemon runs, this machine's engine makes it.
    """
    report(session, containerize(session, build, **chosen))


@click.command("push", cls=_ImageCommand)
@click.argument("build", metavar="IMAGE")
@click.option("--as", "name", metavar="NAME", help="Push it under this name, e.g. registry.example.com/team/hello:1.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def push_command(session: Session, build: str, name: str | None) -> None:
    """Push IMAGE, as `containerize` made it (by default it is called as its build). Docker's own logins are used."""
    pushed = builds.push(PushOptions(image=name or build, source=build), builds.shown_step)
    if session.json:
        print_json(pushed)
    else:
        click.echo(f"Successfully pushed {pushed['image']}.")


def containerize(session: Session, build: str, *, ca: str | None = None, **chosen: Any) -> BuiltImage:
    """Make the image: by the daemon that keeps the build, or here, of an archive or where no daemon runs."""
    if not is_archive(build) and builds.keeper_answers(session):
        text = None if ca is None else Path(ca).read_text(encoding="utf-8")
        return builds.containerize_there(session, build, ContainerizeRequest(ca=text, **chosen), builds.shown_step)
    home = locations(default_state_dir(os.environ)).builds_dir
    options = ContainerizeOptions(build=build, builds_dir=str(home), ca=ca, **chosen)
    return builds.containerize(options, builds.shown_step)


def report(session: Session, image: BuiltImage) -> None:
    if session.json:
        print_json(image)
    else:
        click.echo(f"Successfully made image {image.image} ({image.id[7:19]}, {quantities.memory(image.size)}).")
