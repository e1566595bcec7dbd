"""One network of a Docker engine for each graph: made with its first container, gone with its last."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docker import DockerClient

NETWORK_LABEL = "ai.dynamo.network"


class Networks:
    """Those of one daemon: `owner` tells them from those of others that use the same engine."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._lock = threading.Lock()
        self._used: set[str] = set()

    def ensure(self, client: DockerClient, name: str) -> str:
        """The id of the network, made where there is none. Errors of the engine pass through."""
        with self._lock:
            self._used.add(name)
            found = self._find(client, name)
            if found is None:
                found = client.networks.create(name, driver="bridge", labels={NETWORK_LABEL: self._label(name)})
            return str(found.id)

    def release(self, client: DockerClient, name: str) -> None:
        """Remove it, unless containers are still on it."""
        with self._lock:
            found = self._find(client, name)
            if found is not None and not client.containers.list(all=True, filters={"network": str(found.id)}):
                found.remove()
                self._used.discard(name)

    def sweep(self, client: DockerClient) -> None:
        """Remove those that no container is on and that nobody has asked for since the daemon's start."""
        with self._lock:
            for found in client.networks.list(filters={"label": NETWORK_LABEL}):
                label, name = _labels(found).get(NETWORK_LABEL, ""), str(found.name)
                if label != self._label(name) or name in self._used:
                    continue
                if not client.containers.list(all=True, filters={"network": str(found.id)}):
                    found.remove()

    def _find(self, client: DockerClient, name: str) -> Any:
        found = client.networks.list(filters={"label": [f"{NETWORK_LABEL}={self._label(name)}"]})
        return found[0] if found else None

    def _label(self, name: str) -> str:
        return f"{self._owner}/{name}"


def _labels(network: Any) -> dict[str, str]:
    return network.attrs.get("Labels") or {}
