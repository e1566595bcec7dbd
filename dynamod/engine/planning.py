"""Plans: what a submission or a change would do, kept until it is applied; made from another state, it is refused."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace
from sqlalchemy import delete

from dynamod.core.changing import foretell
from dynamod.core.errors import NotFound, StalePlan
from dynamod.core.preview import preview
from dynamod.core.records import Goal, GraphRecord, RevisionRecord
from dynamod.core.revisions import changes
from dynamod.core.steps import World
from dynamod.drivers.base import Preview
from dynamod.engine.commands import Commands
from dynamod.engine.delegated import wanted_of
from dynamod.engine.submission import Submission, check, kept_scale, new_graph, revision_of
from dynamod.schema.graphs import (
    DrainRequest,
    Graph,
    GraphChange,
    GraphSubmit,
    Plan,
    PlanOperation,
    RestartRequest,
    RollbackRequest,
    StopRequest,
    Strategy,
)
from dynamod.schema.states import OperationKind
from dynamod.store import tables
from dynamod.store.changes import Transaction
from dynamod.store.queries import plan_row

PLANS_KEPT = 24 * 3600.0
"""Seconds after which a plan is forgotten; it would be stale by then anyway."""
_MAY_NEED_GPUS = ("scale", "start", "rollback")
_STRATEGIES: dict[str, Strategy] = {
    "restart": "restart",
    "drain": "drain",
    "start": "start",
    "stop": "stop",
    "remove": "stop",
}


class Planning(Commands):
    async def plan(self, request: GraphSubmit, *, actor: str) -> Plan:
        """What submitting this would do: the difference, and each operation with its cause. Changes nothing.

        Raises:
            Invalid, GpuShortage, Conflict: what submitting it would raise.
        """
        self._open_for_change()
        async with self._resolved(request, actor) as submission:
            plan = await self._plan(submission)
        await self._keep(plan, msgspec.to_builtins(request))
        return plan

    async def _plan(self, request: Submission) -> Plan:
        core = self._open_for_change()
        name = check(request)
        request = await self._placed(request, name)
        known = core.memory.find(request.project, name)
        graph = known or new_graph(request, name, core.now())
        self._check_revisable(graph, request)
        revisions = dict(core.memory.revisions.get(graph.id, {}))
        before = revisions.get(graph.revision)
        number = max(revisions, default=0) + 1
        revision = revision_of(request, graph.id, number, "planned", core.now())
        same = before is not None and before.digest == revision.digest
        if not same:
            scale = kept_scale(graph, before, revision)
            await self._check_gpus(graph, revision, scale)
            revisions[number] = revision
            graph = replace(graph, revision=number, scale=scale)
        wanted = replace(graph, goal=Goal.RUN)
        told: Preview | None = None
        strategy: Strategy
        if graph.driver in core.graph_drivers:
            told = await self._told(wanted, revisions[graph.revision])
            operations, strategy, notes = (
                list(told.operations),
                "apply" if told.operations else "none",
                list(told.notes),
            )
        else:
            operations, strategy, notes = preview(self._world(wanted, revisions), core.now())
        return Plan(
            id=_plan_id(),
            graph=name,
            project=request.project,
            basis=self._basis(known),
            changes=[] if same else changes(before, revision),
            operations=operations,
            notes=notes,
            strategy=strategy,
            manifests=told.text if told is not None else "",
        )

    async def plan_change(self, change: GraphChange) -> Plan:
        """What a change of a graph that is there would do. Changes nothing.

        Raises:
            NotFound, Invalid, GpuShortage, Conflict: what making the change would raise.
        """
        core = self._open_for_change()
        graph = core.memory.graph(change.project, change.graph)
        told = foretell(self._world(graph, core.memory.revisions[graph.id]), change, core.now())
        after = told.world
        if change.action in _MAY_NEED_GPUS:
            await self._check_gpus(graph, after.target, after.graph.scale)
        strategy: Strategy
        if graph.driver in core.graph_drivers:
            there = await self._told(after.graph, after.target)
            operations, strategy, notes = (
                [*there.operations, *_replacements(change, after.target)],
                "apply",
                list(there.notes),
            )
        else:
            operations, strategy, notes = preview(after, core.now(), told.first)
        plan = Plan(
            id=_plan_id(),
            graph=graph.name,
            project=graph.project,
            basis=self._basis(graph),
            changes=list(told.changes),
            operations=operations,
            notes=[*told.notes, *notes],
            strategy=_STRATEGIES.get(change.action, strategy) if operations else "none",
        )
        await self._keep(plan, {"change": msgspec.to_builtins(change)})
        return plan

    async def _told(self, graph: GraphRecord, revision: RevisionRecord) -> Preview:
        """What a backend that schedules by itself would be told."""
        driver = self.core.graph_drivers[graph.driver]
        return await driver.preview(wanted_of(graph, revision), away=graph.goal is Goal.REMOVE)

    def _world(self, graph: GraphRecord, revisions: Mapping[int, RevisionRecord]) -> World:
        core = self.core
        return World(
            graph=graph,
            revisions=revisions,
            replicas=core.memory.of_graph(graph.id),
            devices=core.gpus.devices,
            claims=core.gpus.claimed(),
            allocate_gpus=core.options.allocate_gpus,
        )

    async def kept_plan(self, plan_id: str) -> Plan:
        """Raises NotFound."""
        return (await self._kept(plan_id))[0]

    async def apply(self, plan_id: str, *, actor: str) -> Graph:
        """Carry out a plan.

        Raises:
            NotFound: there is no such plan (any more).
            StalePlan: the graph has changed since the plan was made.
        """
        plan, request = await self._kept(plan_id)
        if self._basis(self.core.memory.find(plan.project, plan.graph)) != plan.basis:
            raise StalePlan(plan_id, plan.graph)
        if isinstance(request, GraphChange):
            return await self._change(request, actor)
        graph, _ = await self.submit(request, actor=actor)
        return graph

    async def _change(self, change: GraphChange, actor: str) -> Graph:
        """Make the change that a plan was made of: what it needs was checked when it was planned."""
        project, graph = change.project, change.graph
        match change.action:
            case "scale":
                return await self.scale(project, graph, change.service or "", change.replicas or 0, actor=actor)
            case "restart":
                restart = RestartRequest(service=change.service, replica=change.replica)
                return await self.restart(project, graph, restart, actor=actor)
            case "drain":
                drain = DrainRequest(service=change.service, replica=change.replica, timeout=change.timeout)
                return await self.drain(project, graph, drain, actor=actor)
            case "rollback":
                return await self.rollback(project, graph, RollbackRequest(to=change.to), actor=actor)
            case "stop":
                return await self.stop_graph(project, graph, StopRequest(timeout=change.timeout), actor=actor)
            case "start":
                return await self.start_graph(project, graph, actor=actor)
            case "remove":
                shown = self._view(self.core.memory.graph(project, graph))
                await self.remove(project, graph, actor=actor)
                return shown
        return self._view(self.core.memory.graph(project, graph))

    def _basis(self, graph: GraphRecord | None) -> str:
        """A fingerprint of what a plan depends on; that a replica comes and goes does not make a plan stale."""
        if graph is None:
            return "absent"
        replicas = sorted((r.id, r.revision, r.gpus) for r in self.core.memory.of_graph(graph.id))
        parts = [graph.id, graph.goal, graph.revision, graph.scale, replicas]
        return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()[:32]

    async def _keep(self, plan: Plan, request: dict[str, Any]) -> None:
        core = self.core
        transaction = Transaction()
        transaction.delete_where(delete(tables.plans).where(tables.plans.c.created_at < core.now() - PLANS_KEPT))
        row = {
            "id": plan.id,
            "project": plan.project,
            "graph": plan.graph,
            "body": msgspec.to_builtins(plan),
            "request": request,
            "created_at": core.now(),
        }
        transaction.put_row(tables.plans, row)
        await core.store.commit(transaction, core.feed.publish)

    async def _kept(self, plan_id: str) -> tuple[Plan, GraphSubmit | GraphChange]:
        row = await self.core.store.read(lambda connection: plan_row(connection, plan_id))
        if row is None:
            raise NotFound("plan", plan_id, remedy="make a new one")
        asked: dict[str, Any] = row["request"]
        request: GraphSubmit | GraphChange = (
            msgspec.convert(asked["change"], GraphChange) if "change" in asked else msgspec.convert(asked, GraphSubmit)
        )
        return msgspec.convert(row["body"], Plan), request


def _replacements(change: GraphChange, target: RevisionRecord) -> Iterator[PlanOperation]:
    """What a restart or a drain means to a backend that replaces replicas by itself."""
    if change.action not in ("restart", "drain"):
        return
    for name in target.spec.service_names():
        if change.replica is None and change.service in (None, name):
            yield PlanOperation(kind=OperationKind.DRAIN, service=name, cause="its replicas are replaced by fresh ones")
    if change.replica is not None:
        cause = "it is replaced by a fresh one"
        yield PlanOperation(kind=OperationKind.DRAIN, service="", replica=change.replica, cause=cause)


def _plan_id() -> str:
    return f"p-{secrets.token_hex(6)}"
