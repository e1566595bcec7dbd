"""Discovery: who is where. `open_discovery(url)` gives the backend that a URL names."""

from __future__ import annotations

import importlib
from pathlib import Path

from dynamo.runtime.discovery.base import Discovery
from dynamo.runtime.errors import ConfigurationError

__all__ = ["Discovery", "open_discovery"]


async def open_discovery(url: str, *, timeout: float = 5.0) -> Discovery:
    """Connect to `unix:///path`, `etcd://host:port[,host:port]` or `memory://[name]`.

    Raises `ConfigurationError` for another URL and `DiscoveryError` when nobody answers in `timeout` seconds.
    """
    scheme, separator, rest = url.partition("://")
    if scheme == "memory" and separator:
        from dynamo.runtime.discovery.memory import MemoryDiscovery, named_store

        return MemoryDiscovery(named_store(rest))
    if scheme == "unix" and rest.startswith("/"):
        from dynamo.runtime.discovery.local_client import LocalDiscovery

        return await LocalDiscovery.connect(Path(rest), timeout=timeout)
    if scheme == "etcd" and rest:
        try:
            etcd = importlib.import_module("dynamo.runtime.discovery.etcd")
        except ModuleNotFoundError as error:
            raise ConfigurationError(f"{url}: etcd needs the extra dynamod[etcd] ({error})") from error
        discovery: Discovery = await etcd.EtcdDiscovery.connect(rest, timeout=timeout)
        return discovery
    raise ConfigurationError(f"{url!r} is no discovery URL: expected unix:///path, etcd://host:port or memory://")
