"""A simulated worker in a process of its own: it has cached the prompt 0, 1, … 319 when it says that it is ready."""

from __future__ import annotations

import asyncio

from dynamo.llm.engines.base import EngineRequest, ModelCard, StopOptions
from dynamo.llm.engines.mocker import Mocker
from dynamo.llm.engines.mocker_core import MockerOptions
from dynamo.llm.kv.events import KvEventPublisher
from dynamo.runtime import DistributedRuntime


async def main() -> None:
    engine = Mocker(ModelCard(name="m"), MockerOptions(vocab_size=1000, speedup_ratio=1000))
    await engine.start(lambda line: None)
    publisher = KvEventPublisher(engine)
    request = EngineRequest(request_id="r", token_ids=list(range(320)), stop=StopOptions(max_tokens=1))
    async for _ in engine.generate(request):
        pass
    async with await DistributedRuntime.connect() as runtime:
        await publisher.serve(runtime.namespace("ns").component("worker"))
        print("ready", flush=True)  # noqa: T201
        await runtime.until_shutdown()


asyncio.run(main())
