"""Waiting until a graph has come to a state, with progress as it goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Protocol

from dynamo_tui.cli.exits import GraphFailed, WaitTimeout
from dynamo_tui.cli.session import Session, interactive, say
from dynamo_tui.client import calls, streams
from dynamo_tui.client.errors import NotFound, StreamLost, Unreachable
from dynamo_tui.client.sync import Client
from dynamod.schema.graphs import Graph, Replica
from dynamod.schema.states import GraphState, ReplicaState

Goal = Literal["ready", "stopped", "removed"]

_RETRY_S = 0.3


class Progress(Protocol):
    """Who is told what happens while we wait."""

    def graph(self, graph: Graph, replicas: list[Replica]) -> None: ...


def wait_for(
    client: Client,
    name: str,
    goal: Goal,
    *,
    project: str,
    timeout: float,
    progress: Progress | None = None,
    revision: int | None = None,
) -> Graph | None:
    """Wait until the graph has reached the goal, and return it as it is then (None once removed).

    `revision`: do not take an earlier revision's state for an answer. A daemon that goes away meanwhile is
    waited for as well: the wait is for the graph.

    Raises:
        GraphFailed: it cannot reach the goal.
        WaitTimeout: not within `timeout` seconds.
        NotFound: there is no such graph (and the goal is not `removed`).
    """
    deadline = time.monotonic() + timeout
    last: Graph | None = None
    replicas: list[Replica] = []
    for _ in _changes(client, name, project, deadline):
        try:
            last = client.send(calls.graph(name, project=project))
            replicas = client.send(calls.replicas(graph=name, project=project)).items
        except NotFound:
            if goal == "removed":
                return None
            raise
        if progress is not None:
            progress.graph(last, replicas)
        if _reached(last, goal, revision):
            return last
        if goal == "ready":
            _fail_early(last, replicas)
    state = f"it is {last.state.value} ({last.reason.value})" if last else "the daemon did not answer"
    raise WaitTimeout(
        f"graph {name!r} is not {goal} after {timeout:g} s: {state}", remedy=_where_to_look(name, replicas)
    )


def settle(session: Session, graph: Graph, goal: Goal, timeout: float) -> Graph:
    """Wait, with progress shown, until this revision of the graph has reached the goal."""
    with shown_progress() as progress:
        reached = wait_for(
            session.client,
            graph.name,
            goal,
            project=graph.project,
            timeout=timeout,
            progress=progress,
            revision=graph.revision,
        )
    return reached or graph


def _reached(graph: Graph, goal: Goal, revision: int | None) -> bool:
    if revision is not None and graph.revision < revision:
        return False
    if goal == "ready":
        # a graph that was just scaled says it is ready until the engine's next turn: its counts do not
        return graph.state is GraphState.READY and all(s.ready >= s.desired for s in graph.services)
    return goal == "stopped" and graph.state is GraphState.STOPPED


def _fail_early(graph: Graph, replicas: list[Replica]) -> None:
    if graph.state is not GraphState.FAILED:
        return
    said = f"{graph.reason.value}: {graph.message}" if graph.message else graph.reason.value
    raise GraphFailed(f"graph {graph.name!r} failed: {said}", remedy=_where_to_look(graph.name, replicas))


def _where_to_look(graph: str, replicas: list[Replica]) -> str:
    """The command that explains most: about a replica that failed, or fails again and again, or the whole graph."""
    broken = [r for r in replicas if r.state is ReplicaState.FAILED or r.last_exit is not None]
    return f"look: `dynamoctl why {broken[0].id}`" if broken else f"look: `dynamoctl describe {graph}`"


def _changes(client: Client, name: str, project: str, deadline: float) -> Iterator[None]:
    """Once at the start, and again after every event of the graph, until the deadline."""
    while time.monotonic() < deadline:
        try:
            after = client.send(calls.info()).last_seq
            call = streams.events(after=after, project=project, graph=name)
            with client.stream(call, deadline=deadline) as events:
                yield
                for _ in events:
                    yield
        except (StreamLost, Unreachable):
            time.sleep(min(_RETRY_S, max(0.0, deadline - time.monotonic())))


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """Progress on stderr: a live list on a terminal, a line for each change in a pipe."""
    if interactive():
        from dynamo_tui.cli.live import LiveProgress

        with LiveProgress() as live:
            yield live
    else:
        yield LineProgress()


class LineProgress:
    """A plain line whenever a service's line changes."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def graph(self, graph: Graph, replicas: list[Replica]) -> None:
        for line in service_lines(graph, replicas):
            if line not in self._said:
                self._said.add(line)
                say(line)


def service_lines(graph: Graph, replicas: list[Replica]) -> list[str]:
    """One line a service: how many replicas are ready, and what the others do."""
    lines = []
    for service in graph.services:
        others = [r for r in replicas if r.service == service.name and r.state is not ReplicaState.READY]
        doing = "; ".join(sorted({_doing(r) for r in others if not r.state.is_terminal or r.message}))
        text = f"{service.name}: {service.ready}/{service.desired} ready"
        lines.append(f"{text}; {doing}" if doing else text)
    return lines


def _doing(replica: Replica) -> str:
    detail = replica.progress or replica.message
    text = f"{replica.state.value} ({replica.reason.value})"
    return f"{text} {detail}" if detail else text
