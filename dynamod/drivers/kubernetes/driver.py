"""The Kubernetes driver: a graph as Deployments, which the cluster places, starts and restarts by itself.

The unit is the graph. What is wanted goes to the cluster by server-side apply, where something differs; what is there
comes back by watches, as pictures. Everything of a graph carries its labels: so a daemon that comes back finds it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dynamo.runtime.discovery.store import Store
from dynamod.drivers.base import Picture, Preview, Wanted
from dynamod.drivers.kubernetes.cluster import Applied, Cluster
from dynamod.drivers.kubernetes.comparing import differences, stamped
from dynamod.drivers.kubernetes.following import Following
from dynamod.drivers.kubernetes.manifests import Manifests, check
from dynamod.drivers.kubernetes.naming import SERVICE, label_value
from dynamod.drivers.kubernetes.placing import counted, made_of, names_of_wanted, options_of, settled_place
from dynamod.drivers.kubernetes.pod_logs import PodLogs
from dynamod.drivers.kubernetes.pod_status import verdict
from dynamod.drivers.kubernetes.reaching import Reach
from dynamod.drivers.kubernetes.yaml_text import document
from dynamod.schema.graphs import PlanOperation
from dynamod.schema.locations import Locations
from dynamod.schema.states import OperationKind

ImageOf = Callable[[str], Awaitable[str]]
"""The image that `containerize` makes of a build, by the build's digest."""
_SHOWN = 5
"""Fields of one object that a plan names."""


class KubernetesDriver:
    name = "kubernetes"

    def __init__(self, where: Locations, store: Store, image_of: ImageOf) -> None:
        self._where = where
        self._store = store
        self._image_of = image_of
        self._followed: dict[tuple[str, str], Following] = {}

    async def place(self, wanted: Wanted, before: Mapping[str, Any] | None) -> Wanted:
        """See `GraphDriver`."""
        wanted = replace(wanted, options=settled_place(wanted.options, before, os.environ))
        options = options_of(wanted)
        if not options.image and wanted.build is not None and any(s.image is None for s in wanted.spec.services):
            wanted = replace(wanted, options={**wanted.options, "image": await self._image_of(wanted.build)})
        check(wanted.spec, options)
        wanted = counted(wanted, options)
        made_of(wanted)
        async with self._cluster(wanted) as cluster:
            await cluster.streams.ping()
            there = {"namespace": cluster.namespace} | ({"context": cluster.context} if cluster.context else {})
        return replace(wanted, options={**wanted.options, **there})

    async def preview(self, wanted: Wanted, *, away: bool = False) -> Preview:
        """See `GraphDriver`."""
        made = Manifests(objects=(), notes=()) if away else made_of(wanted)
        async with self._cluster(wanted) as cluster:
            live = await cluster.objects(names_of_wanted(wanted).graph_selector())
        operations = []
        for one in made.objects:
            key = (one["kind"], one["metadata"]["name"])
            service = one["metadata"]["labels"].get(SERVICE, "")
            path = f"{key[0].lower()}/{key[1]}"
            if key not in live:
                operations.append(PlanOperation(kind=OperationKind.CREATE, service=service, cause=f"{path} is new"))
                continue
            fields = list(differences(live[key], stamped(one)))
            if fields:
                more = f" and {len(fields) - _SHOWN} more" if len(fields) > _SHOWN else ""
                cause = f"{path}: {', '.join(fields[:_SHOWN])}{more}"
                operations.append(PlanOperation(kind=OperationKind.APPLY, service=service, cause=cause))
        meant = {(one["kind"], one["metadata"]["name"]) for one in made.objects}
        for key in sorted(live.keys() - meant):
            service = live[key]["metadata"]["labels"].get(SERVICE, "")
            cause = f"{key[0].lower()}/{key[1]}: {'the graph is removed' if away else 'the graph has it no more'}"
            operations.append(PlanOperation(kind=OperationKind.REMOVE, service=service, cause=cause))
        text = "---\n".join(document(one) for one in made.objects)
        return Preview(tuple(operations), tuple(str(note) for note in made.notes), text)

    async def bring(self, wanted: Wanted) -> int:
        """See `GraphDriver`."""
        selector = names_of_wanted(wanted).graph_selector()
        async with self._cluster(wanted) as cluster:
            done: Applied = await cluster.apply(made_of(wanted).objects, selector, force=options_of(wanted).force)
        if (following := self._followed.get((wanted.project, wanted.graph))) is not None:
            following.brought(done.generations)
        return len(done.written) + len(done.pruned)

    async def follow(self, wanted: Callable[[], Wanted], tell: Callable[[Picture], None]) -> None:
        """See `GraphDriver`."""
        now = wanted()
        key = (now.project, now.graph)
        async with self._cluster(now) as cluster:
            logs = PodLogs(cluster.streams, self._where)
            reach = Reach(
                cluster.streams,
                self._where,
                self._store,
                f"{now.project}/{now.graph}",
                options_of(now).reach,
                lambda: following.look_again(),
            )
            following = self._followed[key] = Following(cluster, wanted, tell, logs, reach)
            try:
                await following.run()
            finally:
                del self._followed[key]
                await logs.close()
                await reach.close()

    async def restart(self, wanted: Wanted, service: str | None, replica: str | None) -> None:
        """See `GraphDriver`."""
        selector = names_of_wanted(wanted).graph_selector()
        async with self._cluster(wanted) as cluster:
            if replica is not None:
                await cluster.delete_pod(replica)
                return
            services = wanted.spec.service_names() if service is None else [service]
            at = datetime.now(UTC).isoformat()
            for name in services:
                await cluster.restart({**selector, SERVICE: label_value(name)}, at)

    async def take_away(self, wanted: Wanted) -> bool:
        """See `GraphDriver`. A pod whose container has ended is its node's to clean up, which may take a minute."""
        selector = names_of_wanted(wanted).graph_selector()
        async with self._cluster(wanted) as cluster:
            deleted = await cluster.delete(selector)
            pods = await cluster.pods(selector)
            return not deleted and not any(verdict(pod).state.holds_process for pod in pods)

    async def forget(self, replica_id: str) -> None:
        """See `GraphDriver`."""
        await asyncio.to_thread(shutil.rmtree, self._where.replica_dir(replica_id), ignore_errors=True)

    async def close(self) -> None:
        """See `GraphDriver`. Who follows is cancelled by its owner, and closes what it has opened."""

    @asynccontextmanager
    async def _cluster(self, wanted: Wanted) -> AsyncIterator[Cluster]:
        """Raises Unavailable, Invalid."""
        options = options_of(wanted)
        file = Path(options.kubeconfig) if options.kubeconfig is not None else None
        async with Cluster.connect(file, context=options.context, namespace=options.namespace) as cluster:
            yield cluster
