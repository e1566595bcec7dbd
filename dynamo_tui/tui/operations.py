"""What the dashboard can change: each operation with what it will do, and the command line that does the same."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from dynamo_tui.client import calls
from dynamo_tui.client.contexts import LOCAL
from dynamo_tui.client.exchange import Call
from dynamo_tui.tui import figures
from dynamo_tui.tui.screens.replica_cells import replica_name
from dynamo_tui.tui.store import GraphKey, Store
from dynamod.schema import GraphState, ReplicaState
from dynamod.schema.builds import Build


class NotPossible(Exception):
    """What was asked for cannot be done; the message says why."""


@dataclass(frozen=True)
class Operation:
    """One change. `harmful`: requests or state are lost by it, so that `enter` alone does not confirm it."""

    title: str
    consequences: tuple[str, ...]
    command: str
    call: Call[Any]
    done: str
    harmful: bool = False


class Operations:
    """Makes operations from the picture of the moment."""

    def __init__(self, store: Store, context: str) -> None:
        self.store = store
        self.context = context

    def _command(self, key: GraphKey | None, *words: str) -> str:
        parts = ["dynamoctl", *words]
        if key is not None and key.project != "default":
            parts += ["--project", key.project]
        if self.context != LOCAL:
            parts += ["--context", self.context]
        return shlex.join(parts)

    def _running(self, key: GraphKey, service: str | None = None) -> int:
        return sum(1 for r in self.store.replicas_of(key, service) if r.state.holds_process)

    def _check(self, key: GraphKey) -> None:
        if key not in self.store.graphs:
            raise NotPossible(f"there is no graph {key}")

    def scale(self, key: GraphKey, service: str, replicas: int) -> Operation:
        """Set how many replicas a service has.

        Raises:
            NotPossible: no such graph or service, or a negative number.
        """
        self._check(key)
        graph = self.store.graphs[key]
        status = next((s for s in graph.services if s.name == service), None)
        if status is None:
            names = ", ".join(s.name for s in graph.services)
            raise NotPossible(f"{key} has no service {service!r}; it has {names}")
        if replicas < 0:
            raise NotPossible(f"{replicas} replicas cannot be: name 0 or more")
        change = replicas - status.desired
        if change > 0:
            needs = f", each with {status.gpu:g} GPU" if status.gpu else ""
            effect = f"starts {_replicas(change)} of {service}{needs}"
        elif change < 0:
            effect = f"drains and stops {_replicas(-change)} of {service}; running requests may end first"
        else:
            effect = "changes nothing: that many are wanted already"
        lines = [f"{service}: {status.desired} now, {replicas} then", effect]
        if replicas == 0:
            lines.append("nothing will answer for this service")
        return Operation(
            f"Scale {service} of {key} to {replicas}",
            tuple(lines),
            self._command(key, "scale", key.name, f"{service}={replicas}"),
            calls.scale(key.name, service, replicas, project=key.project, if_match=graph.etag or None),
            f"{service} is being scaled to {replicas}",
            harmful=replicas == 0,
        )

    def restart(self, key: GraphKey, service: str | None = None, replica: str | None = None) -> Operation:
        """Restart a graph, one service of it, or one replica."""
        self._check(key)
        words = ["restart", key.name]
        if replica is not None:
            held = self.store.replica(key, replica)
            what = replica_name(held) if held else replica
            others = 0
            if held is not None:
                others = sum(
                    1
                    for r in self.store.replicas_of(key, held.service)
                    if r.id != replica and r.state is ReplicaState.READY
                )
            effect = (
                f"{_replicas(others)} of its service go on serving meanwhile"
                if others
                else "no other replica of its service is ready: it does not answer meanwhile"
            )
            words += ["--replica", replica]
        elif service is not None:
            what, effect = service, f"restarts {_replicas(self._running(key, service))}"
            words += ["--service", service]
        else:
            what, effect = str(key), f"restarts all {_replicas(self._running(key))}"
        return Operation(
            f"Restart {what}",
            (effect, "running requests may end first, within each service's drain timeout"),
            self._command(key, *words),
            calls.restart(key.name, service=service, replica=replica, project=key.project),
            f"{what} is being restarted",
        )

    def stop(self, key: GraphKey) -> Operation:
        self._check(key)
        return Operation(
            f"Stop {key}",
            (
                f"drains and stops all {_replicas(self._running(key))}; nothing answers until it is started again",
                "the graph, its revisions and its logs stay",
            ),
            self._command(key, "stop", key.name),
            calls.stop(key.name, project=key.project),
            f"{key} is being stopped",
            harmful=True,
        )

    def start(self, key: GraphKey) -> Operation:
        self._check(key)
        graph = self.store.graphs[key]
        return Operation(
            f"Start {key}",
            (f"starts revision {graph.revision} with {_replicas(sum(s.desired for s in graph.services))}",),
            self._command(key, "start", key.name),
            calls.start(key.name, project=key.project),
            f"{key} is being started",
        )

    def stop_or_start(self, key: GraphKey) -> Operation:
        self._check(key)
        stopped = self.store.graphs[key].state in (GraphState.STOPPED, GraphState.STOPPING)
        return self.start(key) if stopped else self.stop(key)

    def remove(self, key: GraphKey) -> Operation:
        self._check(key)
        return Operation(
            f"Remove {key}",
            (
                f"stops all {_replicas(self._running(key))} and forgets the graph",
                "its revisions cannot be rolled back to any more",
            ),
            self._command(key, "rm", key.name),
            calls.remove(key.name, project=key.project),
            f"{key} is being removed",
            harmful=True,
        )

    def rollback(self, key: GraphKey, to: int | None = None) -> Operation:
        self._check(key)
        graph = self.store.graphs[key]
        target = f"revision {to}" if to is not None else "the revision before it"
        words = ["rollback", key.name, *(("--to", str(to)) if to is not None else ())]
        return Operation(
            f"Roll back {key}",
            (f"revision {graph.revision} runs now; {target} becomes current and is rolled out",),
            self._command(key, *words),
            calls.rollback(key.name, to=to, project=key.project),
            f"{key} is being rolled back",
        )

    def remove_build(self, build: Build) -> Operation:
        """Forget a build's tag.

        Raises:
            NotPossible: a graph needs it.
        """
        if build.used_by:
            raise NotPossible(f"{build.tag} is used by {', '.join(build.used_by)}")
        return Operation(
            f"Remove the build {build.tag}",
            (
                f"forgets the tag, and its archive of {figures.memory(build.size)} unless another tag names it",
                "it cannot be submitted any more",
            ),
            self._command(None, "builds", "rm", build.tag),
            calls.remove_build(build.tag),
            f"{build.tag} is removed",
            harmful=True,
        )


def _replicas(number: int) -> str:
    return "1 replica" if number == 1 else f"{number} replicas"
