"""The etcd and the NATS server that a graph brings along really run, and serve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from dynamod.drivers.kubernetes.options import KubernetesOptions
from dynamod.schema import GraphState
from tests.conformance.graphs import NAME, Pods, hello
from tests.conformance.running import Running, answer
from tests.kube.servers import ETCD_IMAGE, NATS_IMAGE, build_images
from tests.kube_cluster import kubectl

pytestmark = [
    pytest.mark.kube,
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("kube"),
    # The HTTP client leaves a connection that is given up while it is made to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed (<socket|transport).*:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in.*:pytest.PytestUnraisableExceptionWarning"),
]


async def test_bundled_servers_serve_a_graph(
    kubeconfig: Path,
    namespace: str,
    options: KubernetesOptions,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """This cluster may lack DNS: so the servers come with one graph, and another one is told their addresses."""
    build_images(tmp_path_factory.mktemp("servers"))
    said: dict[str, Any] = {k: v for k, v in msgspec.to_builtins(options).items() if v is not None}
    nobody = dict.fromkeys(hello().service_names(), 0)
    bringing = {**said, "etcd": {"image": ETCD_IMAGE}, "nats": {"image": NATS_IMAGE}, "replicas": nobody}
    async with Running(tmp_path, Pods(kubeconfig, namespace, bringing)) as running:
        await running.submit(hello())
        await running.settled()

        there = {
            "etcd": f"etcd://{address_of(kubeconfig, namespace, 'etcd')}:2379",
            "nats": f"nats://{address_of(kubeconfig, namespace, 'nats')}:4222",
            "request_plane": "nats",
        }
        user = Pods(kubeconfig, namespace, {**said, **there}).submission(hello())
        await running.engine.submit(replace(user, name="user"), actor="user:test")
        await running.until(lambda g, _: g.state is GraphState.READY, "user")
        assert await answer(await running.graph("user")) == "Frontend: Middle: Backend: a-mid-back"


def address_of(kubeconfig: Path, namespace: str, component: str) -> str:
    label = f"ai.dynamo.graph={NAME},app.kubernetes.io/component={component}"
    found = kubectl(kubeconfig, "-n", namespace, "get", "pods", "-l", label, "-o", "yaml")
    running = [pod for pod in found["items"] if pod["status"].get("phase") == "Running"]
    address: str = running[-1]["status"]["podIP"]
    return address
