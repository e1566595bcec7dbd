"""Callers of a served graph, who number their requests and keep every answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

CALLERS = 4
PAUSE_S = 0.02
DEADLINE_S = 60.0
"""A request that takes longer has failed: no fault here lasts so long."""


@dataclass
class Answers:
    """`answered` are the numbers of the requests that succeeded, `failures` says what became of the others."""

    answered: list[int] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    by_worker: Counter[str] = field(default_factory=Counter)


@asynccontextmanager
async def calling(url: str) -> AsyncIterator[Answers]:
    """Ask without end while the block runs; requests under way at its end are waited for."""
    answers = Answers()
    ending = asyncio.Event()
    numbers = iter(range(1 << 60))

    async def call(client: httpx.AsyncClient) -> None:
        while not ending.is_set():
            number = next(numbers)
            try:
                answer = await client.post("/count", json={"n": number})
                if answer.status_code == 200:
                    answers.answered.append(number)
                    answers.by_worker[answer.text.rpartition(" ")[2]] += 1
                else:
                    answers.failures.append(f"request {number}: {answer.status_code} {answer.text[:200]}")
            except httpx.HTTPError as error:
                answers.failures.append(f"request {number}: {error!r}")
            await asyncio.sleep(PAUSE_S)

    async with httpx.AsyncClient(base_url=url, timeout=DEADLINE_S) as client, asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(call(client))
        try:
            yield answers
        finally:
            ending.set()
