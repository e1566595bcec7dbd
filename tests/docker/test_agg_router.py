"""Aggregated serving with the KV router as containers: OpenAI's client is answered, and the hit rates are shown."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator

import openai
import pytest

import docker
from dynamod.drivers.docker_networks import NETWORK_LABEL
from tests.e2e import conftest as e2e
from tests.e2e.commands import EXAMPLES, Home, until
from tests.e2e.terminal import dashboard_command, terminal

pytestmark = [
    pytest.mark.docker,
    pytest.mark.xdist_group("docker"),
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is missing: the dashboard is not seen"),
]

IMAGE = "dynamod-test/agg-router:1"
PROMPT = "Tell me of foxes and dogs that jump over each other until the night falls, again and again. " * 6
home = e2e.home


@pytest.fixture
def address(engine: docker.DockerClient, base_image: str, home: Home) -> Iterator[str]:
    """The graph's HTTP address, once it is ready."""
    project = shutil.copytree(EXAMPLES / "llm", home.path / "project")
    home.run("build", "graphs.agg_router:Frontend", "-t", "agg:1", cwd=project)
    home.run("containerize", "agg:1", "--image", IMAGE, "--base-image", base_image)
    home.run(
        "deploy", "agg:1", "--target", "docker", "-n", "agg", "-f", "configs/agg_router.yaml", "-p", "0", cwd=project
    )
    replicas = json.loads(home.run("ps", "--json").stdout)
    yield next(replica["address"] for replica in replicas if replica["address"])
    home.run("rm", "agg", "--wait")
    engine.images.remove(IMAGE, force=True)


def test_it_answers_openais_client_and_shows_its_hit_rates(
    address: str, engine: docker.DockerClient, home: Home
) -> None:
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=60)
    assert [model.id for model in client.models.list()] == ["tiny"]
    said = [{"role": "user", "content": PROMPT}]
    cached = []
    for _ in range(6):
        answer = client.chat.completions.create(model="tiny", messages=said, max_tokens=8)  # type: ignore[arg-type]
        assert answer.choices[0].message.content
        assert answer.usage is not None
        assert answer.usage.prompt_tokens_details is not None
        cached.append(answer.usage.prompt_tokens_details.cached_tokens or 0)
    assert cached[0] == 0
    assert min(cached[1:]) > 0
    streamed = client.chat.completions.create(model="tiny", messages=said, max_tokens=8, stream=True)  # type: ignore[arg-type]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices)
    client.close()

    rate = until(lambda: home.json("kv", "agg")["actual"]["ratio_of_sums"], what="the hit rate")
    assert 0.5 < rate <= 1
    text = home.run("kv", "agg").stdout
    assert "hit rate" in text
    assert text.count("agg-worker-") >= 4
    mine = f"{home.path / 'state'}/"
    networks = [n for n in engine.networks.list() if (n.attrs["Labels"] or {}).get(NETWORK_LABEL, "").startswith(mine)]
    assert [network.name.startswith("dynamo-agg-") for network in networks] == [True]
    with terminal() as tty:
        tty.start(dashboard_command(), home.environ, size=(160, 45))
        tty.shows(lambda screen: "agg" in screen and "● live" in screen)
        tty.press("Enter")
        tty.shows("Worker-4")
        tty.press("4")
        tty.shows(lambda screen: re.search(r"\d+(\.\d+)? ?%", screen) is not None and "Worker-1" in screen, timeout=60)
        tty.press("q")
        assert tty.exit_code() == 0
