"""The KV-routing example on a cluster, seen from outside of it: only the API server is in reach."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml

from dynamod.drivers.kubernetes.options import KubernetesOptions
from tests.e2e.commands import EXAMPLES, Home
from tests.e2e.conftest import home

__all__ = ["home"]

pytestmark = [pytest.mark.kube, pytest.mark.timeout(400), pytest.mark.xdist_group("kube")]
SERVICES = ("Frontend", "Processor", "Router", "Worker")
PROMPT = "Tell of the sea, of the wind, and of sailors who went out one morning and came home late. " * 4
DEADLINE_S = 60.0


@pytest.fixture
def deployed(home: Home, kubeconfig: Path, options: KubernetesOptions, tmp_path: Path) -> Iterator[dict[str, Any]]:
    file = tmp_path / "options.yaml"
    file.write_text(yaml.safe_dump({"disruption_budgets": False, "replicas": {"Worker": 2}}))
    where = ["--kubeconfig", str(kubeconfig), "--namespace", options.namespace or "", "--reach", "tunnel"]
    what = ["--image", options.image, "--pull-policy", "Never", "--etcd", str(options.etcd), "--options", str(file)]
    small = [f"--{name}.ServiceArgs.resources.cpu=0.1" for name in SERVICES]
    llm = EXAMPLES / "llm"
    graph = ["graphs.agg_router:Frontend", "-f", str(llm / "configs" / "agg_router.yaml"), *small]
    command = ["deploy", *graph, "--target", "kubernetes", *where, *what, "--timeout", "160s", "--json"]
    graph_there = json.loads(home.run(*command, cwd=llm).stdout)
    yield graph_there
    home.run("deployment", "delete", graph_there["name"], "--timeout", "120s", code=None)


def test_the_openai_client_is_answered_and_hit_rates_are_shown(home: Home, deployed: dict[str, Any]) -> None:
    assert deployed["state"] == "ready"
    assert deployed["address"].startswith("http://127.0.0.1:")
    with openai.OpenAI(base_url=f"{deployed['address']}/v1", api_key="none", max_retries=0, timeout=60) as api:
        for _ in range(4):
            answer = api.chat.completions.create(
                model="tiny", messages=[{"role": "user", "content": PROMPT}], max_tokens=8
            )
            assert answer.choices[0].message.content
    deadline = time.monotonic() + DEADLINE_S
    while (seen := home.json("kv", deployed["name"]))["actual"]["requests"] < 4:
        assert time.monotonic() < deadline, seen
        time.sleep(0.5)
    assert seen["actual"]["ratio_of_sums"] > 0.5
    assert len(seen["workers"]) == 2
    assert all(worker["replica"] for worker in seen["workers"])
    rates = {one["service"] for one in home.json("top", deployed["name"], "--once")}
    assert rates == set(SERVICES)
