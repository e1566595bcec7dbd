"""A durable work queue on NATS JetStream: each item goes to one worker, again until one acknowledges it.

Items outlive their producer, the workers and a restart of NATS. Delivery is at least once: a worker that
dies, or takes longer than `ack_wait` without `extend()`, leaves its item to another.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Any

from dynamo.runtime.errors import ConfigurationError, DynamoRuntimeError
from dynamo.runtime.transport.nats import close, connect

if TYPE_CHECKING:
    from nats.aio.client import Client as NatsClient
    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

DEADLINE_HEADER = "Dynamo-Deadline"
CONSUMER = "workers"


class QueueUnavailable(DynamoRuntimeError):
    """NATS did not take or give the item. An item that was to be enqueued was not."""


class WorkItem:
    """One item under way. It comes back to the queue unless it is acknowledged within `ack_wait` seconds.

    `deliveries` counts from 1.
    """

    def __init__(self, message: Msg) -> None:
        self._message = message
        self.data: bytes = message.data
        self.deliveries: int = message.metadata.num_delivered

    async def ack(self) -> None:
        """Done: it leaves the queue. Returns when the server has said so."""
        await self._message.ack_sync(timeout=5)

    async def release(self, delay: float = 0.0) -> None:
        """Give it back, for any worker, after `delay` seconds."""
        await self._message.nak(delay=delay or None)

    async def extend(self) -> None:
        """Still working on it: the `ack_wait` begins anew."""
        await self._message.in_progress()


class WorkQueue:
    """The queue of that name.

    Args:
        client: a connected NATS client, owned by the caller.
        name: letters, digits, `_` and `-`; other characters become `_`.
        ack_wait: seconds that a worker may hold an item without a sign.
        max_deliver: how often an item is tried before it is given up; 0 for ever.
    """

    def __init__(self, client: NatsClient, name: str, *, ack_wait: float = 30.0, max_deliver: int = 0) -> None:
        if not name:
            raise ConfigurationError("a work queue needs a name")
        self.name = re.sub(r"[^A-Za-z0-9_-]", "_", name)
        self.expired = 0
        self._client = client
        self._stream = f"dynamo_{self.name}"
        self._subject = f"dynamo.q.{self.name}"
        self._ack_wait = ack_wait
        self._max_deliver = max_deliver
        self._jetstream: JetStreamContext = client.jetstream(timeout=5)
        self._pull: JetStreamContext.PullSubscription | None = None
        self._ready = False
        self._preparing = asyncio.Lock()

    @property
    def connected(self) -> bool:
        return bool(self._client.is_connected)

    @classmethod
    async def open(cls, servers: str, name: str, *, timeout: float = 5.0, **options: Any) -> WorkQueue:
        """Connect to `servers` (as in NATS_SERVER) for this queue alone; `close` disconnects."""
        queue = cls(await connect(servers, timeout=timeout), name, **options)
        await queue._prepare()
        return queue

    async def enqueue(self, data: bytes, *, deadline: float | None = None, item_id: str | None = None) -> int:
        """Store an item; returns its number in the queue.

        Args:
            deadline: seconds from now after which no worker gets it any more.
            item_id: an item of the same id within two minutes is stored once.

        Raises:
            QueueUnavailable: it is not known to be stored.
        """
        headers = {}
        if deadline is not None:
            headers[DEADLINE_HEADER] = repr(time.time() + deadline)
        if item_id is not None:
            headers["Nats-Msg-Id"] = item_id
        await self._prepare()
        self._connected("enqueue")  # what is published while disconnected is sent later, unknown to its producer
        try:
            answer = await self._jetstream.publish(self._subject, data, headers=headers or None)
        except Exception as error:  # nats-py's own tree and asyncio's time-outs
            raise self._unavailable("enqueue", error) from error
        return answer.seq

    async def dequeue(self, timeout: float) -> WorkItem | None:
        """The next item, or None when none came within `timeout` seconds. Items past their deadline are dropped
        and counted in `expired`.

        Raises:
            QueueUnavailable: NATS is away.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        await self._prepare()
        while (left := until - loop.time()) > 0:
            message = await self._fetch(left)
            if message is None:
                return None
            deadline = float((message.headers or {}).get(DEADLINE_HEADER, "inf"))
            if time.time() <= deadline:
                return WorkItem(message)
            self.expired += 1
            await message.term()
        return None

    async def _fetch(self, timeout: float) -> Msg | None:
        from nats.errors import TimeoutError as NatsTimeout

        assert self._pull is not None
        self._connected("dequeue")
        try:
            return (await self._pull.fetch(1, timeout=timeout))[0]
        except (NatsTimeout, TimeoutError):
            self._connected("dequeue")
            return None
        except Exception as error:
            raise self._unavailable("dequeue", error) from error

    async def size(self) -> int:
        """Items that are stored and not acknowledged, those under way included."""
        await self._prepare()
        try:
            return (await self._jetstream.stream_info(self._stream)).state.messages
        except Exception as error:
            raise self._unavailable("size", error) from error

    async def close(self) -> None:
        """Close the connection; items under way go to other workers after their `ack_wait`."""
        await close(self._client)

    async def _prepare(self) -> None:
        """Make the stream and its one durable consumer, which all workers share."""
        from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy, StreamConfig

        async with self._preparing:
            if self._ready:
                return
            self._connected("open")
            try:
                await self._jetstream.add_stream(
                    StreamConfig(name=self._stream, subjects=[self._subject], retention=RetentionPolicy.WORK_QUEUE)
                )
                self._pull = await self._jetstream.pull_subscribe(
                    self._subject,
                    durable=CONSUMER,
                    stream=self._stream,
                    config=ConsumerConfig(
                        ack_policy=AckPolicy.EXPLICIT,
                        ack_wait=self._ack_wait,
                        max_deliver=self._max_deliver or -1,
                        max_ack_pending=10_000,
                    ),
                )
            except Exception as error:
                raise self._unavailable("open", error) from error
            self._ready = True

    def _connected(self, action: str) -> None:
        if not self.connected:
            raise self._unavailable(action, ConnectionError("NATS is not connected"))

    def _unavailable(self, action: str, error: Exception) -> QueueUnavailable:
        return QueueUnavailable(f"work queue {self.name}: {action} failed: {error or type(error).__name__}")
