"""A worker that publishes a model at a path which is another directory in every process."""

from __future__ import annotations

import asyncio

from dynamo.llm.engines.base import ModelCard
from dynamo.llm.registration import publish_model
from dynamo.runtime import DistributedRuntime


async def main() -> None:
    async with await DistributedRuntime.connect() as runtime:
        card = ModelCard(name="mine", model_path="/proc/self/cwd/model", namespace="ns", component="worker")
        await publish_model(runtime, card)
        print("ready", flush=True)  # noqa: T201
        await runtime.until_shutdown()


asyncio.run(main())
