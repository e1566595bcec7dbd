"""A worker killed while it serves: what clients, the router and everybody else see of it."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import openai
import pytest

from dynamo.llm.kv.feed import FEED_ENDPOINT
from dynamo.llm.kv.workers import Worker
from dynamo.runtime.events import SnapshotSubscriber
from tests.e2e.llm.graph import RunningGraph, running

pytestmark = pytest.mark.xdist_group("e2e-llm")

BATCH = 2
"""Requests that a worker runs at once; all others that it was given wait, unbegun."""
CLIENTS = 24
TOKENS = 300
PROMPT_WORDS = 200


class Reader:
    """One streamed chat. `pieces`: chunks with text so far; `tokens`: how many a whole answer had."""

    def __init__(self, api: openai.AsyncOpenAI, number: int) -> None:
        self._api = api
        self._messages: Any = [{"role": "user", "content": f"{number} " + "why so slow? " * PROMPT_WORDS}]
        self.pieces = 0
        self.tokens = 0
        self.error: openai.APIError | None = None

    async def read(self) -> None:
        try:
            stream = await self._api.chat.completions.create(
                model="tiny",
                messages=self._messages,
                max_tokens=TOKENS,
                stream=True,
                stream_options={"include_usage": True},
            )
            async for chunk in stream:
                if chunk.choices and chunk.choices[0].delta.content:
                    self.pieces += 1
                if chunk.usage is not None:
                    self.tokens = chunk.usage.completion_tokens
        except openai.APIError as error:
            self.error = error


class RouterView:
    """The router's workers as its feed tells them."""

    def __init__(self, graph: RunningGraph) -> None:
        router = graph.runtime.namespace("dynamo").component("Router")
        self._subscriber = SnapshotSubscriber(router.endpoint(FEED_ENDPOINT))
        self.cached: dict[str, int] = {}
        self.requests: dict[str, int] = {}

    async def follow(self) -> None:
        async for event in self._subscriber:
            for entry in event.body or ():
                if entry["kind"] == "worker":
                    self.cached[entry["worker"]] = entry["cached_blocks"]
                    self.requests[entry["worker"]] = entry["active_requests"]
                elif entry["kind"] == "gone":
                    self.cached.pop(entry["worker"])
                    self.requests.pop(entry["worker"])

    async def close(self) -> None:
        await self._subscriber.close()


async def until(condition: Any, seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def test_killed_in_mid_stream(tmp_path: Path) -> None:
    options = (f"--Worker.max-num-seqs={BATCH}", "--Worker.speedup-ratio=1")
    async with (
        running(
            "graphs.agg_router:Frontend", "configs/agg_router.yaml", *options, DYN_LOCAL_STATE_DIR=str(tmp_path)
        ) as (graph, url),
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60) as api,
    ):
        view = RouterView(graph)
        victim = Worker((await graph.statuses())["worker-1"].instance_id).label
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(view.follow())
            readers = [Reader(api, number) for number in range(CLIENTS)]
            reading = [tasks.create_task(reader.read()) for reader in readers]
            # It runs a full batch, holds blocks, and further requests wait for it.
            await until(lambda: view.cached.get(victim, 0) > 0 and view.requests[victim] > BATCH)
            await until(lambda: sum(reader.pieces > 3 for reader in readers) >= 4 * BATCH)
            begun = [reader.pieces > 0 for reader in readers]
            os.kill(graph.processes["worker-1"].pid, signal.SIGKILL)
            await until(lambda: victim not in view.cached, seconds=5)
            await until(lambda: all(task.done() for task in reading))
            following.cancel()
        await view.close()
        lost = [reader for reader in readers if reader.error is not None]
        assert 1 <= len(lost) <= BATCH
        for reader in lost:
            assert reader.pieces, "it had not begun: another worker should have taken it"
            assert reader.error is not None
            assert "went away in the middle of the answer; please ask again" in reader.error.message
        assert not all(begun), "some had not begun when the worker was killed"
        assert {reader.tokens for reader in readers if reader.error is None} == {TOKENS}
