"""`builds` and `get`: the builds that the daemon keeps."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from dynamo_tui.cli import builds, lookup, quantities
from dynamo_tui.cli.exits import UserError
from dynamo_tui.cli.output import Column, print_json, print_one, print_rows
from dynamo_tui.cli.session import GlobalCommand, Session, say
from dynamo_tui.client import calls
from dynamod.schema.builds import Build, PruneRequest

_COLUMNS: tuple[Column[Build], ...] = (
    Column("TAG", lambda b: b.tag),
    Column("DIGEST", lambda b: b.digest[:12]),
    Column("TARGET", lambda b: b.service),
    Column("PYTHON", lambda b: b.python_version),
    Column("PACKAGES", lambda b: len(b.packages)),
    Column("SIZE", lambda b: quantities.memory(b.size)),
    Column("CREATED", lambda b: quantities.age(b.created_at)),
    Column("USED BY", lambda b: ", ".join(b.used_by)),
    Column("FILES", lambda b: b.files, wide=True),
    Column("SHA256", lambda b: b.sha256, wide=True),
    Column("PATH", lambda b: b.path, wide=True),
)
_build = click.argument("build", metavar="BUILD")


@click.group("builds")
def command() -> None:
    """The builds that the daemon keeps. BUILD is a tag (`name:version`, `name` for its newest) or a digest."""


@command.command("ls", cls=GlobalCommand)
@click.pass_obj
def list_command(session: Session) -> None:
    """List builds."""
    session.ensure_daemon()
    rows = list(lookup.every(session.client, lambda cursor: calls.builds(after=cursor, limit=lookup.PAGE)))
    print_rows(session, rows, _COLUMNS, name=lambda b: b.tag, empty="no builds; make one: `dynamoctl build TARGET`")


@command.command("show", cls=GlobalCommand)
@_build
@click.pass_obj
def show_command(session: Session, build: str) -> None:
    """Show what a build holds."""
    session.ensure_daemon()
    found = session.client.send(calls.build(build))
    print_one(session, found, name=found.tag, text=_lines)


@command.command("rm", cls=GlobalCommand)
@click.argument("names", metavar="BUILD...", nargs=-1, required=True)
@click.pass_obj
def remove_command(session: Session, names: tuple[str, ...]) -> None:
    """Forget builds. One that a graph uses stays, and is an error."""
    session.ensure_daemon()
    for name in names:
        tag = session.client.send(calls.build(name)).tag
        session.client.send(calls.remove_build(tag))
        print_one(session, {"removed": tag}, name=tag, text=lambda one: [f"build {one['removed']} removed"])


@command.command("prune", cls=GlobalCommand)
@click.option("--keep", metavar="N", type=click.IntRange(0), default=1, show_default=True, help="So many of each name.")
@click.option("--older-than", type=quantities.Duration(), help="Only what was stored longer ago, e.g. 30d.")
@click.option("--size", type=quantities.Size(), help="Only as many as bring all archives within it, e.g. 5GiB.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.pass_obj
def prune_command(session: Session, keep: int, older_than: float | None, size: int | None, dry_run: bool) -> None:
    """Forget builds that no graph has a revision of, the oldest first, with their environments."""
    session.ensure_daemon()
    wanted = PruneRequest(keep=keep, older_than=older_than, size=size, dry_run=dry_run)
    pruned = session.client.send(calls.prune_builds(wanted))
    if session.json:
        print_json(pruned)
        return
    for tag in pruned.builds:
        click.echo(tag)
    verb = "would be forgotten" if dry_run else "forgotten"
    say(f"{len(pruned.builds)} builds {verb}, {quantities.memory(pruned.bytes)}")


@command.command("export", cls=GlobalCommand)
@_build
@click.argument("file", type=click.Path(dir_okay=False), required=False)
@click.pass_obj
def export_command(session: Session, build: str, file: str | None) -> None:
    """Write a build's archive to FILE (`-`: to stdout); to NAME-VERSION.tar.gz here by default."""
    session.ensure_daemon()
    found = session.client.send(calls.build(build))
    if file == "-":
        session.client.download(calls.build_archive(found.tag), sys.stdout.buffer)
        return
    path = Path(file or f"{found.name}-{found.version}.tar.gz")
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as out:
            session.client.download(calls.build_archive(found.tag), out)
        part.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
    print_one(session, {"tag": found.tag, "file": str(path)}, name=str(path), text=lambda one: [one["file"]])


@command.command("import", cls=GlobalCommand)
@click.argument("file", type=click.Path(dir_okay=False, exists=True))
@click.option("--force", is_flag=True, help="Take the tag from another build that has it.")
@click.pass_obj
def import_command(session: Session, file: str, force: bool) -> None:
    """Hand an archive to the daemon."""
    session.ensure_daemon()
    build, new = builds.send(session, Path(file), force=force)
    if not new:
        say("it was there already")
    print_one(session, build, name=build.tag, text=lambda b: [f"build {b.tag} kept"])


class _GetCommand(GlobalCommand):
    show_output = False


@click.command("get", cls=_GetCommand)
@_build
@click.option("-o", "--output", "form", type=click.Choice(["json", "yaml", "path"]), default="yaml", show_default=True)
@click.pass_obj
def get_command(session: Session, build: str, form: str) -> None:
    """Show a build as JSON or YAML, or where its archive stands on the daemon's machine."""
    session.ensure_daemon()
    found = session.client.send(calls.build(build))
    if form == "path":
        click.echo(found.path)
    elif form == "json":
        print_json(found)
    else:
        import yaml

        click.echo(yaml.safe_dump(msgspec.to_builtins(found), sort_keys=False, allow_unicode=True), nl=False)


def _lines(build: Build) -> Iterator[str]:
    yield f"{build.tag}  ({build.digest})"
    yield f"  target    {build.service}, entry service {build.entry}"
    yield f"  python    {build.python_version}, SDK {build.sdk_version or 'unknown'}"
    yield f"  created   {build.created_at:%Y-%m-%d %H:%M:%S} UTC"
    size, sources = quantities.memory(build.size), quantities.memory(build.source_bytes)
    yield f"  archive   {size}, {build.files} sources of {sources}"
    for key, value in build.labels.items():
        yield f"  label     {key}={value}"
    for user in build.used_by:
        yield f"  used by   {user}"
    yield "services"
    for service in build.services:
        calls_to = f" -> {', '.join(service.dependencies)}" if service.dependencies else ""
        yield f"  {service.name} x{service.workers}: {', '.join(service.endpoints)}{calls_to}"
    yield "packages"
    for package in build.packages:
        yield f"  {package.name} {package.version}"
