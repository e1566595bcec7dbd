from __future__ import annotations

from math import inf

import pytest

from dynamod.observe.metrics.quantiles import quantile
from dynamod.observe.metrics.query import Grid, counter_rates, gauge_values, grid, to_series
from dynamod.observe.metrics.store import SeriesInfo


def info(name: str, kind: str, replica: str = "r1", bounds: tuple[float, ...] = ()) -> SeriesInfo:
    return SeriesInfo(1, "Worker", replica, name, {"endpoint": "generate"}, kind, bounds)


def test_a_counter_becomes_its_increase_per_second_across_a_restart() -> None:
    points = [(95, 100.0), (105, 150.0), (115, 10.0), (118, 30.0)]
    assert counter_rates(points, Grid([110.0, 120.0], 10.0)) == [5.0, 3.0]


def test_a_rate_is_unknown_while_its_replica_is_away() -> None:
    points = [(100, 5.0), (105, None)]
    assert counter_rates(points, Grid([110.0, 120.0], 10.0)) == [0.0, None]


def test_a_gauge_is_averaged_by_time_and_carried_forward() -> None:
    points = [(100, 2.0), (105, 4.0), (115, None)]
    assert gauge_values(points, Grid([110.0, 120.0, 130.0], 10.0)) == [3.0, 4.0, None]


def test_quantiles_interpolate_within_their_bucket() -> None:
    bounds, counts = (1.0, 2.0, inf), (50.0, 100.0, 100.0)
    assert quantile(0.5, bounds, counts) == 1.0
    assert quantile(0.75, bounds, counts) == pytest.approx(1.5)
    assert quantile(0.99, bounds, (0.0, 0.0, 10.0)) == 2.0
    assert quantile(0.5, bounds, (0.0, 0.0, 0.0)) is None


def test_a_histogram_becomes_its_quantiles_merged_over_the_replicas_of_a_service() -> None:
    bounds = (1.0, 2.0, inf)
    one = (info("d_seconds", "histogram", "r1", bounds), [(100, (0.0,) * 4), (105, (9.0, 10.0, 10.0, 10.0))])
    two = (info("d_seconds", "histogram", "r2", bounds), [(100, (0.0,) * 4), (105, (9.0, 0.0, 10.0, 10.0))])
    series = to_series([one, two], Grid([110.0], 10.0), "service")
    assert [s.labels["quantile"] for s in series] == ["0.5", "0.95", "0.99"]
    assert series[0].points == [(110.0, 1.0)]
    assert series[0].unit == "s"
    assert len(to_series([one, two], Grid([110.0], 10.0), "replica")) == 6


def test_shares_are_averaged_and_amounts_are_added_over_a_service() -> None:
    for name, expected in (("dynamo_engine_cache_usage", 0.5), ("dynamo_endpoint_in_flight", 1.0)):
        found = [(info(name, "gauge", r), [(100, v)]) for r, v in (("r1", 0.25), ("r2", 0.75))]
        (series,) = to_series(found, Grid([110.0], 10.0), "service")
        assert series.points == [(110.0, expected)]
        assert "replica" not in series.labels


def test_the_grid_is_aligned_so_that_the_next_question_has_the_same_points() -> None:
    assert grid(101.0, 131.0, 10.0).ends == [110.0, 120.0, 130.0]
    assert grid(103.0, 133.0, 10.0).ends == [110.0, 120.0, 130.0]
