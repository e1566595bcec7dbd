"""A cluster's API, as far as graphs need it: apply, look, follow, delete.

lightkube is imported when a cluster is first reached, and its errors end here: callers see those of `errors`.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynamod.core.errors import Invalid, Unavailable
from dynamod.drivers.kubernetes.comparing import holds, stamped
from dynamod.drivers.kubernetes.errors import (
    AccessForbidden,
    ClusterRefused,
    ClusterUnreachable,
    FieldConflict,
    one_error,
)
from dynamod.drivers.kubernetes.naming import FIELD_MANAGER, GRAPH, PROJECT
from dynamod.drivers.kubernetes.workloads import Object

if TYPE_CHECKING:
    from lightkube import AsyncClient

REQUEST_TIMEOUT_S = 30.0
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
Key = tuple[str, str]
"""Kind and name."""


@dataclass(frozen=True)
class Applied:
    """What was sent, what needed nothing, and what was deleted because the graph has it no more; `kind/name` each."""

    written: tuple[str, ...]
    unchanged: tuple[str, ...]
    pruned: tuple[str, ...]


class Cluster:
    """One cluster and one namespace of it. Use `connect`."""

    def __init__(self, client: AsyncClient, server: str) -> None:
        self._client = client
        self.server = server
        self.namespace = client.namespace

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
            import httpx2
            from lightkube import AsyncClient, KubeConfig
            from lightkube.core.exceptions import ConfigError
        except ImportError:
            raise Unavailable("the Kubernetes client is not installed", remedy="install dynamod[kubernetes]") from None
        try:
            config = KubeConfig.from_file(str(kubeconfig)) if kubeconfig else KubeConfig.from_env()
            chosen = config.get(context_name=context)
            if chosen is None:
                raise KeyError(f"it has no context {context or 'that is current'}")
            client = AsyncClient(
                config=chosen,
                namespace=namespace,
                timeout=httpx2.Timeout(REQUEST_TIMEOUT_S),
                field_manager=FIELD_MANAGER,
            )
        except (ConfigError, OSError, KeyError, ValueError) as error:
            raise Invalid(f"{kubeconfig or 'the kubeconfig'} cannot be used: {error}", field="kubeconfig") from None
        try:
            yield cls(client, chosen.cluster.server)
        finally:
            await client.close()

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
        written, unchanged = [], []
        for one in objects:
            wanted = stamped(one)
            key = (one["kind"], one["metadata"]["name"])
            there = live.get(key)
            if there is None:
                await self._refuse_foreign(wanted, selector)
            if there is not None and holds(there, wanted):
                unchanged.append(_path(key))
                continue
            with self._errors(_path(key)):
                resource = _resource(one["apiVersion"], one["kind"])
                await self._client.apply(resource(wanted), force=force)
            written.append(_path(key))
        gone = live.keys() - {(one["kind"], one["metadata"]["name"]) for one in objects}
        return Applied(tuple(written), tuple(unchanged), tuple(await self._delete({k: live[k] for k in gone})))

    async def delete(self, selector: Mapping[str, str]) -> list[str]:
        """Delete everything that carries the graph's labels, volumes' claims excepted; what was deleted.

        Raises:
            AccessForbidden, ClusterRefused, ClusterUnreachable: as they say.
        """
        return await self._delete(await self.objects(selector))

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

    @contextmanager
    def _errors(self, on: str, *, missing_is_fine: bool = False) -> Iterator[None]:
        import httpx2
        from lightkube.core.exceptions import ApiError

        try:
            yield
        except ApiError as error:
            code, words = error.status.code or 0, " ".join((error.status.message or "").split())
            if code == 404 and missing_is_fine:
                return
            if code in (401, 403):
                raise AccessForbidden(on, words) from None
            if code == 409:
                raise FieldConflict(on, words) from None
            raise ClusterRefused(on, code, words) from None
        except httpx2.HTTPStatusError as error:
            if error.response.status_code == 404 and missing_is_fine:
                return  # a whole API group that is not there answers in plain text
            raise ClusterRefused(on, error.response.status_code, error.response.reason_phrase) from None
        except httpx2.HTTPError as error:
            raise ClusterUnreachable(self.server, str(error) or type(error).__name__) from None


@functools.cache
def _resource(version: str, kind: str) -> Any:
    """A class of plain dictionaries for the kind, beside lightkube's typed ones and its registry of them."""
    from lightkube.generic_resource import GenericNamespacedResource, create_api_info

    group, _, number = version.rpartition("/")
    plural = "pods" if kind == "Pod" else _PLURALS[version, kind]
    return type(kind, (GenericNamespacedResource,), {"_api_info": create_api_info(group, number, kind, plural)})


def _path(key: Key) -> str:
    return f"{key[0].lower()}/{key[1]}"
