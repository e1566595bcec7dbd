"""Shared prefixes over real sockets: simulated workers, their events, and requests routed while both move."""

from __future__ import annotations

import asyncio
from collections import deque

from benchmarks.kv.cluster import Prompt, shared_prefixes
from dynamo.llm.engines.base import EngineRequest, StopOptions
from dynamo.llm.engines.mocker import Mocker
from dynamo.llm.kv.router import KvRouter
from tests.integration.llm.kv.conftest import Stage, until


async def client(router: KvRouter, engines: dict[int, Mocker], prompts: deque[tuple[int, Prompt]]) -> None:
    """Sends one prompt after another until none is left."""
    while prompts:
        number, prompt = prompts.popleft()
        name = str(number)
        decision = router.find_best(prompt.tokens, request_id=name)
        router.routed(decision)
        request = EngineRequest(
            request_id=name, token_ids=prompt.tokens, stop=StopOptions(max_tokens=prompt.output_tokens)
        )
        generated = 0
        async for output in engines[decision.worker.instance].generate(request):
            if output.cached_tokens is not None:
                router.first_token(name, output.cached_tokens)
            generated += len(output.token_ids)
            router.progress(name, generated)
        router.finished(name)


async def test_predicted_and_actual_hit_rates_of_a_live_cluster(stage: Stage) -> None:
    router, _ = await stage.router()
    engines = {}
    for _ in range(4):
        engine, instance, _ = await stage.worker(vocab_size=32_000, speedup_ratio=20.0, num_gpu_blocks=1536)
        engines[instance] = engine
    await until(lambda: len(router.workers) == 4)
    prompts = deque(enumerate(shared_prefixes(requests=240, output_tokens=16)))
    async with asyncio.timeout(90), asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(client(router, engines, prompts))
    predicted, actual = router.rates.predicted, router.rates.actual
    assert predicted.requests == actual.requests == 240
    assert actual.ratio_of_sums is not None
    assert predicted.ratio_of_sums is not None
    # 20 of 240 prompts must compute their prefix: 0.889 is the most there is.
    assert actual.ratio_of_sums >= 0.80
    assert abs(predicted.ratio_of_sums - actual.ratio_of_sums) <= 0.02
    assert len(router.active) == 0
