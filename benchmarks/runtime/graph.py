"""Our side's service: what an author writes, served by the SDK's own replica program."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from benchmarks.runtime.workload import item
from dynamo.sdk import endpoint, service


@service(dynamo={"namespace": "bench"})
class Backend:
    @endpoint()
    async def echo(self, payload: Any) -> Any:
        return payload

    @endpoint()
    async def stream(self, count: int) -> AsyncIterator[dict[str, Any]]:
        for number in range(count):
            yield item(number)
            await asyncio.sleep(0)
