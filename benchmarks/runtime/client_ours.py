"""Our side's client: a `depends()` client, as a service's methods use it."""

from __future__ import annotations

import uvloop

from benchmarks.runtime import workload
from benchmarks.runtime.graph import Backend
from dynamo.runtime import DistributedRuntime
from dynamo.sdk.client import DependencyClient
from dynamo.sdk.context import dynamo_context


async def main() -> None:
    async with await DistributedRuntime.connect() as runtime:
        dynamo_context["runtime"] = runtime
        backend = DependencyClient(Backend)
        await backend.open()
        await workload.run(backend.echo, backend.stream)


if __name__ == "__main__":
    uvloop.run(main())
