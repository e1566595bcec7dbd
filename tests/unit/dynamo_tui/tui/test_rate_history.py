"""Figures of the past, made from retained metrics."""

from __future__ import annotations

from pathlib import Path

from dynamo_tui.tui.rate_history import past_rates
from dynamo_tui.tui.store import GraphKey
from dynamod.schema import Series
from tests.unit.dynamo_tui.tui import world
from tests.unit.dynamo_tui.tui.conftest import dashboard, screen_text, until
from tests.unit.dynamo_tui.tui.stand_in import StandIn

KEY = GraphKey("default", "agg_router")
S = ("S", None)


def series(name: str, *values: float | None, **labels: str) -> Series:
    return Series(name=name, labels={"service": "S", **labels}, points=list(enumerate(values)))


def test_counters_of_several_label_sets_are_added_and_gaps_stay_gaps() -> None:
    past = past_rates(
        [
            series("dynamo_endpoint_requests_total", 1.0, None, 3.0, endpoint="a"),
            series("dynamo_endpoint_requests_total", 1.0, None, None, endpoint="b"),
            series("dynamo_endpoint_requests_total", 9.0, 9.0, 9.0, endpoint="kv_load"),
        ]
    )
    assert past[S, "requests_per_s"] == [(0, 2.0), (2, 3.0)]
    assert past[S, "errors_per_s"] == [(0, 0.0), (2, 0.0)]
    assert (S, "in_flight") not in past


def test_quantiles_of_several_label_sets_are_not_made_up() -> None:
    one = series("dynamo_endpoint_duration_seconds", 0.1, endpoint="a", quantile="0.95")
    assert past_rates([one])[S, "latency_p95_s"] == [(0, 0.1)]
    assert past_rates([one, series("dynamo_endpoint_duration_seconds", 0.2, endpoint="b", quantile="0.95")]) == {}


def test_the_hit_rate_is_tokens_found_over_tokens_asked_for() -> None:
    hits = series("dynamo_engine_prefix_hits_tokens_total", 30.0, 0.0, 5.0)
    asked = series("dynamo_engine_prefix_queries_tokens_total", 40.0, 0.0, None)
    assert past_rates([hits, asked])[S, "hit_rate"] == [(0, 0.75)]


def test_figures_of_replicas_are_kept_apart() -> None:
    one = series("process_resident_memory_bytes", 1.0, replica="a")
    other = series("process_resident_memory_bytes", 2.0, replica="b")
    assert past_rates([one, other]) == {(("S", "a"), "rss_bytes"): [(0, 1.0)], (("S", "b"), "rss_bytes"): [(0, 2.0)]}


async def test_the_metrics_page_begins_with_what_is_retained(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, graph="agg_router", size=(120, 36)) as pilot:
        track = pilot.app.store.rate_track(KEY, ("Frontend", None), "requests_per_s")
        await until(pilot, lambda: len(track.points) > 100)
        assert track.points[0][0] == world.NOW - 600
        await pilot.press("5")
        await until(pilot, lambda: "Frontend requests/s" in screen_text(pilot))
        await pilot.press("plus")
        await until(pilot, lambda: "└-1m00s" in screen_text(pilot))
        await pilot.press("minus", "minus", "minus", "minus")
        await until(pilot, lambda: "└-1h" in screen_text(pilot))


async def test_the_replica_page_begins_with_what_is_retained(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, graph="agg_router", size=(160, 40)) as pilot:
        app = pilot.app
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot))
        app.open_replica(KEY, "agg_router-vllmworker-1")
        await until(pilot, lambda: "last 15m" in screen_text(pilot))
        key = ("VllmWorker", "agg_router-vllmworker-1")
        for field in ("cpu_cores", "rss_bytes", "requests_per_s", "latency_p95_s", "queue_depth"):
            track = app.store.rate_track(KEY, key, field)
            await until(pilot, lambda t=track: len(t.points) > 100)
        await until(pilot, lambda: all(w in screen_text(pilot) for w in ("cpu ", "memory", "latency p95", "queued")))
        await pilot.press("minus")
        await until(pilot, lambda: "last 1h" in screen_text(pilot))
        await pilot.press("plus", "plus")
        await until(pilot, lambda: "last 2m00s" in screen_text(pilot))


async def test_a_narrow_replica_page_shows_the_essential_figures_below(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, graph="agg_router", size=(80, 50)) as pilot:
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot))
        pilot.app.open_replica(KEY, "agg_router-vllmworker-1")
        await until(pilot, lambda: all(w in screen_text(pilot) for w in ("last 15m", "cpu ", "queued", "memory")))
