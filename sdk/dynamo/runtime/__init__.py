"""The runtime: discovery, requests and events between the processes of a graph.

`DistributedRuntime` → `Namespace` → `Component` → `Endpoint` → `Client`. Names are loaded when they are first
used, so that a program that needs one error class does not pay for sockets.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynamo.runtime.bindings.etcd import EtcdKvCache
    from dynamo.runtime.client import Client
    from dynamo.runtime.component import Component, Endpoint, Namespace, ServedEndpoint
    from dynamo.runtime.context import RequestContext, current_request
    from dynamo.runtime.distributed import DistributedRuntime
    from dynamo.runtime.errors import DynamoRuntimeError
    from dynamo.runtime.response import ResponseStream
    from dynamo.runtime.status import Address, Instance, ReplicaStatus
    from dynamo.runtime.worker import dynamo_endpoint, dynamo_worker

_HOMES = {
    "Address": "status",
    "Client": "client",
    "Component": "component",
    "DistributedRuntime": "distributed",
    "DynamoRuntimeError": "errors",
    "Endpoint": "component",
    "EtcdKvCache": "bindings.etcd",
    "Instance": "status",
    "Namespace": "component",
    "ReplicaStatus": "status",
    "RequestContext": "context",
    "ResponseStream": "response",
    "ServedEndpoint": "component",
    "current_request": "context",
    "dynamo_endpoint": "worker",
    "dynamo_worker": "worker",
}

__all__ = [
    "Address",
    "Client",
    "Component",
    "DistributedRuntime",
    "DynamoRuntimeError",
    "Endpoint",
    "EtcdKvCache",
    "Instance",
    "Namespace",
    "ReplicaStatus",
    "RequestContext",
    "ResponseStream",
    "ServedEndpoint",
    "current_request",
    "dynamo_endpoint",
    "dynamo_worker",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
