"""Secrets of this machine: files of variables that only the daemon's user may read, named in submissions.

`secrets/NAME.env` in the state directory holds lines `KEY=VALUE`; empty ones and those that begin with `#` are passed
over. A submission, and so the database, the API and the logs, hold references (`secret://NAME/KEY`) and no values:
those are read whenever a replica is started.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from dynamod.core.errors import Invalid

SCHEME = "secret://"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def references(directory: Path, whole: Iterable[str], single: Mapping[str, str]) -> dict[str, str]:
    """Variables that refer to every key of the secrets in `whole`, and to `NAME/KEY` as `single` says.

    Raises:
        Invalid: there is no such secret, or no such key in it.
    """
    made = {key: f"{SCHEME}{name}/{key}" for name in whole for key in read(directory, name)}
    made |= {variable: f"{SCHEME}{place}" for variable, place in single.items()}
    revealed(directory, made)
    return made


def revealed(directory: Path, env: Mapping[str, str]) -> dict[str, str]:
    """The same, with values in the place of references.

    Raises:
        Invalid: there is no such secret, or no such key in it.
    """
    known: dict[str, dict[str, str]] = {}
    made = dict(env)
    for variable, value in env.items():
        if not value.startswith(SCHEME):
            continue
        name, _, key = value.removeprefix(SCHEME).partition("/")
        if name not in known:
            known[name] = read(directory, name)
        if key not in known[name]:
            raise Invalid(f"the secret {name!r} has no key {key!r}", field="env_secrets", remedy="see its file")
        made[variable] = known[name][key]
    return made


def read(directory: Path, name: str) -> dict[str, str]:
    """A secret's variables.

    Raises:
        Invalid: there is no such secret, or others may read it.
    """
    if not _NAME.fullmatch(name):
        raise Invalid(f"{name!r} is no name of a secret", field="env_secrets")
    path = directory / f"{name}.env"
    try:
        with path.open(encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            if status.st_mode & 0o077 or status.st_uid != os.getuid():
                raise Invalid(f"others may read {path}", field="env_secrets", remedy=f"chmod 600 {path}")
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        text = error.strerror if isinstance(error, OSError) else "it is no text"
        raise Invalid(
            f"the secret {name!r} cannot be read: {text}",
            field="env_secrets",
            remedy=f"write KEY=VALUE lines to {path}",
        ) from None
    pairs = [line.partition("=") for line in lines if line.strip() and not line.startswith("#")]
    if any(not key.strip() or not equals for key, equals, _ in pairs):
        raise Invalid(f"{path} has a line that is not KEY=VALUE", field="env_secrets")
    return {key.strip(): value for key, _, value in pairs}
