from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dynamod.observe.metrics.file import TIERS, open_database, tier_for
from dynamod.observe.metrics.store import MetricStore, Owner, Point

OWNER = Owner("default/g", "Worker", "r1")
KEY = ("in_flight", ())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MetricStore]:
    with closing(open_database(tmp_path / "metrics.db")) as database:
        yield MetricStore(database)


def point(t: float, value: float | tuple[float, ...] | None, kind: str = "gauge") -> Point:
    return Point(OWNER, KEY, t, value, kind)


def test_each_tier_keeps_the_last_value_of_its_steps(store: MetricStore) -> None:
    store.write([point(1000.0 + n, float(n)) for n in range(61)])
    (series,) = store.find("default/g", "in_flight")
    fine, middle, coarse = (store.points(series.id, tier, 1000, 1080) for tier in TIERS)
    assert len(fine) == 61
    assert middle[:2] == [(1000, 0.0), (1010, 10.0)]
    assert coarse == [(1020, 20.0), (1080, 60.0)]


def test_a_value_before_the_range_is_there_to_be_carried_forward(store: MetricStore) -> None:
    store.write([point(1000.0, 7.0)])
    (series,) = store.find("default/g", "in_flight")
    assert store.points(series.id, TIERS[0], 1500, 1600) == [(1000, 7.0)]


def test_a_vector_and_an_end_survive_the_file(store: MetricStore) -> None:
    store.write([point(1.0, (1.5, 2.0), "histogram"), point(2.0, None, "histogram")])
    (series,) = store.find("default/g", "in_flight")
    assert store.points(series.id, TIERS[0], 0, 10) == [(1, (1.5, 2.0)), (2, None)]


def test_what_a_tier_no_longer_keeps_is_deleted_and_then_its_series(store: MetricStore) -> None:
    now = 10_000_000.0
    store.write([point(now - TIERS[0].keep - 100, 1.0)])
    store.prune(now)
    (series,) = store.find("default/g", "in_flight")
    assert store.points(series.id, TIERS[0], 0, now) == []
    assert len(store.points(series.id, TIERS[2], 0, now)) == 1
    store.prune(now + TIERS[2].keep)
    assert store.find("default/g", "in_flight") == []
    store.write([point(now, 2.0)])
    assert len(store.find("default/g", "in_flight")) == 1


def test_after_an_interruption_every_series_has_an_end(tmp_path: Path) -> None:
    with closing(open_database(tmp_path / "m.db")) as database:
        MetricStore(database).write([point(1000.0, 7.0)])
    with closing(open_database(tmp_path / "m.db")) as database:
        second = MetricStore(database)
        second.mark_interrupted()
        (series,) = second.find("default/g", "in_flight")
        assert second.points(series.id, TIERS[0], 900, 2000) == [(1000, 7.0), (1001, None)]


def test_the_file_gives_space_back(tmp_path: Path) -> None:
    with closing(open_database(tmp_path / "m.db")) as database:
        MetricStore(database)
        assert database.execute("PRAGMA auto_vacuum").fetchone() == (2,), "2: incremental"


def test_a_question_takes_the_finest_tier_that_reaches_back_and_is_fine_enough() -> None:
    now = 1_000_000.0
    assert tier_for(now - 600, 5.0, now).step == 1
    assert tier_for(now - 600, 30.0, now).step == 10
    assert tier_for(now - 3 * 3600, 5.0, now).step == 10
    assert tier_for(now - 30 * 24 * 3600, 5.0, now).step == 60
