"""What needs no cluster; the rest is in tests/kube."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import yaml

from dynamod.core.errors import Invalid
from dynamod.drivers.kubernetes.cluster import Cluster
from dynamod.drivers.kubernetes.errors import ClusterUnreachable
from dynamod.schema.states import Reason


def kubeconfig(directory: Path, server: str) -> Path:
    path = directory / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": {"server": server}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "serving"}}],
                "current-context": "x",
            }
        )
    )
    return path


async def test_a_cluster_that_does_not_answer_is_named(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        server = f"https://127.0.0.1:{closed.getsockname()[1]}"
        async with Cluster.connect(kubeconfig(tmp_path, server)) as cluster:
            assert cluster.namespace == "serving"
            with pytest.raises(ClusterUnreachable, match=server) as lost:
                await cluster.objects({"ai.dynamo.graph": "sample"})
    assert lost.value.reason is Reason.BACKEND_UNREACHABLE


async def test_a_context_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be used"):
        async with Cluster.connect(kubeconfig(tmp_path, "https://127.0.0.1:1"), context="other"):
            pass
    with pytest.raises(Invalid, match="cannot be used"):
        async with Cluster.connect(tmp_path / "nothing"):
            pass
