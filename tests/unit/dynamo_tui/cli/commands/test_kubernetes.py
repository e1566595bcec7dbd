"""The command line's part; what the cluster does is in tests/kube."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import yaml

from tests.unit.dynamo_tui.cli.conftest import Dynamoctl
from tests.unit.dynamod.drivers.kubernetes.specs import GOLDEN

SPEC = str(GOLDEN / "hello_world.json")


@pytest.fixture
def kubeconfig(tmp_path: Path) -> str:
    """Of a cluster that does not answer."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        server = f"https://127.0.0.1:{closed.getsockname()[1]}"
    path = tmp_path / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": {"server": server}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    return str(path)


@pytest.mark.parametrize(
    "arguments",
    [
        ("apply", SPEC, "--image", "graph:1"),
        ("status", "hello-world"),
        ("logs", "hello-world"),
        ("delete", "hello-world"),
    ],
)
def test_a_cluster_that_does_not_answer_is_one_line(
    dynamoctl: Dynamoctl, kubeconfig: str, arguments: tuple[str, ...]
) -> None:
    done = dynamoctl("kubernetes", *arguments, "--kubeconfig", kubeconfig)
    assert done.code == 2
    assert done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: the cluster at https://127.0.0.1:")
    assert last.endswith("check the context and the network")


def test_a_graph_without_an_image_is_refused_before_the_cluster_is_asked(dynamoctl: Dynamoctl, kubeconfig: str) -> None:
    done = dynamoctl("kubernetes", "apply", SPEC, "--kubeconfig", kubeconfig)
    assert done.code == 2
    assert "error: image: service 'Frontend' has no image" in done.stderr
