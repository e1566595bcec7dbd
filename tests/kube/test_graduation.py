"""The guide from a laptop to a cluster, done as it stands, from the build on, on a real cluster."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e import conftest as e2e
from tests.e2e.commands import EXAMPLES, ROOT, Home
from tests.e2e.guide import Guide
from tests.kube_cluster import BASE, TOOLS

pytestmark = [pytest.mark.kube, pytest.mark.timeout(900)]

home = e2e.home
IMAGE = "dynamod-test/graduation-kube:1"


def test_the_last_step_of_the_guide(kubeconfig: Path, pods_etcd: str, namespace: str, home: Home) -> None:
    place = shutil.copytree(EXAMPLES / "hello_world", home.path / "hello_world")
    (place / "requirements.txt").write_text("dynamod[etcd]\n")
    subprocess.run([TOOLS / "docker" / "base-image", BASE], check=True, timeout=300, stdout=subprocess.DEVNULL)
    home.extra["KUBECONFIG"] = str(kubeconfig)
    home.run("daemon", "start")
    home.run("build", "hello_world:Frontend", "-t", "hello:1", cwd=place)
    home.run("containerize", "hello:1", "--image", IMAGE, "--base-image", BASE)
    page = (ROOT / "docs" / "graduation.md").read_text()
    (steps,) = [
        block
        for block in re.findall(r"^```bash\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        if "--target kubernetes" in block
    ]
    options = home.path / "options.yaml"
    options.write_text("disruption_budgets: false\nimage_pull_policy: Never\n")
    instead = {
        "registry.example/hello:1": IMAGE,
        "--namespace serving": f"--namespace {namespace} --etcd {pods_etcd} --options {options}",
    }
    Guide(home, place, instead=instead).do(steps)
    subprocess.run(["docker", "image", "rm", "-f", IMAGE], check=False, capture_output=True, timeout=60)
