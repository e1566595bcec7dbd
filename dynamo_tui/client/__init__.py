"""The typed client of the daemon's API, shared by `dynamoctl` and `dynamo-tui`.

    from dynamo_tui.client import Client, calls, choose

    with Client(choose(os.environ).context) as client:
        for graph in client.send(calls.graphs()).items:
            print(graph.name, graph.state)

`AsyncClient` does the same on asyncio; its streams (`streams.events()`, `.logs()`, `.kv()`, …) resume where
they broke. Both raise the errors of `dynamo_tui.client.errors`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynamo_tui.client import calls, streams
    from dynamo_tui.client.aio import AsyncClient
    from dynamo_tui.client.contexts import Choice, Context, choose, local_context, running_serves
    from dynamo_tui.client.errors import (
        ApiError,
        ClientError,
        Conflict,
        Gone,
        Invalid,
        NotFound,
        StreamLost,
        Unreachable,
    )
    from dynamo_tui.client.exchange import Answer, Call, StreamCall
    from dynamo_tui.client.resume import ConnectionState
    from dynamo_tui.client.sync import Client

_HOME = {
    "Answer": "exchange",
    "ApiError": "errors",
    "AsyncClient": "aio",
    "Call": "exchange",
    "Choice": "contexts",
    "Client": "sync",
    "ClientError": "errors",
    "Conflict": "errors",
    "ConnectionState": "resume",
    "Context": "contexts",
    "Gone": "errors",
    "Invalid": "errors",
    "NotFound": "errors",
    "StreamCall": "exchange",
    "StreamLost": "errors",
    "Unreachable": "errors",
    "choose": "contexts",
    "local_context": "contexts",
    "running_serves": "contexts",
}

__all__ = [
    "Answer",
    "ApiError",
    "AsyncClient",
    "Call",
    "Choice",
    "Client",
    "ClientError",
    "Conflict",
    "ConnectionState",
    "Context",
    "Gone",
    "Invalid",
    "NotFound",
    "StreamCall",
    "StreamLost",
    "Unreachable",
    "calls",
    "choose",
    "local_context",
    "running_serves",
    "streams",
]


def __getattr__(name: str) -> Any:
    if name in ("calls", "streams"):
        return importlib.import_module(f"{__name__}.{name}")
    if home := _HOME.get(name):
        return getattr(importlib.import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
