"""A cluster's API, as far as graphs need it: apply, look, follow, delete.

lightkube is imported when a cluster is first reached, and its errors end here: callers see those of `errors`.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from dynamod.core.errors import Invalid, Unavailable
from dynamod.drivers.kubernetes.comparing import holds, stamped
from dynamod.drivers.kubernetes.errors import ClusterRefused, FieldConflict, one_error, translated
from dynamod.drivers.kubernetes.naming import FIELD_MANAGER, GRAPH, PROJECT
from dynamod.drivers.kubernetes.pod_streams import PodStreams
from dynamod.drivers.kubernetes.workloads import Object

if TYPE_CHECKING:
    import httpx2
    from lightkube import AsyncClient
    from lightkube.config.kubeconfig import SingleConfig

REQUEST_TIMEOUT_S = 30.0
WATCH_S = 300
"""The server ends a watch after so many seconds; it is then resumed where it was."""
GONE = 410
RESTARTER = "dynamod-restart"
"""Who owns the mark of a restart that was asked for: not our field manager, whose next apply would take it away."""
RESTARTED_AT = "ai.dynamo.restarted-at"
_PLURALS = {
    ("v1", "ServiceAccount"): "serviceaccounts",
    ("v1", "ConfigMap"): "configmaps",
    ("v1", "Service"): "services",
    ("apps/v1", "Deployment"): "deployments",
    ("apps/v1", "StatefulSet"): "statefulsets",
    ("policy/v1", "PodDisruptionBudget"): "poddisruptionbudgets",
    ("autoscaling/v2", "HorizontalPodAutoscaler"): "horizontalpodautoscalers",
    ("networking.k8s.io/v1", "Ingress"): "ingresses",
}
"""Every kind that a graph may have, in the order in which they are applied."""
_WATCHED = {"Pod": "pods", "Event": "events"}
"""What is looked at besides, and never written."""
Key = tuple[str, str]
"""Kind and name."""


@dataclass(frozen=True)
class Applied:
    """What was written, what needed nothing, and what was deleted because the graph has it no more; `kind/name` each.

    `generations` are those of what is there now: while an object has its own, nobody has changed it since.
    """

    written: tuple[str, ...]
    unchanged: tuple[str, ...]
    pruned: tuple[str, ...]
    generations: Mapping[Key, int]


class Cluster:
    """One cluster and one namespace of it. Use `connect`."""

    def __init__(self, client: AsyncClient, streams: PodStreams, *, context: str | None) -> None:
        self._client = client
        self.streams = streams
        self.server = streams.server
        self.namespace = streams.namespace
        self.context = context

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, kubeconfig: Path | None = None, *, context: str | None = None, namespace: str | None = None
    ) -> AsyncIterator[Cluster]:
        """From a kubeconfig file, else `KUBECONFIG`, `~/.kube/config` or the pod that we run in.

        Raises:
            Unavailable: the client library is not installed.
            Invalid: there is no such file or context.
        """
        try:
            await asyncio.to_thread(importlib.import_module, "lightkube")  # a third of a second, the first time
        except ImportError:
            raise Unavailable("the Kubernetes client is not installed", remedy="install dynamod[kubernetes]") from None
        import httpx2
        from lightkube import AsyncClient, KubeConfig
        from lightkube.config import client_adapter
        from lightkube.core.exceptions import ConfigError

        try:
            config = KubeConfig.from_file(str(kubeconfig)) if kubeconfig else KubeConfig.from_env()
            chosen = config.get(context_name=context)
            if chosen is None:
                raise KeyError(f"it has no context {context or 'that is current'}")
            timeout = httpx2.Timeout(REQUEST_TIMEOUT_S)
            client = AsyncClient(
                config=chosen,
                namespace=namespace,
                timeout=timeout,
                transport=_transport(chosen),
                field_manager=FIELD_MANAGER,
            )
            raw = httpx2.AsyncClient(
                base_url=chosen.cluster.server,
                auth=client_adapter.user_auth(chosen.user),
                timeout=timeout,
                transport=_transport(chosen),
            )
        except (ConfigError, OSError, KeyError, ValueError) as error:
            raise Invalid(f"{kubeconfig or 'the kubeconfig'} cannot be used: {error}", field="kubeconfig") from None
        try:
            streams = PodStreams(raw, server=chosen.cluster.server, namespace=client.namespace)
            yield cls(client, streams, context=chosen.context_name)
        finally:
            await client.close()
            await raw.aclose()

    # -- change

    async def apply(self, objects: Sequence[Object], selector: Mapping[str, str], *, force: bool = False) -> Applied:
        """Server-side apply, as our field manager, of what is not there yet as wanted; then delete what is no more.

        `selector` are the labels of the graph. Objects on which nothing would change are only read.

        Raises:
            FieldConflict: somebody else manages a field, or the object belongs to another graph. Without `force`
                nothing after it is sent.
            AccessForbidden, ClusterRefused, ClusterUnreachable: as they say.
        """
        live = await self.objects(selector)
        written: list[str] = []
        unchanged: list[str] = []
        generations: dict[Key, int] = {}
        for one in objects:
            wanted = stamped(one)
            key = (one["kind"], one["metadata"]["name"])
            there = live.get(key)
            if there is None:
                await self._refuse_foreign(wanted, selector)
            if there is not None and holds(there, wanted):
                now = there
            else:
                with self._errors(_path(key)):
                    resource = _resource(one["apiVersion"], one["kind"])
                    now = await self._client.apply(resource(wanted), force=force)
            # Whoever changes what we send on its way (a webhook) makes it the same as before: nothing is written.
            same = there is not None and _version(there) == _version(now)
            (unchanged if same else written).append(_path(key))
            generations[key] = now["metadata"].get("generation", 0)
        gone = live.keys() - {(one["kind"], one["metadata"]["name"]) for one in objects}
        pruned = await self._delete({k: live[k] for k in gone})
        return Applied(tuple(written), tuple(unchanged), tuple(pruned), generations)

    async def delete(self, selector: Mapping[str, str]) -> list[str]:
        """Delete everything that carries the graph's labels, volumes' claims excepted; what was deleted.

        Raises:
            AccessForbidden, ClusterRefused, ClusterUnreachable: as they say.
        """
        return await self._delete(await self.objects(selector))

    async def restart(self, selector: Mapping[str, str], at: str) -> list[str]:
        """Have the workloads with these labels replace their pods, as their strategy says; which those are.

        Raises:
            AccessForbidden, ClusterRefused, ClusterUnreachable: as they say.
        """
        from lightkube.types import PatchType

        workloads = await self.objects(selector, kinds=("Deployment", "StatefulSet"))
        mark = {"spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: at}}}}}
        for key, one in workloads.items():
            with self._errors(_path(key)):
                await self._client.patch(
                    _resource(one["apiVersion"], key[0]),
                    key[1],
                    mark,
                    namespace=self.namespace,
                    patch_type=PatchType.MERGE,
                    field_manager=RESTARTER,
                )
        return [_path(key) for key in workloads]

    async def delete_pod(self, name: str) -> None:
        """Its workload makes another. One that is gone already is fine."""
        with self._errors(f"pod/{name}", missing_is_fine=True):
            await self._client.delete(_resource("v1", "Pod"), name, namespace=self.namespace)

    async def _delete(self, found: Mapping[Key, Object]) -> list[str]:
        from lightkube.types import CascadeType

        kinds = [kind for _, kind in _PLURALS]
        deleted = []
        for key in sorted(found, key=lambda k: (-kinds.index(k[0]), k[1])):
            with self._errors(_path(key), missing_is_fine=True):
                resource = _resource(found[key]["apiVersion"], key[0])
                await self._client.delete(resource, key[1], namespace=self.namespace, cascade=CascadeType.BACKGROUND)
            deleted.append(_path(key))
        return deleted

    async def _refuse_foreign(self, wanted: Object, selector: Mapping[str, str]) -> None:
        """Two graphs of ours share a field manager: the server would not keep them apart."""
        path = _path((wanted["kind"], wanted["metadata"]["name"]))
        there = None
        with self._errors(path, missing_is_fine=True):
            resource = _resource(wanted["apiVersion"], wanted["kind"])
            there = await self._client.get(resource, wanted["metadata"]["name"], namespace=self.namespace)
        if there is None:
            return
        labels = there["metadata"].get("labels", {})
        if GRAPH in labels and any(labels.get(name) != value for name, value in selector.items()):
            owner = f"{labels.get(PROJECT, '')}/{labels[GRAPH]}"
            raise FieldConflict(path, f"it belongs to the graph {owner}; give this one another name or namespace")

    # -- look

    async def objects(self, selector: Mapping[str, str], *, kinds: Sequence[str] = ()) -> dict[Key, Object]:
        """The objects of a graph, of these kinds or of all. Kinds that the cluster does not know are none."""
        wanted = [(version, kind) for version, kind in _PLURALS if not kinds or kind in kinds]
        with one_error():
            async with asyncio.TaskGroup() as group:
                lists = [group.create_task(self._list(version, kind, selector)) for version, kind in wanted]
        return {(o["kind"], o["metadata"]["name"]): o for found in lists for o in found.result()}

    async def pods(self, selector: Mapping[str, str]) -> list[Object]:
        """Pods with these labels, the oldest first."""
        found = await self._list("v1", "Pod", selector)
        return sorted(found, key=lambda o: (o["metadata"]["creationTimestamp"], o["metadata"]["name"]))

    async def watch(
        self,
        version: str,
        kind: str,
        selector: Mapping[str, str],
        news: Callable[[Mapping[str, Object]], None],
        *,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        """Tell `news` of all objects by name, at once and at every change, until cancelled.

        A kind that the cluster does not know has none. A watch that has fallen behind begins anew.

        Raises:
            AccessForbidden, ClusterRefused, ClusterUnreachable: as they say.
        """
        while True:
            found: dict[str, Object] = {}
            only: dict[str, Any] = {"labels": dict(selector), "fields": dict(fields or {})}
            listing = self._client.list(_resource(version, kind), namespace=self.namespace, **only)
            with self._errors(kind, missing_is_fine=True):
                found = {one["metadata"]["name"]: dict(one) async for one in listing}
            news(found)
            try:
                with self._errors(kind):
                    async for change, one in self._client.watch(
                        _resource(version, kind),
                        namespace=self.namespace,
                        server_timeout=WATCH_S,
                        resource_version=listing.resourceVersion,
                        **only,
                    ):
                        name = one["metadata"]["name"]
                        if change == "DELETED":
                            found.pop(name, None)
                        else:
                            found[name] = dict(one)
                        news(found)
            except ClusterRefused as error:
                if error.code != GONE:
                    raise

    async def _list(self, version: str, kind: str, selector: Mapping[str, str]) -> list[Object]:
        found: list[Object] = []
        with self._errors(kind, missing_is_fine=True):
            listing = self._client.list(_resource(version, kind), namespace=self.namespace, labels=dict(selector))
            found = [{**one, "apiVersion": version, "kind": kind} async for one in listing]
        return found

    async def logs(self, pod: str, *, follow: bool = False, tail: int | None = None) -> AsyncIterator[str]:
        """The lines of a replica's container, with the time in front (RFC 3339, nanoseconds)."""
        with self._errors(f"logs of {pod}"):
            lines = self._client.log(
                pod,
                namespace=self.namespace,
                container="main",
                follow=follow,
                tail_lines=tail,
                timestamps=True,
                newlines=False,
            )
            async for line in lines:
                yield line

    def _errors(self, on: str, *, missing_is_fine: bool = False) -> AbstractContextManager[None]:
        return translated(self.server, on, missing_is_fine=missing_is_fine)


def _transport(config: SingleConfig) -> httpx2.AsyncHTTPTransport:
    """Without a bound on connections: each log that is followed holds one. A proxy is taken from the environment."""
    import httpx2
    from lightkube.config.client_adapter import verify_cluster
    from lightkube.config.models import User

    server = urlsplit(config.cluster.server)
    proxy = None if proxy_bypass(server.hostname or "") else getproxies().get(server.scheme)
    return httpx2.AsyncHTTPTransport(
        verify=verify_cluster(config.cluster, config.user or User(), config.abs_file),
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20),
        proxy=proxy,
    )


@functools.cache
def _resource(version: str, kind: str) -> Any:
    """A class of plain dictionaries for the kind, beside lightkube's typed ones and its registry of them."""
    from lightkube.generic_resource import GenericNamespacedResource, create_api_info

    group, _, number = version.rpartition("/")
    plural = _WATCHED.get(kind) or _PLURALS[version, kind]
    return type(kind, (GenericNamespacedResource,), {"_api_info": create_api_info(group, number, kind, plural)})


def _version(one: Object) -> str:
    version: str = one["metadata"]["resourceVersion"]
    return version


def _path(key: Key) -> str:
    return f"{key[0].lower()}/{key[1]}"
