"""What a daemon retains, asked for: all pages of a list, and `ServiceRates` fields over a stretch of the past."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

from dynamo_tui.client import calls
from dynamo_tui.client.exchange import Call
from dynamo_tui.tui.history import Point
from dynamo_tui.tui.rate_history import NAMES, past_rates
from dynamo_tui.tui.source import Source
from dynamo_tui.tui.store import GraphKey, RateKey
from dynamod.schema import Page, Series

T = TypeVar("T")


async def all_pages(client: Source, page: Callable[[str | None], Call[Page[T]]]) -> list[T]:
    """The items of every page; `page` makes the call for one, given the cursor of the one before."""
    items: list[T] = []
    after: str | None = None
    while True:
        answer = await client.send(page(after))
        items += answer.items
        after = answer.next
        if after is None:
            return items


async def retained_rates(
    client: Source,
    key: GraphKey,
    since: float,
    until: float,
    step: float,
    *,
    by: Literal["replica", "service"] = "service",
    replica: str | None = None,
) -> dict[tuple[RateKey, str], list[Point]]:
    """Points of each figure: of every service or every replica, or of one `replica` alone. Times in seconds.

    Raises:
        ClientError: the daemon is away, or does not know the graph.
    """
    names = await client.send(calls.metric_names(key.name, project=key.project))
    series: list[Series] = []
    for name in NAMES.intersection(names):
        call = calls.metrics(
            key.name,
            name,
            replica=replica,
            since=since,
            until=until,
            step=step,
            by=by if replica is None else "replica",
            project=key.project,
        )
        found = await client.send(call)
        series += found
    return past_rates(series)
