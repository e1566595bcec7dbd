"""Hit rates as an operator sees them: `dynamoctl kv` and REST, with the KV router and with requests in turn."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import openai
import pytest

from dynamo_tui.client import Client, calls, choose
from dynamod.schema.observations import HitRate, KvSnapshot
from tests.e2e.commands import EXAMPLES, Home, until

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("e2e-llm")]

PREFIXES = 10
PROMPTS = 20
WINDOW = "30m"
WORDS = ("the", "router", "asks", "which", "worker", "holds", "most", "blocks", "of", "this", "prompt", "and", "why")


def prompts(seed: int) -> list[list[Any]]:
    """Twenty prompts over ten long beginnings; another seed asks other questions about the same documents."""
    source = random.Random(5)
    documents = [" ".join(source.choices(WORDS, k=600)) for _ in range(PREFIXES)]
    return [
        [
            {"role": "system", "content": documents[n % PREFIXES]},
            {"role": "user", "content": f"Question {seed}-{n}: why?"},
        ]
        for n in range(PROMPTS)
    ]


def ask(api: openai.OpenAI, messages: list[Any], *, stream: bool) -> str:
    options: dict[str, Any] = {"model": "tiny", "messages": messages, "max_tokens": 4}
    if not stream:
        answer = api.chat.completions.create(**options)
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 4
        return answer.choices[0].message.content or ""
    chunks = api.chat.completions.create(**options, stream=True)
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def growth(before: HitRate, after: HitRate) -> float:
    return (after.blocks_reused - before.blocks_reused) / (after.blocks_asked - before.blocks_asked)


def measured(home: Home, mode: str) -> float:
    """The share of blocks reused after a warm-up round, from `dynamoctl kv`; REST must say the same."""
    home.run(
        "submit", "graphs.agg_router:Frontend", "-f", "configs/agg_router.yaml", "-p", "0", "--host", "127.0.0.1",
        "--name", mode, f"--Router.mode={mode}", "--wait", "--timeout", "170s", cwd=EXAMPLES / "llm",
    )  # fmt: skip
    [graph] = home.json("graphs")
    with openai.OpenAI(base_url=f"{graph['address']}/v1", api_key="none", max_retries=0, timeout=60) as api:
        for messages in prompts(0)[:PREFIXES]:
            ask(api, messages, stream=False)
        warm = settled(home, mode, PREFIXES)
        for n, messages in enumerate(prompts(1)):
            assert ask(api, messages, stream=n % 2 == 0)
        done = settled(home, mode, PREFIXES + PROMPTS)
    with Client(choose(home.environ).context) as client:
        over_rest = client.send(calls.kv(mode, window=1800))
    assert over_rest.actual == done.actual
    assert {d.mode for d in done.decisions} == {mode}
    assert sum(w.actual.requests for w in done.workers) == PREFIXES + PROMPTS
    home.run("rm", mode, "--wait")
    return growth(warm.actual, done.actual)


def settled(home: Home, graph: str, requests: int) -> KvSnapshot:
    """The snapshot once the engines have reported on so many requests."""

    def snapshot() -> KvSnapshot | None:
        found = msgspec.convert(home.json("kv", graph, "--window", WINDOW), KvSnapshot)
        return found if found.actual.requests >= requests else None

    return until(snapshot, what=f"{requests} reported requests")


def test_the_kv_router_reuses_most_blocks_and_taking_turns_clearly_fewer(home: Home) -> None:
    by_cache = measured(home, "kv")
    in_turn = measured(home, "round-robin")
    assert by_cache > 0.8, "every beginning was cached in the warm-up"
    assert in_turn < by_cache - 0.2, "in turn, a beginning meets a worker that has not seen it"
