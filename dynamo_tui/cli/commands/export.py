"""`export`: a graph as manifests for Kubernetes. A subprocess makes them; here they are written down."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from dynamo_tui.cli import targets
from dynamo_tui.cli.exits import UserError
from dynamo_tui.cli.kubernetes import Exported, export, kubernetes_options
from dynamo_tui.cli.session import say

DIRECTORIES = ("kustomize", "helm")
"""Forms that are a directory of files, and mean nothing as one text."""


def _services(_: click.Context, parameter: click.Parameter, values: Sequence[str]) -> dict[str, dict[str, int]]:
    """The callback of `--autoscale SERVICE=MIN:MAX`."""
    found = {}
    for value in values:
        service, separator, span = value.partition("=")
        low, colon, high = span.partition(":")
        if not (service and separator and colon and low.isdecimal() and high.isdecimal()):
            raise click.BadParameter(f"{value!r}: write it as SERVICE=MIN:MAX", param=parameter)
        found[service] = {"minimum": int(low), "maximum": int(high)}
    return found


@click.command("export", cls=targets.TargetCommand)
@targets.spec_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["yaml", "kustomize", "helm", "dgd", "dgd-v1alpha1"]),
    default="yaml",
    show_default=True,
    help="Plain manifests, a Kustomize base, a Helm chart, or NVIDIA's DynamoGraphDeployment (v1beta1, v1alpha1).",
)
@click.option("-o", "--output-dir", metavar="DIR", help="Write files there instead of printing them.")
@click.option("--force", is_flag=True, help="Write into a directory that is not empty.")
@kubernetes_options
@click.option(
    "--autoscale", metavar="SERVICE=MIN:MAX", multiple=True, callback=_services, help="Scale it by its CPU use."
)
@click.option("--ingress", metavar="HOST", help="Reach the entry service from outside under this name.")
@click.option("--ingress-class", metavar="NAME", help="Which controller serves it.")
@click.option("--tls-secret", metavar="NAME", help="The Secret with its certificate.")
def command(
    source: targets.Source,
    form: str,
    output_dir: str | None,
    force: bool,
    kubernetes: dict[str, Any],
    autoscale: dict[str, dict[str, int]],
    ingress: str | None,
    ingress_class: str | None,
    tls_secret: str | None,
) -> None:
    """Write the manifests that run the graph TARGET (module:Class, or a spec in a .json file) on Kubernetes.

    What the graph asks for and Kubernetes has no word for is said on stderr, with what stands in its place.
    Nothing is sent to a cluster: `kubectl apply -f`, `kubectl apply -k` and `helm install` do that.
    """
    if form in DIRECTORIES and output_dir is None:
        raise click.UsageError(f"--format {form} is a directory of files: name one with -o DIR")
    if ingress is None and (ingress_class or tls_secret):
        raise click.UsageError("--ingress-class and --tls-secret need --ingress HOST")
    if autoscale:
        kubernetes["autoscale"] = autoscale
    if ingress is not None:
        named = {"host": ingress, "class_name": ingress_class, "tls_secret": tls_secret}
        kubernetes["ingress"] = {name: value for name, value in named.items() if value is not None}
    made = export(source, form, kubernetes)
    if output_dir is None:
        click.echo(made.text(), nl=False)
    else:
        _write(Path(output_dir), made, force=force)
    for note in made.notes:
        say(f"note: {note}")


def _write(directory: Path, made: Exported, *, force: bool) -> None:
    """Write the files; what lay there before is left, and named, since tools may take it for a part of them.

    Raises:
        UserError: the directory holds something already, or cannot be written.
    """
    try:
        there = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
        if there and not force:
            raise UserError(f"{directory} is not empty", remedy="choose another directory, or --force")
        for name, text in made.files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {error.filename or directory}: {error.strerror}") from None
    say(f"wrote {len(made.files)} files to {directory}")
    for name in sorted(there - set(made.files)):
        say(f"note: {directory / name} was there before and is no part of this")
