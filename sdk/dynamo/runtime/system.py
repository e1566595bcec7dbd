"""What every process answers on its transport address, without registration: `_system/ping`, `_system/metrics`."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from typing import Any

from dynamo.runtime.metrics import Registry, Sample
from dynamo.runtime.process_metrics import add_process_metrics
from dynamo.runtime.transport.base import Handler

_INTERVAL = 1.0


def system_handlers(registry: Registry) -> list[Handler]:
    """The built-in targets of a process whose metrics are in `registry`."""
    add_process_metrics(registry)

    async def ping(payload: Any) -> dict[str, Any]:
        return {"pid": os.getpid(), "t": time.time(), "echo": payload}

    async def metrics(payload: Any) -> AsyncIterator[dict[str, Any]]:
        async for message in follow(registry, _interval(payload)):
            yield message

    return [
        Handler("_system/ping", ping, wants_context=False, endless=True),
        Handler("_system/metrics", metrics, wants_context=False, endless=True),
    ]


async def follow(registry: Registry, interval: float) -> AsyncIterator[dict[str, Any]]:
    """All samples, then at each interval those that changed; nothing while nothing does."""
    known: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    full = True
    while True:
        changed: list[Sample] = []
        for sample in registry.samples():
            identity = (sample.name, tuple(sample.labels.items()))
            if known.get(identity) != sample.value:
                known[identity] = sample.value
                changed.append(sample)
        if changed or full:
            yield {"t": time.time(), "full": full, "samples": [list(sample) for sample in changed]}
        full = False
        await asyncio.sleep(interval)


def _interval(payload: Any) -> float:
    """Seconds between messages: `{"interval": …}` in the request, one by default."""
    asked = payload.get("interval") if isinstance(payload, dict) else None
    return max(0.05, float(asked)) if isinstance(asked, int | float) else _INTERVAL
