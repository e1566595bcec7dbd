"""Building by BuildKit, through the engine's own API.

The Docker SDK speaks to the classic builder alone. BuildKit is the same request with `version=2`; what it does comes as
`moby.buildkit.trace` messages, each a protobuf `StatusResponse` in base64
(BuildKit's `api/services/control/control.proto`).
Secret mounts and logins for the base image need a session besides, which is a gRPC service over a hijacked connection
and is not offered here: certificates stand in the context instead, and the base image is fetched beforehand.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docker import DockerClient

OLDEST_API = (1, 39)
TRACE = "moby.buildkit.trace"

_VARINT, _BYTES = 0, 2
_VERTEX, _LOG = 1, 3
_V_DIGEST, _V_NAME, _V_CACHED, _V_STARTED = 1, 3, 4, 5
_L_MESSAGE = 4


def is_there(client: DockerClient) -> bool:
    """Can the engine build by it?"""
    version = tuple(int(part) for part in str(client.api.api_version).split("."))
    return version >= OLDEST_API and client.api.version().get("Os") == "linux"


def messages(client: DockerClient, context: IO[bytes], parameters: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Have the context built; what the engine says, one message after the other.

    `parameters` are those of the engine's `POST /build`; mappings are sent as JSON. Errors of the engine pass through.
    """
    asked = {k: json.dumps(v) if isinstance(v, dict) else v for k, v in parameters.items() if v is not None}
    response = client.api.post(
        f"{client.api.base_url}/v{client.api.api_version}/build",
        params={**asked, "version": "2"},
        data=context,
        headers={"Content-Type": "application/x-tar"},
        stream=True,
        timeout=client.api.timeout,
    )
    with response:
        if not response.ok:
            yield {"error": response.json().get("message") or f"HTTP {response.status_code}"}
            return
        for line in response.iter_lines():
            if line:
                yield json.loads(line)


class Trace:
    """Turns the trace into lines for people: each step once when it begins, and what it prints."""

    def __init__(self, step: Callable[[str], None]) -> None:
        self._step = step
        self._told: set[bytes] = set()

    def read(self, message: str) -> list[str]:
        """One message. What steps have printed is returned as well, for whoever explains a failure."""
        printed = []
        for number, value in _fields(base64.b64decode(message)):
            if number == _VERTEX:
                self._vertex(dict(_fields(value)))
            elif number == _LOG:
                text = dict(_fields(value)).get(_L_MESSAGE, b"")
                for line in text.decode(errors="replace").splitlines():
                    if line.strip():
                        printed.append(line.strip())
                        self._step(line.strip())
        return printed

    def _vertex(self, vertex: dict[int, Any]) -> None:
        digest, name = vertex.get(_V_DIGEST, b""), vertex.get(_V_NAME, b"").decode(errors="replace")
        if digest in self._told or name.startswith("[internal]"):
            return
        if vertex.get(_V_CACHED):
            self._told.add(digest)
            self._step(f"{name}: known already")
        elif _V_STARTED in vertex:
            self._told.add(digest)
            self._step(name)


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Field numbers and values of a protobuf message, of the two wire types that BuildKit's has."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        size, at = _varint(data, at)
        if key & 7 == _VARINT:
            yield key >> 3, size
        elif key & 7 == _BYTES:
            yield key >> 3, data[at : at + size]
            at += size
        else:
            return  # nothing that we know of


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
    return value, at
