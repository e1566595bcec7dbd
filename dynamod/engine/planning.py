"""Plans: what a submission would do, kept until it is applied; a plan made from another state is refused."""

from __future__ import annotations

import hashlib
import secrets

import msgspec
from msgspec.structs import replace
from sqlalchemy import delete

from dynamod.core.errors import NotFound, StalePlan
from dynamod.core.preview import preview
from dynamod.core.records import Goal, GraphRecord
from dynamod.core.revisions import changes
from dynamod.core.steps import World
from dynamod.engine.commands import Commands
from dynamod.engine.submission import Submission, check, kept_scale, new_graph, revision_of
from dynamod.schema.graphs import Graph, GraphSubmit, Plan
from dynamod.store import tables
from dynamod.store.changes import Transaction
from dynamod.store.queries import plan_row

PLANS_KEPT = 24 * 3600.0
"""Seconds after which a plan is forgotten; it would be stale by then anyway."""


class Planning(Commands):
    async def plan(self, request: GraphSubmit, *, actor: str) -> Plan:
        """What submitting this would do: the difference, and each operation with its cause. Changes nothing.

        Raises:
            Invalid, GpuShortage, Conflict: what submitting it would raise.
        """
        self._open_for_change()
        async with self._resolved(request, actor) as submission:
            plan = await self._plan(submission)
        await self._keep(plan, request)
        return plan

    async def _plan(self, request: Submission) -> Plan:
        core = self._open_for_change()
        name = check(request)
        await self._check_driver(request)
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
            await self._check_gpus(graph.id, revision, scale)
            revisions[number] = revision
            graph = replace(graph, revision=number, scale=scale)
        world = World(
            graph=replace(graph, goal=Goal.RUN),
            revisions=revisions,
            replicas=core.memory.of_graph(graph.id),
            devices=core.gpus.devices,
            claims=core.gpus.claimed(),
            allocate_gpus=core.options.allocate_gpus,
        )
        operations, strategy, notes = preview(world, core.now())
        return Plan(
            id=f"p-{secrets.token_hex(6)}",
            graph=name,
            project=request.project,
            basis=self._basis(known),
            changes=[] if same else changes(before, revision),
            operations=operations,
            notes=notes,
            strategy=strategy,
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
        graph, _ = await self.submit(request, actor=actor)
        return graph

    def _basis(self, graph: GraphRecord | None) -> str:
        """A fingerprint of what a plan depends on; that a replica comes and goes does not make a plan stale."""
        if graph is None:
            return "absent"
        replicas = sorted((r.id, r.revision, r.gpus) for r in self.core.memory.of_graph(graph.id))
        parts = [graph.id, graph.goal, graph.revision, graph.scale, replicas]
        return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()[:32]

    async def _keep(self, plan: Plan, request: GraphSubmit) -> None:
        core = self.core
        transaction = Transaction()
        transaction.delete_where(delete(tables.plans).where(tables.plans.c.created_at < core.now() - PLANS_KEPT))
        row = {
            "id": plan.id,
            "project": plan.project,
            "graph": plan.graph,
            "body": msgspec.to_builtins(plan),
            "request": msgspec.to_builtins(request),
            "created_at": core.now(),
        }
        transaction.put_row(tables.plans, row)
        await core.store.commit(transaction, core.feed.publish)

    async def _kept(self, plan_id: str) -> tuple[Plan, GraphSubmit]:
        row = await self.core.store.read(lambda connection: plan_row(connection, plan_id))
        if row is None:
            raise NotFound("plan", plan_id, remedy="make a new one")
        return msgspec.convert(row["body"], Plan), msgspec.convert(row["request"], GraphSubmit)
