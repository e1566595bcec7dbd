"""A real cluster: that of `KUBECONFIG`, or one that the tools for tests start (`DYN_TEST_TOOLS`, or beside us).

Where no cluster can be, every test of it is skipped, and says so. The images are made here, for the machine's own
Docker engine; the cluster's nodes must see its images.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml

from dynamod.drivers.kubernetes.cluster import Cluster
from dynamod.drivers.kubernetes.options import KubernetesOptions
from tests import examples_image

TOOLS = Path(os.environ.get("DYN_TEST_TOOLS") or examples_image.ROOT.parent / "shared" / "tools")
IMAGE = "dynamod/examples:test"
BASE = "dynamod/python-base:test"


def no_cluster() -> str:
    """Why none can be started here; empty where it can be tried."""
    if not (TOOLS / "kube" / "up").is_file():
        return f"there is no {TOOLS / 'kube' / 'up'} to start one"
    return "" if os.geteuid() == 0 else "starting one needs root"


@pytest.fixture(scope="session")
def kubeconfig() -> Iterator[Path]:
    if given := os.environ.get("KUBECONFIG"):
        yield Path(given)
        return
    if lacking := no_cluster():
        pytest.skip(f"NO KUBERNETES CLUSTER: KUBECONFIG is not set, and {lacking}")
    # No directory of pytest: volumes are mounted in it, and pytest would try to delete them.
    state = Path(tempfile.mkdtemp(prefix="dynamod-kube-"))
    for tool in (["docker/engine", "--default"], ["kube/build"], ["kube/up", str(state)]):
        # Not captured: what they start would keep the pipe open.
        with (state / "tools.log").open("ab") as log:
            done = subprocess.run([TOOLS / tool[0], *tool[1:]], check=False, timeout=900, stdout=log, stderr=log)
        if done.returncode != 0:
            last = (state / "tools.log").read_text(errors="replace").strip().splitlines()[-1:]
            pytest.skip(f"NO KUBERNETES CLUSTER can be made here: {tool[0]} failed: {' '.join(last)}")
    yield state / "kubeconfig"
    subprocess.run([TOOLS / "kube" / "down", state], check=False, timeout=60, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="session")
def built(kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    if os.environ.get("DYN_TEST_IMAGE"):
        return os.environ["DYN_TEST_IMAGE"]
    if not (TOOLS / "docker" / "base-image").exists():
        pytest.skip("no image: DYN_TEST_IMAGE is not set, and DYN_TEST_TOOLS has no docker/base-image")
    subprocess.run([TOOLS / "docker" / "base-image", BASE], check=True, timeout=300, stdout=subprocess.DEVNULL)
    examples_image.build(IMAGE, BASE, tmp_path_factory.mktemp("image"))
    return IMAGE


@pytest.fixture(scope="session")
def pods_etcd(kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An etcd that pods can reach, on the bridge of the local engine."""
    if given := os.environ.get("DYN_TEST_ETCD"):
        yield given
        return
    program = shutil.which("etcd")
    bridge = subprocess.run(["ip", "-4", "-o", "addr", "show", "docker0"], capture_output=True, text=True, check=False)
    address = re.search(r"inet ([0-9.]+)", bridge.stdout)
    if program is None or address is None:
        pytest.skip("no etcd that pods can reach: DYN_TEST_ETCD is not set, and there is no etcd or no docker0 here")
    client, peer = f"http://{address[1]}:32379", "http://127.0.0.1:32380"
    directory = tmp_path_factory.mktemp("etcd")
    arguments = {
        "data-dir": str(directory / "data"),
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"default={peer}",
        "unsafe-no-fsync": "true",
    }
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen([program, *(f"--{k}={v}" for k, v in arguments.items())], stdout=log, stderr=log)
    try:
        _wait_for(f"{client}/health")
        yield f"etcd://{address[1]}:32379"
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


@pytest.fixture
def namespace(kubeconfig: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """One of its own, deleted with all that is in it."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:50].strip("-") + f"-{secrets.token_hex(3)}"
    kubectl(kubeconfig, "create", "namespace", name)
    yield name
    kubectl(kubeconfig, "delete", "namespace", name, "--wait=false")


@pytest.fixture
async def cluster(kubeconfig: Path, namespace: str) -> AsyncIterator[Cluster]:
    async with Cluster.connect(kubeconfig, namespace=namespace) as connected:
        yield connected


@pytest.fixture
def options(built: str, pods_etcd: str, namespace: str) -> KubernetesOptions:
    """Images are local, and the budgets of the newest API are left out for the sake of old clusters."""
    return KubernetesOptions(
        image=built, image_pull_policy="Never", etcd=pods_etcd, namespace=namespace, disruption_budgets=False
    )


def kubectl(kubeconfig: Path, *arguments: str, stdin: str | None = None) -> Any:
    """Run it; its answer as data where it is YAML or JSON."""
    done = subprocess.run(
        ["kubectl", "--kubeconfig", str(kubeconfig), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout) if "-o" in arguments else done.stdout


def _wait_for(url: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            assert time.monotonic() < deadline, f"{url} does not answer"
            time.sleep(0.1)


if __name__ == "__main__":
    print("" if os.environ.get("KUBECONFIG") else no_cluster())  # noqa: T201 - asked by the Makefile
