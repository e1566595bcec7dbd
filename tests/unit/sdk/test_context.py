from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dynamo.sdk import dynamo_context, server_context
from dynamo.sdk.errors import NotRunningError


def test_server_context_reads_what_the_replica_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (server_context.worker_index, server_context.service_name) == (0, "")
    assert (server_context.service_type, server_context.worker_count) == ("standalone", 1)
    for key, value in {"worker_id": 3, "service_name": "S", "worker_count": 4}.items():
        monkeypatch.setitem(dynamo_context, key, value)
    assert (server_context.worker_index, server_context.service_name) == (3, "S")
    assert (server_context.service_type, server_context.worker_count) == ("service", 4)


def test_there_is_no_runtime_outside_a_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(dynamo_context, "runtime", raising=False)
    with pytest.raises(NotRunningError, match="outside a running replica"):
        _ = server_context.runtime


@pytest.mark.parametrize(("env", "image"), [({}, "dynamod:latest"), ({"DYNAMO_IMAGE": "mine:1"}, "mine:1")])
def test_image_comes_from_the_environment(env: dict[str, str], image: str) -> None:
    clean = {name: value for name, value in os.environ.items() if name != "DYNAMO_IMAGE"}
    code = "from dynamo.sdk import DYNAMO_IMAGE; print(DYNAMO_IMAGE)"
    result = subprocess.run(
        [sys.executable, "-c", code], env={**clean, **env}, capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout.strip() == image
