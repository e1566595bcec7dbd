from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dynamod.core.errors import Invalid
from dynamod.observe.kv.history import KvHistory
from dynamod.observe.kv.window import HitRateWindow, Second
from dynamod.observe.metrics.file import TIERS, MetricsFile

GRAPH = "default/llm"
NOW = 1_700_000_000.0


@pytest.fixture
async def history(tmp_path: Path) -> AsyncIterator[KvHistory]:
    file = MetricsFile(tmp_path / "metrics.db")
    yield KvHistory(file)
    await file.close()


def seconds(*decisions: tuple[float, str, int], at: float = NOW) -> dict[str, list[Second]]:
    """Decisions over ten blocks each: (seconds before `at`, worker, blocks reused)."""
    window = HitRateWindow()
    for ago, worker, reused in decisions:
        window.predicted(at - ago, worker, asked=10, reused=reused, best=reused)
    return {GRAPH: window.take_unwritten()}


async def test_series_have_one_point_a_step_and_none_where_nothing_was_asked(history: KvHistory) -> None:
    await history.add(seconds((28.8, "a1", 10), (17.0, "a1", 5)), NOW)
    await history.add(seconds((17.5, "b2", 0)), NOW)
    found = await history.series(GRAPH, NOW - 30, NOW, 10.0, NOW, workers=[""])
    by_name = {series.name: series.points for series in found}
    assert by_name["hit_rate_predicted"] == [(NOW - 20, 1.0), (NOW - 10, 0.25), (NOW, None)]
    assert by_name["decisions"] == [(NOW - 20, 0.1), (NOW - 10, 0.2), (NOW, 0.0)]
    assert by_name["avoidable_share"] == [(NOW - 20, None), (NOW - 10, 0.0), (NOW, None)]
    (of_nobody, *_) = await history.series(GRAPH, NOW - 30, NOW, 10.0, NOW, workers=["nobody"])
    assert [value for _, value in of_nobody.points] == [None, None, None]


async def test_each_worker_has_its_own_series(history: KvHistory) -> None:
    await history.add(seconds((5, "a1", 10), (5, "b2", 2)), NOW)
    found = await history.series(GRAPH, NOW - 10, NOW, 10.0, NOW)
    rates = {s.labels["worker"]: s.points for s in found if s.name == "hit_rate_predicted"}
    assert rates == {"a1": [(NOW, 1.0)], "b2": [(NOW, 0.2)]}


async def test_coarser_tiers_add_up_to_the_same(history: KvHistory) -> None:
    """The same decisions, asked about now, after the fine tier forgot them, and after the middle one did."""
    for ago in range(120, 0, -1):
        await history.add(seconds((ago, "a1", ago % 10)), NOW - ago)
    for later in (0, TIERS[0].keep + 1, TIERS[1].keep + 1):
        totals = await history.totals(GRAPH, NOW - 200, NOW + 60, NOW + later)
        assert totals.predicted["a1"].requests == totals.predicted[""].requests == 120
        assert totals.predicted["a1"].reused == sum(ago % 10 for ago in range(120, 0, -1))


async def test_what_no_tier_keeps_is_deleted(history: KvHistory) -> None:
    await history.add(seconds((0, "a1", 1)), NOW)
    later = NOW + TIERS[-1].keep + 120
    await history.add(seconds((0, "a1", 1), at=later), later)
    assert (await history.totals(GRAPH, 0, later + 60, later)).predicted["a1"].requests == 1


async def test_the_last_hour_is_remembered_by_the_next_daemon(history: KvHistory) -> None:
    await history.add(seconds((3000, "a1", 5), (100, "b2", 5), (7200, "a1", 5)), NOW)
    remembered, written_until = (await history.recent(NOW, 3600.0))[GRAPH]
    assert written_until == NOW - 99
    window = HitRateWindow()
    window.remember(remembered)
    assert window.totals(NOW - 3600, NOW).predicted[""].requests == 2
    assert window.totals(NOW - 200, NOW).predicted["b2"].requests == 1
    assert window.take_unwritten() == []


async def test_a_removed_graph_leaves_no_history(history: KvHistory) -> None:
    await history.add(seconds((5, "a1", 10)), NOW)
    await history.forget(GRAPH)
    assert await history.recent(NOW, 3600.0) == {}
    assert await history.series(GRAPH, NOW - 10, NOW, 10.0, NOW) == []


@pytest.mark.parametrize(("since", "until", "step"), [(2.0, 1.0, 1.0), (0.0, NOW, 1.0)])
async def test_an_impossible_range_is_refused(history: KvHistory, since: float, until: float, step: float) -> None:
    with pytest.raises(Invalid):
        await history.series(GRAPH, since, until, step, NOW)
