"""What the engine asks of a driver.

Of a `Driver`: observe, and a handful of atomic operations on one replica. Of a `GraphDriver`, behind which something
else starts, places and restarts replicas: that a graph be there as wanted, and a picture of it whenever it changes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from dynamo.sdk.spec import GraphSpec
from dynamod.core.delegation import Trouble
from dynamod.schema.graphs import PlanOperation, Replica
from dynamod.schema.states import Reason


@dataclass(frozen=True)
class Container:
    """What drivers that run containers need besides. `image`, else the image of the `build` with this digest.

    `memory` in bytes, `cpu` in cores; `gpus` are the UUIDs of the granted devices. `network` is the name of the
    graph's own network, None for the host's; `alias` what the replica's service is called there.
    """

    image: str | None = None
    build: str | None = None
    memory: int | None = None
    cpu: float | None = None
    gpus: tuple[str, ...] = ()
    network: str | None = None
    alias: str = ""


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
    reason: Reason = Reason.CONTACT_LOST


Observed = Running | Ended | NeverStarted | Unproved
OnEnd = Callable[[str, Ended], None]
"""Called in the event loop with the replica's id when a run has ended."""


class LaunchError(Exception):
    """A replica could not be started. One line for people."""


class Obstacle(LaunchError):
    """What stands in the way is none of the graph's doing and may go: `reason` names it in the wire's vocabulary."""

    def __init__(self, text: str, reason: Reason) -> None:
        super().__init__(text)
        self.reason = reason


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

    async def execute(self, launch: Launch, argv: Sequence[str]) -> tuple[int, bytes]:
        """Run a command beside the running replica, with its environment; its exit code and its output.

        Raises:
            OSError: it cannot be run.
        """
        ...

    def host_of(self, replica_id: str) -> str:
        """The address at which ports of a running replica are reached from here."""
        ...

    def doubt(self, replica_id: str) -> str:
        """Why it is not known, at the moment, whether a watched replica runs; empty when it is known to."""
        ...

    def terminate(self, replica_id: str) -> None:
        """Ask it to drain and end; returns at once. The end arrives through `OnEnd`."""
        ...

    def kill(self, replica_id: str) -> None:
        """End it and all its descendants now."""
        ...

    async def remove(self, replica_id: str, *, keep_output: bool = False) -> None:
        """Forget an ended replica and delete what it left; its output too, unless somebody may still want that."""
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

    async def prepare(self, launch: Launch) -> None:
        """What may take long before a start (fetching an image). Raises `LaunchError`."""
        ...

    async def sweep(self, known: Collection[str]) -> None:
        """Remove what is left there of replicas that are not `known`: their engine died while it removed them."""
        ...


@dataclass(frozen=True)
class Wanted:
    """What a graph driver is to bring about: `counts` replicas of each service of `spec`.

    `options` are the driver's own, as `place` has completed them. `running` false takes every replica away and leaves
    the rest.
    """

    project: str
    graph: str
    revision: int
    spec: GraphSpec
    envs: Mapping[str, str]
    build: str | None
    options: Mapping[str, Any]
    counts: Mapping[str, int]
    running: bool = True


@dataclass(frozen=True)
class Picture:
    """A graph as its backend has it. `settled`: every service has its replicas, ready, and of what was applied last.

    `leaving` are the ids of replicas that end, or will not be started again.
    `astray` says what is not as it was brought (empty where all is), `hindrance` what keeps the backend from having
    replicas at all, `overdue` that it has given up waiting for them.
    """

    replicas: tuple[Replica, ...] = ()
    leaving: frozenset[str] = frozenset()
    settled: bool = False
    astray: str = ""
    hindrance: Trouble | None = None
    overdue: bool = False


class GraphDriver(Protocol):
    """Every method raises `EngineError`s: `Unavailable` where the backend is out of reach."""

    name: str

    async def place(self, wanted: Wanted, before: Mapping[str, Any] | None) -> Wanted:
        """Check that the graph can be brought there; with everything filled in that says where, and how many.

        `before` are the options of its last revision: it stays where it is.

        Raises:
            Invalid: the options are wrong, or contradict the spec.
            Conflict: it is somewhere else.
        """
        ...

    async def preview(self, wanted: Wanted, *, away: bool = False) -> Preview:
        """What `bring`, or `take_away`, would change. Changes nothing."""
        ...

    async def bring(self, wanted: Wanted) -> int:
        """Make the backend want this; how much was written. Where nothing differs, nothing is."""
        ...

    async def follow(self, wanted: Callable[[], Wanted], tell: Callable[[Picture], None]) -> None:
        """Tell of the graph at once and at every change, and keep its logs, until cancelled."""
        ...

    async def restart(self, wanted: Wanted, service: str | None, replica: str | None) -> None:
        """Have replicas replaced, as the backend does it."""
        ...

    async def take_away(self, wanted: Wanted) -> bool:
        """Delete everything of the graph; False while something of it is still there."""
        ...

    async def forget(self, replica_id: str) -> None:
        """Delete what is stored here of a replica, logs included."""
        ...

    async def close(self) -> None:
        """Let go of the backend. What runs there is left as it is."""
        ...


@dataclass(frozen=True)
class Preview:
    """`text` is what the backend would be told, for people; `notes` what of the graph it has no word for."""

    operations: tuple[PlanOperation, ...]
    notes: tuple[str, ...]
    text: str
