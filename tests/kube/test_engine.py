"""What goes wrong with a graph of the daemon on a real cluster is told with its reason, and mends by itself."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
import yaml
from msgspec.structs import replace

from dynamo.sdk.spec import GraphSpec, ResourceSpec
from dynamod.drivers.kubernetes.options import KubernetesOptions
from dynamod.schema import GraphState, Reason, ReplicaState
from tests.conformance.graphs import NAME, Pods, hello
from tests.conformance.running import Running
from tests.examples_image import DOCKER
from tests.kube_cluster import kubectl

pytestmark = [
    pytest.mark.kube,
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("kube"),
    # The HTTP client leaves a connection that is given up while it is made to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed (<socket|transport).*:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in.*:pytest.PytestUnraisableExceptionWarning"),
]
DEPLOYMENT = f"{NAME}-backend"


@pytest.fixture
def said(options: KubernetesOptions) -> dict[str, Any]:
    return {k: v for k, v in msgspec.to_builtins(options).items() if v is not None}


@pytest.fixture
async def running(kubeconfig: Path, namespace: str, said: dict[str, Any], tmp_path: Path) -> AsyncIterator[Running]:
    async with Running(tmp_path, Pods(kubeconfig, namespace, said)) as made:
        yield made


def backend(**fields: Any) -> GraphSpec:
    """The last service of hello world, alone."""
    spec = hello(**fields)
    return replace(spec, services=(spec.service("Backend"),), entry="Backend")


async def test_without_changes_nothing_is_written(running: Running, kubeconfig: Path, namespace: str) -> None:
    await running.submit(backend())
    await running.settled()
    before = versions(kubeconfig, namespace)

    _, changed = await running.submit(backend())
    await running.restarted()
    await running.settled()
    plan = await running.engine.plan(running.place.submission(backend()), actor="user:test")

    assert not changed
    assert plan.is_empty
    assert versions(kubeconfig, namespace) == before


async def test_a_plan_shows_what_differs(running: Running) -> None:
    new = await running.engine.plan(running.place.submission(backend()), actor="user:test")
    assert new.strategy == "apply"
    assert {o.kind.value for o in new.operations} == {"create"}
    assert "kind: Deployment" in new.manifests
    await running.submit(backend())
    await running.settled()
    more = await running.engine.plan(running.place.submission(backend(envs={"A": "1"})), actor="user:test")
    told = next(o for o in more.operations if o.service == "Backend")
    assert told.kind.value == "apply"
    assert "env" in told.cause


async def test_a_missing_image_is_told_and_found(running: Running) -> None:
    missing = "dynamod-test/comes-later:1"
    subprocess.run([DOCKER, "rmi", missing], check=False, capture_output=True, timeout=60)
    await running.submit(backend(image=missing))
    (replica,) = await running.until(lambda g, rs: g.reason is Reason.IMAGE_UNAVAILABLE)
    assert replica.state is ReplicaState.PENDING
    assert "image" in (await running.engine.why(replica.id)).summary
    good = running.place.submission(backend()).kubernetes["image"]
    subprocess.run([DOCKER, "tag", good, missing], check=True, capture_output=True, timeout=60)
    try:
        await running.settled()
    finally:
        subprocess.run([DOCKER, "rmi", missing], check=False, capture_output=True, timeout=60)


async def test_a_replica_out_of_memory_says_so_and_gets_more(running: Running) -> None:
    hungry = {"entrypoint": ["python", "-c"], "cmd": ["x = bytearray(200 << 20); print(sum(x))"]}
    await running.submit(backend(kubernetes_overrides=hungry, resources=ResourceSpec(cpu=0.1, memory=64 << 20)))
    replicas = await running.until(lambda g, rs: any(r.last_exit and r.last_exit.oom_killed for r in rs))
    assert replicas[0].last_exit is not None
    assert replicas[0].last_exit.reason is Reason.OUT_OF_MEMORY
    assert "out of memory" in (await running.engine.why(replicas[0].id)).summary
    await running.submit(backend())
    await running.settled(2)


async def test_a_deleted_pod_is_replaced(running: Running, kubeconfig: Path, namespace: str) -> None:
    await running.submit(backend())
    (before,) = await running.settled()
    kubectl(kubeconfig, "-n", namespace, "delete", "pod", before.id, "--wait=false")
    (after,) = await running.until(
        lambda g, rs: g.state is GraphState.READY and [r.id for r in rs] not in ([before.id], [])
    )
    assert after.id != before.id


async def test_what_somebody_else_manages_is_named(running: Running, kubeconfig: Path, namespace: str) -> None:
    await running.submit(backend())
    await running.settled()
    apply_as_somebody(kubeconfig, namespace, {"spec": {"replicas": 2}})
    await running.until(lambda g, _: g.state is GraphState.FAILED)
    graph = await running.graph()
    assert graph.reason is Reason.CONFLICT
    assert f"deployment/{DEPLOYMENT}" in graph.message
    assert '"somebody"' in graph.message
    assert ".spec.replicas" in graph.message
    apply_as_somebody(kubeconfig, namespace, {})
    (replica,) = await running.settled()
    assert replica.state is ReplicaState.READY


async def test_a_forbidden_verb_is_named_until_it_is_allowed(
    kubeconfig: Path, namespace: str, said: dict[str, Any], tmp_path: Path
) -> None:
    contexts = [c["name"] for c in yaml.safe_load(kubeconfig.read_text())["contexts"]]
    if "dev" not in contexts:
        pytest.skip("this cluster has no context `dev` without rights")
    role = ["-n", namespace, "create", "role"]
    kubectl(kubeconfig, *role, "looks", "--verb=get,list,watch", "--resource=*.*")
    kubectl(kubeconfig, "-n", namespace, "create", "rolebinding", "looks", "--role=looks", "--user=dev")
    async with Running(tmp_path, Pods(kubeconfig, namespace, {**said, "context": "dev"})) as running:
        await running.submit(backend())
        await running.until(lambda g, _: g.state is GraphState.FAILED)
        graph = await running.graph()
        assert graph.reason is Reason.FORBIDDEN
        assert 'User "dev" cannot patch resource "serviceaccounts"' in graph.message
        kubectl(kubeconfig, *role, "writes", "--verb=*", "--resource=*.*")
        kubectl(kubeconfig, "-n", namespace, "create", "rolebinding", "writes", "--role=writes", "--user=dev")
        await running.settled()


async def test_a_lost_api_server_is_waited_for(
    kubeconfig: Path, namespace: str, said: dict[str, Any], tmp_path: Path
) -> None:
    way = _Way.to(kubeconfig, tmp_path)
    async with way, Running(tmp_path, Pods(way.kubeconfig, namespace, said)) as running:
        await running.submit(backend())
        before = await running.settled()
        await way.cut()
        await running.until(lambda g, _: g.reason is Reason.BACKEND_UNREACHABLE)
        graph = await running.graph()
        assert graph.state is GraphState.DEGRADED
        assert "does not answer" in graph.message
        assert [r.id for r in await running.replicas()] == [r.id for r in before]
        await running.engine.scale("default", NAME, "Backend", 2, actor="user:test")
        await way.restore()
        await running.until(lambda g, rs: g.state is GraphState.READY and len(rs) == 2)


def versions(kubeconfig: Path, namespace: str) -> dict[str, str]:
    """The resource version of everything that a graph has, pods excepted."""
    kinds = "deployments,services,configmaps,serviceaccounts"
    found = kubectl(kubeconfig, "-n", namespace, "get", kinds, "-l", f"ai.dynamo.graph={NAME}", "-o", "yaml")
    return {one["kind"] + one["metadata"]["name"]: one["metadata"]["resourceVersion"] for one in found["items"]}


def apply_as_somebody(kubeconfig: Path, namespace: str, fields: dict[str, Any]) -> None:
    """Server-side apply of the deployment's fields by another field manager, who takes what it wants."""
    theirs = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": DEPLOYMENT}} | fields
    how = ("--server-side", "--force-conflicts", "--field-manager=somebody", "--validate=false")
    kubectl(kubeconfig, "-n", namespace, "apply", *how, "-f", "-", stdin=yaml.safe_dump(theirs))


class _Way:
    """A way to the API server that can be cut."""

    def __init__(self, kubeconfig: Path, host: str, port: int) -> None:
        self.kubeconfig = kubeconfig
        self._there = (host, port)
        self._port = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    @classmethod
    def to(cls, kubeconfig: Path, directory: Path) -> _Way:
        known = yaml.safe_load(kubeconfig.read_text())
        server = urlsplit(known["clusters"][0]["cluster"]["server"])
        if server.hostname not in ("127.0.0.1", "localhost"):
            pytest.skip("the certificate of this cluster does not fit a way over the loopback")
        return cls(directory / "kubeconfig", server.hostname, server.port or 443)._with(known)

    def _with(self, known: dict[str, Any]) -> _Way:
        self._known = known
        return self

    async def __aenter__(self) -> _Way:
        await self.restore()
        self._known["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{self._port}"
        self.kubeconfig.write_text(yaml.safe_dump(self._known))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()

    async def restore(self) -> None:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._open):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._there)
        self._open |= {writer, back}
        with suppress(OSError):
            await asyncio.gather(_copy(reader, back), _copy(there, writer))
        for one in (writer, back):
            self._open.discard(one)
            one.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
