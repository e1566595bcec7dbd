"""What is chosen before a submit: the target, where it is found, and what its services are given. Pure data.

It ends as the words of a `dynamoctl submit` line, so that the form can do no more and no less than that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dynamo.sdk.spec import GraphSpec
from dynamod.schema.builds import Build
from dynamod.schema.references import is_archive

DRIVERS = ("process", "docker", "kubernetes")
_NUMBER = re.compile(r"\d+(\.\d+)?")
_PAIR = re.compile(r"(?P<key>[^=\s]+)=(?P<value>.*)", re.DOTALL)


class FormError(Exception):
    """What was typed cannot be; the message says how it is written."""


@dataclass(frozen=True)
class ServiceRow:
    """A service as it was found: what it has before anything is overridden."""

    name: str
    workers: int
    gpu: float
    config: tuple[str, ...] = ()
    envs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Form:
    """`overrides` are by service and dotted key, e.g. `("Worker", "ServiceArgs.workers")`."""

    target: str = ""
    config_file: str = ""
    working_dir: str = ""
    name: str = ""
    driver: str = "process"
    envs: dict[str, str] = field(default_factory=dict)
    overrides: dict[tuple[str, str], str] = field(default_factory=dict)

    def words(self) -> list[str]:
        """The target and options as `dynamoctl submit` takes them."""
        words = [self.target] if self.target else []
        for option, value in (("-f", self.config_file), ("--working-dir", self.working_dir), ("--name", self.name)):
            if value:
                words += [option, value]
        if self.driver != "process":
            words += ["--driver", self.driver]
        for name, value in self.envs.items():
            words += ["--env", f"{name}={value}"]
        return words + [f"--{service}.{key}={value}" for (service, key), value in self.overrides.items()]

    def of(self, service: str) -> dict[str, str]:
        """What is overridden of one service."""
        return {key: value for (name, key), value in self.overrides.items() if name == service}

    def with_replicas(self, service: str, text: str) -> Form:
        if text and not text.isdigit():
            raise FormError(f"{text!r} is not a number of replicas")
        return self._with(service, "ServiceArgs.workers", text)

    def with_gpus(self, service: str, text: str) -> Form:
        if text and not _NUMBER.fullmatch(text):
            raise FormError(f"{text!r} is not a number of GPUs: 2, or 0.5 to share one")
        return self._with(service, "ServiceArgs.resources.gpu", text)

    def with_env(self, service: str | None, text: str) -> Form:
        """A variable of one service, or of every replica. `K=` alone takes it away again."""
        key, value = _pair(text)
        if service is not None:
            return self._with(service, f"ServiceArgs.envs.{key}", value)
        rest = {k: v for k, v in self.envs.items() if k != key}
        return replace(self, envs={**rest, key: value} if value else rest)

    def with_config(self, service: str, text: str) -> Form:
        """A configuration key of one service, dotted where it is nested."""
        key, value = _pair(text)
        return self._with(service, key, value)

    def without(self, service: str) -> Form:
        """Nothing of this service is overridden any more."""
        return replace(self, overrides={k: v for k, v in self.overrides.items() if k[0] != service})

    def with_driver(self, driver: str) -> Form:
        if driver not in DRIVERS:
            raise FormError(f"drivers: {', '.join(DRIVERS)}")
        return replace(self, driver=driver)

    def _with(self, service: str, key: str, value: str) -> Form:
        rest = {k: v for k, v in self.overrides.items() if k != (service, key)}
        return replace(self, overrides={**rest, (service, key): value} if value else rest)


def rows_of_spec(spec: GraphSpec) -> list[ServiceRow]:
    return [
        ServiceRow(s.name, s.workers, s.resources.gpu, tuple(sorted(s.config)), tuple(sorted(s.envs)))
        for s in spec.services
    ]


def rows_of_build(build: Build) -> list[ServiceRow]:
    return [
        ServiceRow(s.name, s.workers, float(s.resources.get("gpu") or 0), tuple(sorted(s.config)))
        for s in build.services
    ]


def complete_pair(keys: Sequence[str], text: str) -> list[str]:
    """Completions of `KEY=VALUE` while the key is typed."""
    return [] if "=" in text else [f"{key}=" for key in keys if key.startswith(text)]


def complete_path(text: str) -> list[str]:
    """Files and directories that begin so, directories with a slash; after a `:` nothing is known."""
    if ":" in text:
        return []
    head, _, tail = text.rpartition("/")
    place = Path(head or ("/" if text.startswith("/") else ".")).expanduser()
    try:
        found = sorted(p for p in place.iterdir() if p.name.startswith(tail) and not p.name.startswith("."))
    except OSError:
        return []
    prefix = f"{head}/" if head or text.startswith("/") else ""
    return [f"{prefix}{p.name}{'/' if p.is_dir() else ''}" for p in found if p.is_dir() or offered(p)]


def offered(path: Path) -> bool:
    """A file that a submit can be made of. Looks at the disk."""
    return path.suffix in (".py", ".yaml", ".yml") or is_archive(str(path))


def _pair(text: str) -> tuple[str, str]:
    match = _PAIR.fullmatch(text.strip())
    if match is None:
        raise FormError(f"{text!r}: write it as KEY=VALUE; KEY= takes it away")
    return match["key"], match["value"]
