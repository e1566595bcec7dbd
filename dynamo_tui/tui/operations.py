"""What the dashboard can change: each operation with the command line that does the same.

What a change of a graph will do is not said here: the daemon plans it, and the plan is what is shown and applied.
"""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dynamo_tui.client import calls
from dynamo_tui.client.contexts import LOCAL
from dynamo_tui.client.exchange import Call
from dynamo_tui.tui import figures
from dynamo_tui.tui.screens.replica_cells import replica_name
from dynamo_tui.tui.source import Source
from dynamo_tui.tui.store import GraphKey, Store
from dynamod.schema import GraphChange, GraphState, Plan
from dynamod.schema.builds import Build
from dynamod.schema.graphs import MAX_REPLICAS, ChangeAction


class NotPossible(Exception):
    """What was asked for cannot be done; the message says why."""


@dataclass(frozen=True)
class Operation:
    """One change. `plan` asks the daemon what it would do, and what it answers is applied. `call` and `job` are for
    changes that are not planned, which say themselves what they do: a request, or the words of a `dynamoctl` line that
    takes a while. `harmful`: requests or state are lost by it, so that `enter` alone does not confirm it.
    """

    title: str
    command: str
    done: str
    plan: Callable[[Source], Awaitable[Plan]] | None = None
    call: Call[Any] | None = None
    job: tuple[str, ...] = ()
    consequences: tuple[str, ...] = ()
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

    def _check(self, key: GraphKey, service: str | None = None) -> None:
        graph = self.store.graphs.get(key)
        if graph is None:
            raise NotPossible(f"there is no graph {key}")
        if service is not None and service not in {s.name for s in graph.services}:
            names = ", ".join(s.name for s in graph.services)
            raise NotPossible(f"{key} has no service {service!r}; it has {names}")

    def _change(
        self,
        key: GraphKey,
        action: ChangeAction,
        title: str,
        words: list[str],
        done: str,
        *,
        harmful: bool = False,
        **fields: Any,
    ) -> Operation:
        change = GraphChange(graph=key.name, project=key.project, action=action, **fields)
        return Operation(
            title,
            self._command(key, *words),
            done,
            plan=lambda source: source.send(calls.plan_change(change)),
            harmful=harmful,
        )

    def scale(self, key: GraphKey, service: str, replicas: int) -> Operation:
        """Set how many replicas a service has.

        Raises:
            NotPossible: no such graph or service, or no number of replicas.
        """
        self._check(key, service)
        if not 0 <= replicas <= MAX_REPLICAS:
            raise NotPossible(f"{replicas} replicas cannot be: name 0 to {MAX_REPLICAS}")
        return self._change(
            key,
            "scale",
            f"Scale {service} of {key} to {replicas}",
            ["scale", key.name, f"{service}={replicas}"],
            f"{service} is being scaled to {replicas}",
            harmful=replicas == 0,
            service=service,
            replicas=replicas,
        )

    def restart(self, key: GraphKey, service: str | None = None, replica: str | None = None) -> Operation:
        """Restart a graph, one service of it, or one replica."""
        what, words, fields = self._part(key, service, replica)
        return self._change(
            key, "restart", f"Restart {what}", ["restart", key.name, *words], f"{what} is being restarted", **fields
        )

    def drain(self, key: GraphKey, service: str | None = None, replica: str | None = None) -> Operation:
        """Let a replica, or all of a service, finish and be replaced.

        Raises:
            NotPossible: neither is named, or it is not there.
        """
        if service is None and replica is None:
            raise NotPossible("drain a service or a replica: put the cursor on one, or name it")
        what, words, fields = self._part(key, service, replica)
        return self._change(
            key, "drain", f"Drain {what}", ["drain", key.name, *words], f"{what} is being drained", **fields
        )

    def _part(self, key: GraphKey, service: str | None, replica: str | None) -> tuple[str, list[str], dict[str, Any]]:
        """What it is called, how the command line names it, and how the request does."""
        if replica is not None:
            self._check(key)
            held = self.store.replica(key, replica)
            return replica_name(held) if held else replica, ["--replica", replica], {"replica": replica}
        self._check(key, service)
        if service is not None:
            return service, ["--service", service], {"service": service}
        return str(key), [], {}

    def stop(self, key: GraphKey) -> Operation:
        self._check(key)
        return self._change(key, "stop", f"Stop {key}", ["stop", key.name], f"{key} is being stopped", harmful=True)

    def start(self, key: GraphKey) -> Operation:
        self._check(key)
        return self._change(key, "start", f"Start {key}", ["start", key.name], f"{key} is being started")

    def stop_or_start(self, key: GraphKey) -> Operation:
        self._check(key)
        stopped = self.store.graphs[key].state in (GraphState.STOPPED, GraphState.STOPPING)
        return self.start(key) if stopped else self.stop(key)

    def remove(self, key: GraphKey) -> Operation:
        self._check(key)
        return self._change(key, "remove", f"Remove {key}", ["rm", key.name], f"{key} is being removed", harmful=True)

    def rollback(self, key: GraphKey, to: int | None = None) -> Operation:
        self._check(key)
        words = ["rollback", key.name, *(("--to", str(to)) if to is not None else ())]
        return self._change(key, "rollback", f"Roll back {key}", words, f"{key} is being rolled back", to=to)

    def settle(self, key: GraphKey) -> Operation:
        """Nothing new: what the daemon has yet to do for a graph as it is wanted."""
        self._check(key)
        words = ["rollout", "status", key.name]
        return self._change(key, "settle", f"What is to be done for {key}", words, f"{key} goes on")

    def build(self, words: Sequence[str]) -> Operation:
        """Make a build of a graph.

        Raises:
            NotPossible: no target is named.
        """
        target = _first(words, "build")
        return self._job(
            f"Build {target}",
            ("build", *words),
            "imports the graph in its own interpreter, locks its packages and packs its sources",
            "the daemon keeps the archive",
        )

    def deploy(self, words: Sequence[str]) -> Operation:
        """Build a graph, unless a build is named, and run it: here, in containers, or on a cluster."""
        target = _first(words, "deploy")
        return self._job(
            f"Deploy {target}",
            ("deploy", *words),
            f"builds {target}, unless it is a build, and hands it to the daemon, which rolls it out",
            "waits until it is ready; to cancel ends the waiting, not the roll-out",
        )

    def containerize(self, words: Sequence[str]) -> Operation:
        """Make a container image of a build."""
        build = _first(words, "containerize")
        return self._job(
            f"Make an image of {build}",
            ("containerize", *words),
            "makes it with this machine's Docker engine",
        )

    def _job(self, title: str, words: tuple[str, ...], *consequences: str) -> Operation:
        return Operation(title, self._command(None, *words), f"{title}: started", job=words, consequences=consequences)

    def remove_build(self, build: Build) -> Operation:
        """Forget a build's tag.

        Raises:
            NotPossible: a graph needs it.
        """
        if build.used_by:
            raise NotPossible(f"{build.tag} is used by {', '.join(build.used_by)}")
        return Operation(
            f"Remove the build {build.tag}",
            self._command(None, "builds", "rm", build.tag),
            f"{build.tag} is removed",
            call=calls.remove_build(build.tag),
            consequences=(
                f"forgets the tag, and its archive of {figures.memory(build.size)} unless another tag names it",
                "it cannot be submitted any more",
            ),
            harmful=True,
        )


def _first(words: Sequence[str], command: str) -> str:
    """The target, or the build, which is the first word."""
    if not words or words[0].startswith("-"):
        raise NotPossible(f"name what: :{command} TARGET [OPTIONS]")
    return words[0]
