"""What the engine asks of a driver: observe, and a handful of atomic operations on one replica."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class Container:
    """What drivers that run containers need besides. `image`, else the image of the `build` with this digest.

    `memory` in bytes, `cpu` in cores; `gpus` are the UUIDs of the granted devices.
    """

    image: str | None = None
    build: str | None = None
    memory: int | None = None
    cpu: float | None = None
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True)
class Limits:
    """What a local process and all its descendants may use together: `cpu` in cores, `memory` in bytes."""

    cpu: float | None = None
    memory: int | None = None


@dataclass(frozen=True)
class Launch:
    """One start of a replica. `run` grows with every start of it; a (replica, run) is never started twice.

    `limits` are those of a process; a container has its own.
    """

    replica_id: str
    run: int
    argv: Sequence[str]
    env: Mapping[str, str]
    directory: str
    container: Container | None = None
    limits: Limits = Limits()


@dataclass(frozen=True)
class Running:
    """Proved to run now. `pid` is the replica's main process (0 where it is not a local one).

    `lacking` says which of its limits are not kept, and why.
    """

    run: int
    pid: int
    container: str | None = None
    lacking: str = ""


@dataclass(frozen=True)
class Ended:
    """Proved to have ended. `code` and `signal` are both None when no record of it was left.

    `oom_kills` counts the kernel's out-of-memory kills during its life, in the narrowest group that could be read.
    """

    run: int
    code: int | None = None
    signal: int | None = None
    oom_kills: int = 0
    at: float | None = None
    spawned: bool = True
    detail: str = ""


@dataclass(frozen=True)
class NeverStarted:
    """Proved that this run did not start and never will."""

    run: int


@dataclass(frozen=True)
class Unproved:
    """It may run: nothing may be started in its place. `detail` says what is missing."""

    run: int
    detail: str


Observed = Running | Ended | NeverStarted | Unproved
OnEnd = Callable[[str, Ended], None]
"""Called in the event loop with the replica's id when a run has ended."""


class LaunchError(Exception):
    """A replica could not be started. One line for people."""


class Driver(Protocol):
    name: str

    async def start(self, launch: Launch) -> Running:
        """Start it and watch it from then on.

        Raises:
            LaunchError: it does not run, and will not.
        """
        ...

    async def recover(self, replica_id: str, run: int) -> Observed:
        """Find out, after a restart of the engine, what became of a run; one that runs is watched again."""
        ...

    def terminate(self, replica_id: str) -> None:
        """Ask it to drain and end; returns at once. The end arrives through `OnEnd`."""
        ...

    def kill(self, replica_id: str) -> None:
        """End it and all its descendants now."""
        ...

    async def remove(self, replica_id: str) -> None:
        """Forget an ended replica and delete what it left, logs included."""
        ...

    async def close(self) -> None:
        """Stop watching. Replicas are left as they are."""
        ...


@runtime_checkable
class NeedsBackend(Protocol):
    """A driver that something else must run for."""

    async def check(self) -> None:
        """Is it there?

        Raises:
            Unavailable: it is not; says what to do.
        """
        ...
