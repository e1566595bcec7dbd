"""`NatsQueue` of the bindings: the work queue, acknowledging an item as soon as it is handed out."""

from __future__ import annotations

import asyncio

from dynamo.runtime.work_queue import WorkQueue


class NatsQueue:
    """`stream_name` names the queue, `nats_server` is a URL, `dequeue_timeout` seconds.

    An item is acknowledged when it is dequeued: one whose worker dies is lost. `WorkQueue` redelivers.
    """

    def __init__(self, stream_name: str, nats_server: str, dequeue_timeout: float) -> None:
        self._name = stream_name
        self._server = nats_server
        self._timeout = dequeue_timeout
        self._queue: WorkQueue | None = None
        self._connecting = asyncio.Lock()

    async def connect(self) -> None:
        """Raises `PlaneUnreachable`, or `ConfigurationError` without the extra dynamod[nats]."""
        await self._open()

    async def ensure_connection(self) -> None:
        await self._open()

    async def close(self) -> None:
        queue, self._queue = self._queue, None
        if queue is not None:
            await queue.close()

    async def enqueue_task(self, task_data: bytes) -> None:
        await (await self._open()).enqueue(task_data)

    async def dequeue_task(self, timeout: float | None = None) -> bytes | None:
        """The next task, or None when none came in time."""
        item = await (await self._open()).dequeue(self._timeout if timeout is None else timeout)
        if item is None:
            return None
        await item.ack()
        return item.data

    async def get_queue_size(self) -> int:
        return await (await self._open()).size()

    async def _open(self) -> WorkQueue:
        async with self._connecting:
            if self._queue is None:
                self._queue = await WorkQueue.open(self._server, self._name)
            return self._queue
