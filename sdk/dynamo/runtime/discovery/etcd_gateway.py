"""A thin client of etcd's v3 API through its JSON gateway, over aiohttp.

The gateway speaks the gRPC messages as JSON: keys and values in base64, 64-bit numbers as strings, streams
as one JSON object a line (https://etcd.io/docs/v3.5/dev-guide/api_grpc_gateway/). Calls fail over between
the endpoints of a cluster; which one answered last is asked first the next time.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec

from dynamo.runtime.errors import DiscoveryError

JSON = dict[str, Any]
MAX_LINE = 64 * 1024 * 1024
"""A watch response or range answer is one line; 10,000 instances need about 8 MiB."""


class EtcdRefused(DiscoveryError):
    """The server understood the request and said no: asking another endpoint would not help."""


def b64(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def unb64(text: str) -> bytes:
    return base64.b64decode(text)


def prefix_end(prefix: str) -> str:
    """The smallest key above every key that starts with `prefix`, in base64: etcd's `range_end`."""
    raw = bytearray(prefix.encode())
    while raw:
        if raw[-1] < 0xFF:
            raw[-1] += 1
            return b64(bytes(raw))
        raw.pop()
    return b64(b"\0")


def parse_endpoints(url: str) -> list[str]:
    """`etcd://host:port[,host:port…]` (or http/https URLs, comma-separated) as base URLs.

    Raises:
        DiscoveryError: no endpoint in it, or one without a host.
    """
    secure = url.startswith(("etcds://", "https://"))
    rest = url.split("://", 1)[1] if "://" in url else url
    endpoints = []
    for part in rest.rstrip("/").split(","):
        host = part.strip().split("://")[-1].rstrip("/")
        if not host or host.startswith(":"):
            raise DiscoveryError(f"discovery URL {url!r}: endpoint {part!r} has no host; write etcd://host:2379")
        endpoints.append(f"{'https' if secure else 'http'}://{host if ':' in host else host + ':2379'}")
    return endpoints


class EtcdGateway:
    """One client session on a cluster.

    Args:
        endpoints: base URLs, tried in turn.
        timeout: seconds that one endpoint may take to answer a call.
    """

    def __init__(self, endpoints: Sequence[str], *, timeout: float = 3.0) -> None:
        self.endpoints = list(endpoints)
        self.timeout = timeout
        self._current = 0
        self._session: aiohttp.ClientSession | None = None

    @property
    def endpoint(self) -> str:
        return self.endpoints[self._current]

    def rotate(self, failed: str) -> None:
        """Prefer another endpoint from now on, unless somebody has moved on already."""
        if failed == self.endpoint:
            self._current = (self._current + 1) % len(self.endpoints)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            # Each open watch holds one connection, so the pool must not be bounded.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30), read_bufsize=1 << 20
            )
        return self._session

    async def call(self, path: str, body: JSON, *, timeout: float | None = None) -> tuple[JSON, int]:
        """POST one request, which must be safe to repeat. Returns the answer and how often it was repeated.

        Raises:
            EtcdRefused: the server refused it; the message is the server's.
            DiscoveryError: no endpoint answered in time.
        """
        failures: list[str] = []
        limit = aiohttp.ClientTimeout(total=timeout or self.timeout)
        payload = msgspec.json.encode(body)
        stale = True
        while len(failures) < len(self.endpoints):
            endpoint = self.endpoint
            try:
                async with self._opened().post(f"{endpoint}/v3/{path}", data=payload, timeout=limit) as response:
                    answer = self._decoded(await response.read())
                    if response.status < 400:
                        return answer, len(failures) + (not stale)
                    failures.append(f"{endpoint}: {self._refusal(path, response.status, answer)}")
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                if stale and isinstance(error, aiohttp.ServerDisconnectedError):
                    stale = False  # a pooled connection that a restarted server knows nothing of: once more
                    continue
                failures.append(f"{endpoint}: {error or type(error).__name__}")
            self.rotate(endpoint)
        raise DiscoveryError(f"etcd does not answer {path}: {'; '.join(failures)}")

    @staticmethod
    def _decoded(body: bytes) -> JSON:
        try:
            answer = msgspec.json.decode(body or b"{}")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            answer = {"message": body[:200].decode(errors="replace")}
        return answer if isinstance(answer, dict) else {"message": str(answer)}

    @staticmethod
    def _refusal(path: str, status: int, answer: JSON) -> str:
        """The text of a failure that another endpoint may not have; raises for one that all share."""
        error = answer.get("error")
        text = str(answer.get("message") or (error.get("message") if isinstance(error, dict) else error) or status)
        if status in (500, 503, 504) or answer.get("code") in (4, 14):  # DEADLINE_EXCEEDED, UNAVAILABLE
            return text
        raise EtcdRefused(f"etcd refused {path}: {text}")

    @asynccontextmanager
    async def stream(self, path: str, body: JSON) -> AsyncIterator[AsyncIterator[JSON]]:
        """POST one request and iterate over the `result` objects of its answer, for as long as it is open."""
        endpoint = self.endpoint
        limit = aiohttp.ClientTimeout(total=None, sock_connect=self.timeout)
        try:
            async with self._opened().post(
                f"{endpoint}/v3/{path}", data=msgspec.json.encode(body), timeout=limit
            ) as response:
                if response.status >= 400:
                    raise DiscoveryError(f"etcd {endpoint} refused {path}: {response.status}")
                yield self._lines(response.content, path)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.rotate(endpoint)
            raise DiscoveryError(f"etcd {endpoint}: {path} broke off: {error or type(error).__name__}") from None

    async def _lines(self, content: aiohttp.StreamReader, path: str) -> AsyncIterator[JSON]:
        # readline() refuses lines over its buffer, and a big watch answer is one line: split by hand.
        pending = bytearray()
        async for chunk in content.iter_any():
            pending += chunk
            if len(pending) > MAX_LINE:
                raise DiscoveryError(f"etcd sent more than {MAX_LINE} bytes in one {path} answer")
            while (end := pending.find(b"\n")) >= 0:
                line = bytes(pending[:end])
                del pending[: end + 1]
                if line.strip():
                    answer = self._decoded(line)
                    if "error" in answer:
                        raise DiscoveryError(f"etcd ended {path}: {answer['error']}")
                    yield answer.get("result", answer)

    async def watchdog(self, period: float = 2.0) -> None:
        """Return when the current endpoint has stopped answering: a stopped server never closes its streams."""
        endpoint = self.endpoint
        while endpoint == self.endpoint:
            await asyncio.sleep(period)
            try:
                limit = aiohttp.ClientTimeout(total=self.timeout)
                async with self._opened().get(f"{endpoint}/health", timeout=limit) as response:
                    await response.read()
            except (aiohttp.ClientError, TimeoutError, OSError):
                self.rotate(endpoint)
                return

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            # aiohttp closes its transports on the next turns of the loop; without them sockets leak warnings.
            await asyncio.sleep(0)
