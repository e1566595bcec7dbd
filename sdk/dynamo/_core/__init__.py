"""Old import path of the bindings; the code lives in `dynamo.runtime` and its `bindings`."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Annotated": "dynamo.runtime.bindings.annotated",
    "Client": "dynamo.runtime.bindings.bound:BoundClient",
    "Component": "dynamo.runtime.bindings.bound:BoundComponent",
    "DistributedRuntime": "dynamo.runtime.distributed",
    "Endpoint": "dynamo.runtime.bindings.bound:BoundEndpoint",
    "EtcdClient": "dynamo.runtime.bindings.etcd",
    "EtcdKvCache": "dynamo.runtime.bindings.etcd",
    "Namespace": "dynamo.runtime.bindings.bound:BoundNamespace",
    "NatsQueue": "dynamo.runtime.bindings.nats_queue",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = home.partition(":")
    return getattr(importlib.import_module(module), attribute or name)
