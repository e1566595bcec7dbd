"""Builds as the command line makes, sends and names them."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from dynamo_tui.cli.exits import UserError
from dynamo_tui.cli.session import Session, say
from dynamo_tui.client import calls, streams
from dynamo_tui.client.contexts import answers
from dynamo_tui.client.errors import ClientError, NotFound
from dynamo_tui.client.sync import Client
from dynamod.schema.builds import (
    Build,
    BuildOptions,
    BuiltImage,
    ContainerizeOptions,
    ContainerizeRequest,
    PushOptions,
)
from dynamod.schema.graphs import BuildSettings, GraphSubmit
from dynamod.schema.references import is_archive, may_be_tag
from dynamod.schema.states import Action

if TYPE_CHECKING:
    from dynamo_tui.cli.targets import Source


def make(options: BuildOptions, tell: Callable[[str], None]) -> Build:
    """Build in a process of its own; `tell` gets each step.

    Raises:
        UserError: it cannot be built; the message is the builder's own line.
    """
    return msgspec.convert(_run("dynamod.builds.make", options, tell)["built"], Build)


def containerize(options: ContainerizeOptions, tell: Callable[[str], None]) -> BuiltImage:
    """Make an image in a process of its own.

    Raises:
        UserError: it cannot be made; the message is the builder's own line.
    """
    return msgspec.convert(_run("dynamod.builds.containerize", options, tell), BuiltImage)


def containerize_there(
    session: Session, build: str, request: ContainerizeRequest, tell: Callable[[str], None]
) -> BuiltImage:
    """Have the daemon make an image; leaving (Ctrl-C) ends the work.

    Raises:
        ApiError: it cannot be made; the message is the builder's own line.
    """
    with session.client.stream(streams.containerize(build, request)) as made:
        for step in made:
            if isinstance(step, BuiltImage):
                return step
            tell(step.step)
    raise UserError("the daemon ended without an image")


def push(options: PushOptions, tell: Callable[[str], None]) -> dict[str, Any]:
    """Push an image, in a process of its own.

    Raises:
        UserError: it cannot be pushed; the message is the registry's own line.
    """
    return _run("dynamod.builds.containerize", options, tell)


def _run(module: str, options: msgspec.Struct, tell: Callable[[str], None]) -> dict[str, Any]:
    """What the program's last line tells; it prints JSON lines."""
    with tempfile.TemporaryDirectory() as work:
        file = Path(work) / "options.json"
        file.write_bytes(msgspec.json.encode(options))
        command = [sys.executable, "-m", module, "--options", str(file)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            last: dict[str, Any] = {}
            for line in process.stdout:
                last = msgspec.json.decode(line)
                if "step" in last:
                    tell(last["step"])
    if "error" in last:
        where = f"{last['field']}: " if last.get("field") else ""
        raise UserError(f"{where}{last['error']}", remedy=last.get("remedy") or "")
    if process.returncode != 0:
        raise UserError(f"{module} ended with exit code {process.returncode}")
    return last


def keeper_answers(session: Session) -> bool:
    """Is there a daemon to keep builds? One on another machine is taken to be there."""
    context = session.choice.context
    if session.choice.attached is not None:
        return False  # a `serve` forgets everything when it ends
    return context.socket is None or answers(context.socket)


def send(session: Session, archive: Path, *, force: bool) -> tuple[Build, bool]:
    """Hand an archive to the daemon; whether it was new to it.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with archive.open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            call = calls.upload_build(sha256=checksum, force=force)
            answer = session.client.upload(call, file, archive.stat().st_size)
    except IsADirectoryError:
        raise UserError(f"{archive} is a directory, and no archive") from None
    return answer.value, answer.status == 201


def submission(session: Session, source: Source, *, build: str | None = None) -> GraphSubmit:
    """What the target options ask for: a graph in a working tree, a build that the daemon keeps, or an archive.

    `build` is the tag where it is known already: beside a module of its name, it would be taken for that.

    Raises:
        UserError: see `Source.submission`; or options that a build does not take.
    """
    reference = build or meant(session, source)
    if reference is None:
        return source.submission(session.project)
    for option, value in (("--working-dir", source.working_dir), ("--python", source.interpreter)):
        if value is not None:
            raise UserError(f"{option} does not go with a build: it brings its own sources and environment")
    config = Path(source.config_file).read_text(encoding="utf-8") if source.config_file is not None else None
    settings = BuildSettings(config=config, overrides=source.overrides, port=source.port, host=source.host)
    return GraphSubmit(
        build=reference,
        settings=None if settings == BuildSettings() else settings,
        name=source.name,
        project=session.project,
        driver=source.driver,
        envs=source.envs,
        **source.placed(),
    )


def meant(session: Session, source: Source) -> str | None:
    """The tag of the build that the target is, or None. An archive is handed to the daemon first."""
    target = source.target
    if is_archive(target):
        session.ensure_daemon()
        return send(session, Path(target), force=False)[0].tag
    if not may_be_tag(target, source.working_dir):
        return None
    session.ensure_daemon()
    try:
        return session.client.send(calls.build(target)).tag
    except NotFound as error:
        if target.count(":") == 1 and not target.partition(":")[2].isidentifier():
            raise error  # a version, and no name of a class
        return None


@contextmanager
def progress_of(session: Session, request: GraphSubmit) -> Iterator[None]:
    """Meanwhile say what is being done to make the request's build ready."""
    if request.build is None:
        yield
        return
    told = threading.Event()
    with Client(session.choice.context) as watching:
        stream = watching.stream(streams.events())
        thread = threading.Thread(target=_tell_steps, args=(stream, request.build, told), daemon=True)
        thread.start()
        try:
            yield
        finally:
            told.set()
            stream.close()
            thread.join(timeout=2.0)


def _tell_steps(stream: Any, reference: str, told: threading.Event) -> None:
    with suppress(ClientError):
        for event in stream:
            if told.is_set():
                return
            if event.action is Action.BUILD_PROGRESS and event.data.get("build") == reference:
                say(event.message)


def archive_of(build: Build) -> Path:
    """The archive that was made just now, on this machine."""
    return Path(build.path)


def shown_step(step: str) -> None:
    click.echo(f"  {step}", err=True)
