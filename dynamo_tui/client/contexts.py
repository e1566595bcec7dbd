"""Contexts: which daemon is meant. The file of named contexts, and the choice of one.

The choice, first match wins: an explicit name; `DYNAMOD_CONTEXT`; `DYNAMOD_URL` (with `DYNAMOD_TOKEN`); the
file's `current`; the local daemon. `local` names this machine's daemon (or, when none answers and a single
`serve` runs, that one), `serve:PID` one running `serve`.

The file is JSON, mode 0600 because tokens stand in it: `$DYNAMOD_CONFIG`, else
`$XDG_CONFIG_HOME/dynamod/contexts.json`, else `~/.config/dynamod/contexts.json`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from dynamo.sdk.spec import UNREADABLE
from dynamo_tui.client.errors import ContextError
from dynamod.schema.locations import default_state_dir, locations
from dynamod.schema.serve import ServeRegistration, registrations_dir

LOCAL = "local"
_SERVE = "serve:"


class Context(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One daemon: a Unix socket or a URL with a token, and the project that commands there mean."""

    name: str = LOCAL
    socket: str | None = None
    url: str | None = None
    token: str | None = None
    project: str = "default"

    @property
    def address(self) -> str:
        return self.url or self.socket or ""


class ContextFile(msgspec.Struct, kw_only=True, omit_defaults=True):
    current: str = LOCAL
    contexts: dict[str, Context] = {}


@dataclass(frozen=True)
class Choice:
    """The chosen context. `may_start`: it is the default local daemon, which a command may start."""

    context: Context
    may_start: bool = False
    attached: ServeRegistration | None = None


def contexts_file(environ: Mapping[str, str]) -> Path:
    """Where named contexts are kept."""
    if configured := environ.get("DYNAMOD_CONFIG"):
        return Path(configured)
    base = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME", "~")).expanduser() / ".config")
    return Path(base) / "dynamod" / "contexts.json"


def load_contexts(path: Path) -> ContextFile:
    """The file's contexts; an absent file has none.

    Raises:
        ContextError: it cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return ContextFile()
    except OSError as error:
        raise ContextError(f"{path}: {error.strerror}", remedy="mend its permissions") from None
    try:
        return msgspec.json.decode(data, type=ContextFile)
    except UNREADABLE as error:
        raise ContextError(f"{path}: {error}", remedy="mend it by hand, or remove it to start afresh") from None


def save_contexts(path: Path, file: ContextFile) -> None:
    """Replace the file, readable by its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(msgspec.json.format(msgspec.json.encode(file), indent=2) + b"\n")
    draft.replace(path)


def choose(environ: Mapping[str, str], name: str | None = None, *, attach: bool = True) -> Choice:
    """Which daemon is meant. `attach`: where no local daemon runs but a single `serve` does, that one is.

    Raises:
        ContextError: there is no context of that name, or the file cannot be read.
    """
    name = name or environ.get("DYNAMOD_CONTEXT") or None
    if name is None and (url := environ.get("DYNAMOD_URL")):
        return Choice(_checked(Context(name="environment", url=url, token=environ.get("DYNAMOD_TOKEN"))))
    file = load_contexts(contexts_file(environ))
    name = name or file.current
    if name.startswith(_SERVE):
        return _choose_serve(environ, name)
    if context := file.contexts.get(name):
        token = context.token or (environ.get("DYNAMOD_TOKEN") if context.url else None)
        return Choice(_checked(msgspec.structs.replace(context, name=name, token=token)))
    if name != LOCAL:
        raise unknown_context(name, file)
    return _choose_local(environ) if attach else Choice(local_context(environ), may_start=True)


def unknown_context(name: str, file: ContextFile) -> ContextError:
    """The error for a name that no context has; it lists those that there are."""
    known = ", ".join([LOCAL, *sorted(file.contexts)])
    return ContextError(f"there is no context {name!r}; there are {known}", remedy="add it: `dynamoctl config set`")


def known_contexts(environ: Mapping[str, str]) -> list[str]:
    """The names that `choose` takes: the local daemon, those of the file, and running `serve` commands.

    A file that cannot be read has none here; whoever chooses one of it is told why.
    """
    try:
        named = list(load_contexts(contexts_file(environ)).contexts)
    except ContextError:
        named = []
    return [LOCAL, *sorted(named), *(f"{_SERVE}{r.pid}" for r in running_serves(environ))]


def local_context(environ: Mapping[str, str]) -> Context:
    """This machine's daemon, whether it runs or not."""
    return Context(socket=str(locations(default_state_dir(environ)).api_socket))


def running_serves(environ: Mapping[str, str]) -> list[ServeRegistration]:
    """The `serve` commands that run now and answer on their socket, by pid."""
    records = []
    for path in registrations_dir(locations(default_state_dir(environ))).glob("*.json"):
        try:
            record = msgspec.json.decode(path.read_bytes(), type=ServeRegistration)
        except (OSError, *UNREADABLE):
            continue  # it ended a moment ago, or is about to be written
        if answers(record.socket):
            records.append(record)
    return sorted(records, key=lambda r: r.pid)


def answers(path: str) -> bool:
    """Does anybody listen on that Unix socket?"""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def _choose_local(environ: Mapping[str, str]) -> Choice:
    context = local_context(environ)
    if context.socket and answers(context.socket):
        return Choice(context, may_start=True)
    serves = running_serves(environ)
    if len(serves) == 1:
        return Choice(_serve_context(serves[0]), attached=serves[0])
    return Choice(context, may_start=True)


def _choose_serve(environ: Mapping[str, str], name: str) -> Choice:
    serves = running_serves(environ)
    for record in serves:
        if name in (f"{_SERVE}{record.pid}", f"{_SERVE}{record.graph}"):
            return Choice(_serve_context(record), attached=record)
    running = ", ".join(f"{_SERVE}{r.pid} ({r.graph})" for r in serves) or "none"
    raise ContextError(f"no running `serve` is {name!r}; running: {running}")


def _serve_context(record: ServeRegistration) -> Context:
    return Context(name=f"{_SERVE}{record.pid}", socket=record.socket)


def _checked(context: Context) -> Context:
    if context.url is not None and not context.url.startswith(("http://", "https://")):
        raise ContextError(
            f"context {context.name!r}: {context.url!r} is not a URL",
            remedy="write it as http://HOST:PORT or https://…",
        )
    if context.url is None and context.socket is None:
        raise ContextError(f"context {context.name!r} names neither a socket nor a URL")
    return context
