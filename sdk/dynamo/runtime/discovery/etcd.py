"""Discovery on etcd, for graphs that span hosts.

A lease lives on the cluster and dies after its TTL without keep-alive: a host that is cut off is gone
after that time and not before. An etcd that is away takes no lease with it; whether ours outlived the outage
is what it says when it is back.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import secrets
from contextlib import suppress
from typing import Any

from dynamo.runtime.discovery.base import Change, KeyValue, Lease, Reset, Snapshot
from dynamo.runtime.discovery.etcd_gateway import EtcdGateway, EtcdRefused, b64, parse_endpoints, prefix_end, unb64
from dynamo.runtime.discovery.watching import WatchQueue
from dynamo.runtime.errors import DiscoveryError, LeaseLost

log = logging.getLogger(__name__)


def _key_value(kv: dict[str, Any]) -> KeyValue:
    return KeyValue(
        key=unb64(kv["key"]).decode(),
        value=unb64(kv.get("value", "")),
        revision=int(kv["mod_revision"]),
        lease=int(kv.get("lease", 0)),
    )


def _revision(answer: dict[str, Any]) -> int:
    return int(answer["header"]["revision"])


def _lease_lost(error: EtcdRefused, lease: Lease | None) -> DiscoveryError:
    if lease is not None and "lease not found" in str(error):
        return LeaseLost(f"lease {lease.id:x} has expired on etcd")
    return error


def _pause(attempt: int) -> float:
    """Seconds before the next try: doubling from 50 ms to 2 s, jittered so that clients do not return in step."""
    return min(2.0, 0.05 * 2.0**attempt) * random.uniform(0.5, 1.0)


class EtcdLease:
    """A lease on the cluster, kept alive from here."""

    def __init__(self, discovery: EtcdDiscovery, lease_id: int, ttl: int) -> None:
        self._id = lease_id
        self._ttl = ttl
        self._discovery = discovery
        self._gone = asyncio.Event()
        self._task = asyncio.create_task(self._keep_alive(), name=f"etcd-lease-{lease_id:x}")

    @property
    def id(self) -> int:
        return self._id

    async def lost(self) -> None:
        await self._gone.wait()

    async def _keep_alive(self) -> None:
        gateway, attempt = self._discovery.gateway, 0
        patience = max(0.5, min(self._ttl / 3, gateway.timeout))
        while True:
            try:
                answer, _ = await gateway.call("lease/keepalive", {"ID": str(self._id)}, timeout=patience)
                if int(answer.get("result", {}).get("TTL", 0)) <= 0:
                    break
                attempt = 0
                await asyncio.sleep(self._ttl / 3)
            except DiscoveryError as error:
                if attempt == 0:
                    log.warning("lease %x cannot be kept alive: %s", self._id, error)
                attempt += 1
                await asyncio.sleep(min(_pause(attempt), self._ttl / 4))
        log.warning("lease %x has expired on etcd", self._id)
        self._discovery.leases.discard(self)
        self._gone.set()

    async def revoke(self) -> None:
        """End the lease and delete its keys at once.

        Raises:
            DiscoveryError: etcd is out of reach; the keys follow after the TTL.
        """
        await self.abandon()
        with suppress(EtcdRefused):  # it had expired
            await self._discovery.gateway.call("lease/revoke", {"ID": str(self._id)})

    async def abandon(self) -> None:
        """Stop keeping it alive and leave its keys to the TTL."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._discovery.leases.discard(self)
        self._gone.set()


class EtcdWatch(WatchQueue):
    """A prefix watch that resumes at the revision it had, and starts over where that is compacted."""

    def __init__(self, discovery: EtcdDiscovery, prefix: str, snapshot: Snapshot) -> None:
        super().__init__(snapshot, self._stop)
        self._discovery = discovery
        self._prefix = prefix
        self._revision = snapshot.revision
        self._task = asyncio.create_task(self._follow(), name=f"etcd-watch-{prefix}")

    async def _stop(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._discovery.watches.discard(self)

    async def _follow(self) -> None:
        attempt = 0
        while True:
            before = self._revision
            try:
                await self._follow_once()
            except DiscoveryError as error:
                if attempt == 0:
                    log.warning("watch of %s interrupted, resuming at revision %d: %s", self._prefix, before, error)
            attempt = 0 if self._revision != before else attempt + 1
            await asyncio.sleep(_pause(attempt))

    async def _follow_once(self) -> None:
        """One connection: until it breaks, or until its server stops answering."""
        reader = asyncio.create_task(self._read())
        guard = asyncio.create_task(self._discovery.gateway.watchdog())
        try:
            await asyncio.wait({reader, guard}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (reader, guard):
                task.cancel()
            results = await asyncio.gather(reader, guard, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _read(self) -> None:
        request = {
            "create_request": {
                "key": b64(self._prefix),
                "range_end": prefix_end(self._prefix),
                "start_revision": str(self._revision + 1),
            }
        }
        async with self._discovery.gateway.stream("watch", request) as answers:
            async for answer in answers:
                if answer.get("canceled") or int(answer.get("compact_revision", 0)):
                    await self._start_over()
                    return
                for event in answer.get("events", ()):
                    self._emit(event)
                if "events" in answer:
                    self._revision = max(self._revision, _revision(answer))

    def _emit(self, event: dict[str, Any]) -> None:
        kv = event["kv"]
        key, revision = unb64(kv["key"]).decode(), int(kv["mod_revision"])
        deleted = event.get("type") == "DELETE"
        value = None if deleted else unb64(kv.get("value", ""))
        self.feed(Change(kind="delete" if deleted else "put", key=key, revision=revision, value=value))

    async def _start_over(self) -> None:
        snapshot = await self._discovery.get_prefix(self._prefix)
        self._revision = snapshot.revision
        self.feed(Reset(snapshot))


class EtcdDiscovery:
    """The `Discovery` interface on an etcd cluster (`etcd://host:2379[,host:2379…]`).

    Raises `DiscoveryError` where no endpoint answers within its time-out; leases and watches recover by
    themselves.
    """

    def __init__(self, url: str, *, timeout: float = 3.0) -> None:
        self.gateway = EtcdGateway(parse_endpoints(url), timeout=timeout)
        self.leases: set[EtcdLease] = set()
        self.watches: set[EtcdWatch] = set()

    @classmethod
    async def connect(cls, endpoints: str, *, timeout: float = 5.0) -> EtcdDiscovery:
        """A client of `host:port[,host:port…]`, known to answer.

        Raises:
            DiscoveryError: no endpoint answered; each is waited for `timeout` seconds at most.
        """
        discovery = cls(endpoints, timeout=timeout)
        try:
            await discovery.get("/")
        except DiscoveryError:
            await discovery.gateway.close()
            raise
        return discovery

    async def grant(self, ttl: float) -> EtcdLease:
        seconds = max(1, math.ceil(ttl))
        # The id is ours: a grant that is repeated at another endpoint is then the same lease. etcd takes
        # positive signed 64-bit numbers.
        lease_id = secrets.randbits(62) | (1 << 62)
        try:
            await self.gateway.call("lease/grant", {"ID": str(lease_id), "TTL": str(seconds)})
        except EtcdRefused as error:
            if "already exists" not in str(error):
                raise
        lease = EtcdLease(self, lease_id, seconds)
        self.leases.add(lease)
        return lease

    async def put(self, key: str, value: bytes, lease: Lease | None = None) -> int:
        body = {"key": b64(key), "value": b64(value), "lease": str(lease.id if lease else 0)}
        try:
            answer, _ = await self.gateway.call("kv/put", body)
        except EtcdRefused as error:
            raise _lease_lost(error, lease) from None
        return _revision(answer)

    async def create(self, key: str, value: bytes, lease: Lease | None = None) -> bool:
        put = {"key": b64(key), "value": b64(value), "lease": str(lease.id if lease else 0)}
        body = {
            "compare": [{"key": b64(key), "target": "CREATE", "result": "EQUAL", "create_revision": "0"}],
            "success": [{"request_put": put}],
        }
        try:
            answer, failed = await self.gateway.call("kv/txn", body)
        except EtcdRefused as error:
            raise _lease_lost(error, lease) from None
        created = bool(answer.get("succeeded"))
        if not created and failed:
            # The endpoint that failed may have done it before it failed: look whose key it is.
            found = await self.get(key)
            created = found is not None and found.value == value and found.lease == (lease.id if lease else 0)
        return created

    async def get(self, key: str) -> KeyValue | None:
        answer, _ = await self.gateway.call("kv/range", {"key": b64(key)})
        return _key_value(answer["kvs"][0]) if answer.get("kvs") else None

    async def get_prefix(self, prefix: str) -> Snapshot:
        answer, _ = await self.gateway.call("kv/range", {"key": b64(prefix), "range_end": prefix_end(prefix)})
        return Snapshot(_revision(answer), tuple(_key_value(kv) for kv in answer.get("kvs", ())))

    async def delete(self, key: str) -> bool:
        answer, failed = await self.gateway.call("kv/deleterange", {"key": b64(key)})
        return int(answer.get("deleted", 0)) > 0 or failed > 0

    async def delete_prefix(self, prefix: str) -> int:
        answer, _ = await self.gateway.call("kv/deleterange", {"key": b64(prefix), "range_end": prefix_end(prefix)})
        return int(answer.get("deleted", 0))

    async def watch(self, prefix: str) -> EtcdWatch:
        watch = EtcdWatch(self, prefix, await self.get_prefix(prefix))
        self.watches.add(watch)
        return watch

    async def close(self) -> None:
        """Revoke the leases, as far as etcd answers, end the watches and the session."""
        for watch in list(self.watches):
            await watch.close()
        for lease in list(self.leases):
            with suppress(DiscoveryError):
                await lease.revoke()
        await self.gateway.close()
