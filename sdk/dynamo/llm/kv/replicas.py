"""Several routers that agree: each tells the others which requests it has in flight.

All replicas follow the same workers, so they know the same caches; what each sent a moment ago, only it knows.
The endpoint `kv_active` of the router's component serves that as a snapshot and deltas; when a replica goes, its
requests are forgotten with it.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from dynamo.llm.kv.active import landmarks
from dynamo.llm.kv.decision import Decision, Observer
from dynamo.llm.kv.router import KvRouter
from dynamo.llm.kv.workers import Worker
from dynamo.runtime.events import SnapshotPublisher, SnapshotSubscriber

if TYPE_CHECKING:
    from dynamo.runtime.component import Component, ServedEndpoint

ACTIVE_ENDPOINT = "kv_active"

_log = logging.getLogger(__name__)


class Routed(msgspec.Struct, tag="routed", array_like=True):
    """A request in flight. `marks` are the landmark hashes of its prompt (`kv.active`).

    `hashes` are all of them, as little-endian unsigned 64-bit integers, where no events will tell what is cached.
    """

    request_id: str
    instance: int
    dp_rank: int
    prompt_tokens: int
    prefill_blocks: float
    marks: list[int]
    generated_tokens: int = 0
    hashes: bytes = b""


class FirstToken(msgspec.Struct, tag="first", array_like=True):
    request_id: str


class Progressed(msgspec.Struct, tag="progress", array_like=True):
    request_id: str
    generated_tokens: int


class Finished(msgspec.Struct, tag="finished", array_like=True):
    request_id: str


Message = Routed | FirstToken | Progressed | Finished

_U64 = np.dtype("<u8")


def _plain(message: Message) -> Any:
    return msgspec.to_builtins(message, builtin_types=(bytes,))


class ReplicaSync(Observer):
    """Keeps `router` in step with the other routers that serve under the same component."""

    def __init__(self, router: KvRouter, component: Component) -> None:
        self._router = router
        self._component = component
        self._mine: dict[str, Routed] = {}
        self._theirs: dict[int, set[str]] = {}
        self._early: dict[str, Routed] = {}  # theirs, on workers that this router has yet to hear of
        self._publisher = SnapshotPublisher(lambda: [_plain(routed) for routed in self._mine.values()])
        self._subscriber = SnapshotSubscriber(component.endpoint(ACTIVE_ENDPOINT))
        self._served: ServedEndpoint | None = None
        self._task: asyncio.Task[None] | None = None
        self._own_id = 0

    async def start(self) -> ReplicaSync:
        """Raises `DiscoveryError`."""
        self._own_id = await self._component.runtime.instance_id()
        self._served = await self._publisher.serve(self._component.endpoint(ACTIVE_ENDPOINT))
        self._router.observers.append(self)
        await self._subscriber.start()
        self._task = asyncio.get_running_loop().create_task(self._follow(), name="router replicas")
        return self

    async def close(self) -> None:
        if self._served is not None:
            await self._served.stop()
            self._served = None
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
            self._router.observers.remove(self)
        await self._subscriber.close()

    @property
    def others(self) -> int:
        """How many other replicas are heard."""
        return len(self._theirs)

    @property
    def early(self) -> int:
        """How many of their requests wait for this router to hear of the worker."""
        return len(self._early)

    # -- what this router does -----------------------------------------------------------------------------------

    def decided(self, decision: Decision) -> None:
        request = self._router.active.get(decision.request_id)
        assert request is not None
        routed = Routed(
            decision.request_id,
            decision.worker.instance,
            decision.worker.dp_rank,
            decision.prompt_tokens,
            request.prefill_blocks,
            landmarks(decision.hashes),
            hashes=decision.hashes.astype(_U64).tobytes() if decision.mode == "approx-kv" else b"",
        )
        self._mine[decision.request_id] = routed
        self._publish(routed)

    def first_token(self, request_id: str) -> None:
        if (routed := self._mine.get(request_id)) is not None:
            routed.prefill_blocks = 0
            self._publish(FirstToken(request_id))

    def progressed(self, request_id: str, generated_tokens: int) -> None:
        if (routed := self._mine.get(request_id)) is not None:
            routed.generated_tokens = generated_tokens
            self._publish(Progressed(request_id, generated_tokens))

    def finished(self, request_id: str) -> None:
        if self._mine.pop(request_id, None) is not None:
            self._publish(Finished(request_id))

    def worker_changed(self, worker: Worker, *, gone: bool) -> None:
        if gone:
            place = (worker.instance, worker.dp_rank)
            for lost in [r for r in self._mine.values() if (r.instance, r.dp_rank) == place]:
                del self._mine[lost.request_id]
                self._publish(Finished(lost.request_id))
        elif self._early:
            for name, routed in list(self._early.items()):
                if (routed.instance, routed.dp_rank) == (worker.instance, worker.dp_rank):
                    self._place(name, self._early.pop(name))

    def _publish(self, message: Message) -> None:
        if self._publisher.readers:
            self._publisher.publish(_plain(message))

    # -- what the others do ----------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        async for event in self._subscriber:
            if event.instance_id == self._own_id:
                continue
            if event.kind != "delta":
                self._forget(event.instance_id)
            if event.kind == "gone":
                continue
            known = self._theirs.setdefault(event.instance_id, set())
            for item in [event.body] if event.kind == "delta" else event.body:
                try:
                    self._apply(event.instance_id, known, msgspec.convert(item, Message))
                except msgspec.ValidationError as error:
                    _log.error("router replica %x: %s", event.instance_id, error)

    def _apply(self, replica: int, known: set[str], message: Any) -> None:
        active = self._router.active
        name = f"{replica:x}/{message.request_id}"
        early = self._early.get(name)
        if isinstance(message, Routed):
            known.add(name)
            if Worker(message.instance, message.dp_rank) in self._router.table:
                self._place(name, message)
            else:
                self._early[name] = message
        elif isinstance(message, FirstToken):
            active.first_token(name)
            if early is not None:
                early.prefill_blocks = 0
        elif isinstance(message, Progressed):
            active.progress(name, message.generated_tokens)
            if early is not None:
                early.generated_tokens = message.generated_tokens
        else:
            known.discard(name)
            self._drop(name)

    def _place(self, name: str, routed: Routed) -> None:
        """Count another replica's request as load of its worker."""
        active, worker = self._router.active, Worker(routed.instance, routed.dp_rank)
        self._end(name)
        active.add(
            name,
            worker,
            prompt_tokens=routed.prompt_tokens,
            prefill_blocks=routed.prefill_blocks,
            marks=routed.marks,
        )
        if routed.generated_tokens:
            active.progress(name, routed.generated_tokens)
        if routed.hashes:
            self._router.approx.routed(name, worker, np.frombuffer(routed.hashes, _U64))

    def _drop(self, name: str) -> None:
        self._early.pop(name, None)
        self._end(name)

    def _end(self, name: str) -> None:
        router = self._router
        request = router.active.finish(name)
        if request is not None:
            router.approx.finished(name, request.generated_blocks(router.options.block_size), router.clock())

    def _forget(self, replica: int) -> None:
        for name in self._theirs.pop(replica, ()):
            self._drop(name)
