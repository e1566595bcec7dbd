from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from dynamod.observe.logs import follow as following
from dynamod.observe.logs.follow import Batch, follow
from dynamod.observe.logs.query import LogSource, log_filter
from tests.unit.dynamod.observe.logs.writing import WrittenLog


class Replicas:
    def __init__(self, *logs: WrittenLog) -> None:
        self.logs = list(logs)
        self.asked = asyncio.Event()

    async def __call__(self) -> Sequence[LogSource]:
        self.asked.set()
        return [log.source for log in self.logs]


async def collect(batches: AsyncIterator[Batch], count: int) -> tuple[list[str], int, dict[str, int]]:
    lines: list[str] = []
    skipped, places = 0, {}
    async with asyncio.timeout(20):
        while len(lines) < count:
            batch = await anext(batches)
            lines += [line.text for line in batch.lines]
            skipped += batch.skipped
            places = batch.places
    return lines, skipped, places


async def test_new_lines_come_from_every_replica_across_segments_and_from_replicas_that_join(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "SOURCES_S", 0.05)
    one = WrittenLog(tmp_path, "one", segment_bytes=2000)
    one.write("before\n")
    replicas = Replicas(one)
    async with aclosing(follow(replicas, log_filter(), places={"one": 1})) as batches:  # type: ignore[type-var]
        waiting = asyncio.ensure_future(collect(batches, 501))
        await asyncio.wait_for(replicas.asked.wait(), 10)
        two = WrittenLog(tmp_path, "two")
        two.write("from the newcomer\n")
        replicas.logs.append(two)
        for n in range(500):
            one.write(f"line {n}\n")
            if n % 50 == 0:
                await asyncio.sleep(0.005)
        lines, skipped, _ = await waiting
    assert skipped == 0
    assert "from the newcomer" in lines
    assert [line for line in lines if line != "from the newcomer"] == [f"line {n}" for n in range(500)]


async def test_a_follow_resumes_where_another_stopped(tmp_path: Path) -> None:
    log = WrittenLog(tmp_path, "r")
    log.write("a\nb\nc\n")
    async with aclosing(follow(Replicas(log), log_filter(), from_start=True)) as batches:  # type: ignore[type-var]
        lines, _, places = await collect(batches, 3)
    assert lines == ["a", "b", "c"]
    log.write("d\ne\n")
    async with aclosing(follow(Replicas(log), log_filter(), places=places)) as batches:  # type: ignore[type-var]
        lines, _, _ = await collect(batches, 2)
    assert lines == ["d", "e"]


async def test_a_reader_that_fell_far_behind_is_told_how_much_it_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "MAX_BACKLOG_BYTES", 50_000)
    monkeypatch.setattr(following, "KEPT_BACKLOG_BYTES", 10_000)
    log = WrittenLog(tmp_path, "r", segment_bytes=20_000)
    for n in range(10_000):
        log.write(f"line {n:06d}\n")
    async with aclosing(follow(Replicas(log), log_filter(), places={"r": 100})) as batches:  # type: ignore[type-var]
        lines, skipped, _ = await collect(batches, 1)
    assert lines[-1] == "line 009999"
    assert skipped + len(lines) == 10_000 - 100
    assert len(lines) < 1500


async def test_deleted_segments_count_as_skipped(tmp_path: Path) -> None:
    log = WrittenLog(tmp_path, "r", segment_bytes=2000)
    for n in range(1000):
        log.write(f"line {n:06d}\n")
    for number in range(3):
        (Path(log.directory) / f"{number:08d}.log").unlink()
        (Path(log.directory) / f"{number:08d}.idx").unlink()
    async with aclosing(follow(Replicas(log), log_filter(), from_start=True)) as batches:  # type: ignore[type-var]
        lines, skipped, _ = await collect(batches, 300)
    assert lines[-1] == "line 000999"
    assert skipped == 1000 - len(lines)
