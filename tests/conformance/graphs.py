"""What the suite of whole graphs must know of each driver: what is submitted to it, and how to hurt what it runs."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

from msgspec.structs import replace

from dynamo.sdk.spec import GraphSpec, ResourceSpec
from dynamod.schema import GraphSubmit, Replica
from tests.examples_image import DOCKER, ROOT
from tests.kube_cluster import kubectl
from tests.unit.dynamod.drivers.kubernetes.specs import example

HELLO = ROOT / "examples" / "hello_world"
NAME = "hello"


def hello(**backend: Any) -> GraphSpec:
    """The hello-world graph, small enough for a small node; `backend` changes its last service."""
    spec = example("hello_world")
    services = [
        replace(
            service,
            resources=ResourceSpec(cpu=0.1),
            drain_timeout=3.0,
            http_port=0 if service.name == "Frontend" else None,
        )
        for service in spec.services
    ]
    changed = [replace(service, **backend) if service.name == "Backend" else service for service in services]
    return replace(spec, services=tuple(changed), interpreter="", working_dir="")


class Place(Protocol):
    """Where graphs are put. `slow_to_clean`: a test need not wait until all that it left is gone."""

    slow_to_clean: bool

    def submission(self, spec: GraphSpec) -> GraphSubmit: ...

    async def kill(self, replica: Replica) -> None:
        """End what runs for it, by SIGKILL from outside."""
        ...

    def leftovers(self) -> list[str]:
        """What is there of any graph besides files."""
        ...


class Processes:
    slow_to_clean = False

    def submission(self, spec: GraphSpec) -> GraphSubmit:
        return GraphSubmit(spec=replace(spec, interpreter=sys.executable, working_dir=str(HELLO)), name=NAME)

    async def kill(self, replica: Replica) -> None:
        assert replica.pid is not None
        os.kill(replica.pid, signal.SIGKILL)

    def leftovers(self) -> list[str]:
        return []


class Containers:
    slow_to_clean = False

    def __init__(self, image: str, state: Path) -> None:
        self._image = image
        self._state = state

    def submission(self, spec: GraphSpec) -> GraphSubmit:
        services = tuple(replace(service, image=service.image or self._image) for service in spec.services)
        return GraphSubmit(spec=replace(spec, services=services), name=NAME, driver="docker")

    async def kill(self, replica: Replica) -> None:
        await asyncio.to_thread(_docker_kill, replica)

    def leftovers(self) -> list[str]:
        shown = [DOCKER, "ps", "-a", "--format", '{{.Label "ai.dynamo.replica"}}']
        found = subprocess.run(shown, capture_output=True, text=True, check=True, timeout=60).stdout.split()
        return [name for name in found if name.startswith(f"{self._state}/")]


class Pods:
    slow_to_clean = True  # a node takes most of a minute, and the namespace goes by itself

    def __init__(self, kubeconfig: Path, namespace: str, options: dict[str, Any]) -> None:
        self._kubeconfig = kubeconfig
        self._namespace = namespace
        self._options = options

    def submission(self, spec: GraphSpec) -> GraphSubmit:
        said = {**self._options, "kubeconfig": str(self._kubeconfig), "namespace": self._namespace}
        return GraphSubmit(spec=spec, name=NAME, driver="kubernetes", kubernetes=said)

    async def kill(self, replica: Replica) -> None:
        await asyncio.to_thread(_docker_kill, replica)

    def leftovers(self) -> list[str]:
        kinds = "deployments,services,configmaps,serviceaccounts,pods"
        found = kubectl(
            self._kubeconfig, "-n", self._namespace, "get", kinds, "-l", f"ai.dynamo.graph={NAME}", "-o", "yaml"
        )
        return [one["metadata"]["name"] for one in found["items"] if one["kind"] != "Pod" or _runs(one)]


def _docker_kill(replica: Replica) -> None:
    subprocess.run([DOCKER, "kill", replica.container or ""], check=True, capture_output=True, timeout=60)


def _runs(pod: dict[str, Any]) -> bool:
    """A pod stays for most of a minute after its container has ended, until its node has cleaned up."""
    return any("running" in one.get("state", {}) for one in pod["status"].get("containerStatuses", []))
