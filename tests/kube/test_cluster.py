"""Graphs on a real cluster: `make test-kube`."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import yaml

from dynamo.sdk.spec import GraphSpec, ResourceSpec
from dynamod.drivers.kubernetes.cluster import Applied, Cluster
from dynamod.drivers.kubernetes.deploy import DeployOptions
from dynamod.drivers.kubernetes.deploying import GraphOnCluster, NotReady, look, print_logs, remove, settle
from dynamod.drivers.kubernetes.errors import AccessForbidden, FieldConflict
from dynamod.drivers.kubernetes.manifests import manifests, names_of
from dynamod.drivers.kubernetes.options import KubernetesOptions
from dynamod.drivers.kubernetes.pod_status import verdict
from dynamod.schema.states import GraphState, Reason, ReplicaState
from tests.examples_image import DOCKER
from tests.kube_cluster import kubectl
from tests.unit.dynamod.drivers.kubernetes.specs import example

pytestmark = [pytest.mark.kube, pytest.mark.timeout(300), pytest.mark.xdist_group("kube")]
HELLO = msgspec.structs.replace(
    example("hello_world"),  # small, since pods that are on their way out still hold what they asked for
    services=tuple(
        msgspec.structs.replace(service, resources=ResourceSpec(cpu=0.1), drain_timeout=3.0)
        for service in example("hello_world").services
    ),
)
READY_S = 120.0


def silent(_: Any) -> None:
    return


def backend_alone(**said: Any) -> GraphSpec:
    """One service that needs nobody."""
    backend = msgspec.structs.replace(HELLO.service("Backend"), **said)
    return msgspec.structs.replace(HELLO, services=(backend,), entry="Backend")


async def apply(cluster: Cluster, spec: GraphSpec, options: KubernetesOptions, **said: Any) -> Applied:
    return await cluster.apply(manifests(spec, options).objects, names_of(spec, options).graph_selector(), **said)


async def until(
    cluster: Cluster, options: KubernetesOptions, holds: Callable[[GraphOnCluster], bool], seconds: float = READY_S
) -> GraphOnCluster:
    selector = names_of(HELLO, options).graph_selector()
    deadline = time.monotonic() + seconds
    while not holds(found := await look(cluster, selector)):
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.3)
    return found


async def test_a_graph_runs_answers_and_goes(cluster: Cluster, options: KubernetesOptions) -> None:
    selector = names_of(HELLO, options).graph_selector()
    applied = await apply(cluster, HELLO, options)
    assert "deployment/hello-world-frontend" in applied.written

    found = await settle(cluster, selector, timeout=READY_S, changed=silent)
    assert {(r.service, r.state) for r in found.replicas} == {
        (name, ReplicaState.READY) for name in ("Frontend", "Middle", "Backend")
    }
    address = next(r.address for r in found.replicas if r.service == "Frontend")
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"http://{address}:8000/generate", json={"text": "a"}, timeout=30)
    assert answer.text == "Frontend: Middle: Backend: a-mid-back"

    lines: list[str] = []
    await print_logs(cluster, selector, lambda _, line: lines.append(line))
    assert any("Backend is up" in line for line in lines)

    assert await remove(cluster, selector, timeout=READY_S)
    assert await cluster.objects(selector) == {}
    assert not any(verdict(pod).state.holds_process for pod in await cluster.pods(selector))


async def test_an_apply_without_changes_writes_nothing(cluster: Cluster, options: KubernetesOptions) -> None:
    selector = names_of(HELLO, options).graph_selector()
    await apply(cluster, HELLO, options)
    await settle(cluster, selector, timeout=READY_S, changed=silent)
    before = {key: one["metadata"]["resourceVersion"] for key, one in (await cluster.objects(selector)).items()}

    again = await apply(cluster, HELLO, options)

    assert again.written == again.pruned == ()
    after = {key: one["metadata"]["resourceVersion"] for key, one in (await cluster.objects(selector)).items()}
    assert after == before


async def test_what_a_graph_has_no_more_is_deleted(cluster: Cluster, options: KubernetesOptions) -> None:
    await apply(cluster, HELLO, options)
    applied = await apply(cluster, backend_alone(), options)
    assert {"deployment/hello-world-frontend", "service/hello-world-frontend"} <= set(applied.pruned)
    assert "deployment/hello-world-backend" in applied.unchanged


async def test_a_drifted_object_is_brought_back(
    cluster: Cluster, options: KubernetesOptions, kubeconfig: Path, namespace: str
) -> None:
    await apply(cluster, backend_alone(), options)
    theirs = yaml.safe_dump(
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "hello-world-backend"}}
        | {"spec": {"replicas": 0}}
    )
    force = ("--server-side", "--force-conflicts", "--field-manager=somebody", "--validate=false")
    kubectl(kubeconfig, "-n", namespace, "apply", *force, "-f", "-", stdin=theirs)

    with pytest.raises(FieldConflict, match=r"deployment/hello-world-backend.*replicas"):
        await apply(cluster, backend_alone(), options)
    taken = await apply(cluster, backend_alone(), options, force=True)

    assert taken.written == ("deployment/hello-world-backend",)
    assert (await until(cluster, options, lambda f: f.state is GraphState.READY)).services[0].desired == 1


async def test_two_graphs_never_share_an_object(cluster: Cluster, options: KubernetesOptions) -> None:
    await apply(cluster, backend_alone(), options)
    other = msgspec.structs.replace(options, graph="Hello World")
    with pytest.raises(FieldConflict, match="belongs to the graph default/hello-world"):
        await apply(cluster, backend_alone(), other)


async def test_an_image_that_is_missing_is_named_and_recovered_from(
    cluster: Cluster, options: KubernetesOptions
) -> None:
    selector = names_of(HELLO, options).graph_selector()
    await apply(cluster, backend_alone(image="nobody/has:this"), options)
    await until(cluster, options, lambda f: f.reason is Reason.IMAGE_UNAVAILABLE)
    with pytest.raises(NotReady, match="image_unavailable") as late:
        await settle(cluster, selector, timeout=0, changed=silent)
    assert late.value.reason is Reason.IMAGE_UNAVAILABLE

    await apply(cluster, backend_alone(), options)
    assert (await settle(cluster, selector, timeout=READY_S, changed=silent)).state is GraphState.READY


@pytest.mark.parametrize(
    ("resources", "reason"),
    [(ResourceSpec(gpu=8), Reason.WAITING_FOR_GPU), (ResourceSpec(memory=2**50), Reason.UNSCHEDULABLE)],
    ids=["gpu", "memory"],
)
async def test_what_no_node_can_take_waits(
    cluster: Cluster, options: KubernetesOptions, resources: ResourceSpec, reason: Reason
) -> None:
    await apply(cluster, backend_alone(resources=resources), options)
    found = await until(cluster, options, lambda f: f.reason is reason)
    assert found.replicas[0].state is ReplicaState.PENDING
    assert "Insufficient" in found.replicas[0].message


async def test_a_secret_that_is_missing_holds_a_replica_back(cluster: Cluster, options: KubernetesOptions) -> None:
    await apply(cluster, backend_alone(), msgspec.structs.replace(options, secret_envs={"HF_TOKEN": "hub/token"}))
    found = await until(cluster, options, lambda f: f.reason is Reason.SPAWN_FAILED)
    assert 'secret "hub" not found' in found.message


async def test_a_replica_out_of_memory_says_so(cluster: Cluster, options: KubernetesOptions) -> None:
    hungry = {"entrypoint": ["python", "-c"], "cmd": ["x = bytearray(200 << 20); print(sum(x))"]}
    spec = backend_alone(kubernetes_overrides=hungry, resources=ResourceSpec(memory=64 << 20))
    await apply(cluster, spec, options)
    found = await until(cluster, options, lambda f: any(r.last_exit for r in f.replicas))
    exit_info = found.replicas[0].last_exit
    assert exit_info is not None
    assert exit_info.reason is Reason.OUT_OF_MEMORY
    assert exit_info.oom_killed


async def test_a_killed_container_comes_back(cluster: Cluster, options: KubernetesOptions) -> None:
    selector = names_of(HELLO, options).graph_selector()
    await apply(cluster, backend_alone(), options)
    first = (await settle(cluster, selector, timeout=READY_S, changed=silent)).replicas[0]
    assert first.container is not None
    subprocess.run([DOCKER, "kill", first.container], check=True, capture_output=True, timeout=60)

    found = await until(cluster, options, lambda f: f.state is GraphState.READY and f.replicas[0].restarts == 1)
    exit_info = found.replicas[0].last_exit
    assert exit_info is not None
    assert (exit_info.reason, exit_info.signal) == (Reason.KILLED_BY_SIGNAL, "SIGKILL")


async def test_logs_are_followed_over_restarts(cluster: Cluster, options: KubernetesOptions) -> None:
    selector = names_of(HELLO, options).graph_selector()
    await apply(cluster, backend_alone(), options)
    lines: list[str] = []
    following = asyncio.create_task(print_logs(cluster, selector, lambda _, line: lines.append(line), follow=True))
    try:
        first = (await settle(cluster, selector, timeout=READY_S, changed=silent)).replicas[0]
        subprocess.run([DOCKER, "kill", first.container or ""], check=True, capture_output=True, timeout=60)
        async with asyncio.timeout(READY_S):
            while sum("Backend is up" in line for line in lines) < 2:
                assert not following.done(), following
                await asyncio.sleep(0.1)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def test_who_may_not_is_told_so(kubeconfig: Path, namespace: str, options: KubernetesOptions) -> None:
    contexts = [c["name"] for c in yaml.safe_load(kubeconfig.read_text())["contexts"]]
    if "dev" not in contexts:
        pytest.skip("this cluster has no context `dev` without rights")
    async with Cluster.connect(kubeconfig, context="dev", namespace=namespace) as cluster:
        with pytest.raises(AccessForbidden, match="forbidden") as refused:
            await apply(cluster, backend_alone(), options)
    assert refused.value.reason is Reason.FORBIDDEN


async def test_the_program_applies_reports_and_deletes(
    kubeconfig: Path, options: KubernetesOptions, tmp_path: Path
) -> None:
    def run(action: Any, spec: GraphSpec | None = None) -> list[dict[str, Any]]:
        given = msgspec.structs.replace(options, graph="hello-world")
        file = tmp_path / "options.json"
        asked = DeployOptions(action=action, spec=spec, kubernetes=given, kubeconfig=str(kubeconfig), timeout=READY_S)
        file.write_bytes(msgspec.json.encode(asked))
        done = subprocess.run(
            [sys.executable, "-m", "dynamod.drivers.kubernetes.deploy", "--options", str(file)],
            capture_output=True,
            check=False,
            timeout=200,
        )
        assert done.stderr == b""
        return [msgspec.json.decode(line) for line in done.stdout.splitlines()]

    applied = await asyncio.to_thread(run, "apply", backend_alone())
    assert applied[-1]["done"]["state"] == "ready"
    assert {"step": "applied deployment/hello-world-backend"} in applied
    assert (await asyncio.to_thread(run, "status"))[-1]["done"]["services"][0]["ready"] == 1
    assert any("Backend is up" in m.get("line", "") for m in await asyncio.to_thread(run, "logs"))
    assert "deployment/hello-world-backend" in (await asyncio.to_thread(run, "delete"))[-1]["done"]["deleted"]
    assert (await asyncio.to_thread(run, "status"))[-1]["error"].startswith("there is no graph")
