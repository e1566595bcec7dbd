"""docs/multi-node.md, executed: hello world over two hosts (network namespaces) that meet on etcd."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import hosts
from tests.servers import EtcdServer

EXAMPLE = Path(__file__).parents[2] / "examples" / "hello_world"
DEADLINE = 90.0

pytestmark = pytest.mark.skipif(bool(hosts.why_not()), reason=f"cannot make hosts here: {hosts.why_not()}")


class Serve:
    """`dynamo serve --service-name …` on one host."""

    def __init__(self, host: hosts.Host, etcd: EtcdServer, service: str, log: Path) -> None:
        self.log = log
        command = host.command(
            *(sys.executable, "-m", "dynamo_tui.cli", "serve", "hello_world:Frontend"),
            *("--service-name", service, "--discovery", etcd.url, "--advertise", host.address),
            *("--port", "8000", "--host", host.address),
        )
        env = {
            **os.environ,
            "TMPDIR": hosts.PRIVATE,  # run directories that no other host sees: what crosses must cross by TCP
            "DYN_LOCAL_STATE_DIR": f"{hosts.PRIVATE}/state",
            "DYN_LEASE_TTL": "3",
            "DYN_PEER_SILENCE": "2",
        }
        with log.open("wb") as out:
            self.process = subprocess.Popen(command, cwd=EXAMPLE, env=env, stdout=out, stderr=out)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def eventually(condition: Callable[[], bool], explain: Callable[[], str]) -> None:
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError(explain())


def ask(address: str) -> str:
    """The answer of the Frontend, or the reason why there is none."""
    request = urllib.request.Request(
        f"http://{address}:8000/generate",
        data=json.dumps({"text": "test"}).encode(),
        headers={"content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=15) as answer:
            text: str = answer.read().decode()
            return text
    except OSError as error:
        return f"no answer: {error}"


def test_a_graph_spans_two_hosts_and_recovers_from_the_loss_of_a_service(tmp_path: Path, stack: ExitStack) -> None:
    network = hosts.make(2)
    stack.callback(network.down)
    etcd = EtcdServer(tmp_path, network.address)
    stack.callback(etcd.kill)
    etcd.start()
    first, second = network.hosts

    def serve(host: hosts.Host, service: str, run: int = 1) -> Serve:
        serving = Serve(host, etcd, service, tmp_path / f"{service}-{run}.log")
        stack.callback(serving.end)
        return serving

    running = [serve(first, "Frontend"), serve(second, "Middle"), serve(second, "Backend")]

    def story() -> str:
        return "\n".join(f"== {one.log.name}\n{one.log.read_text()[-2000:]}" for one in running)

    good = "Frontend: Middle: Backend: test-mid-back"
    eventually(lambda: ask(first.address) == good, story)
    assert [ask(first.address) for _ in range(20)] == [good] * 20

    middle = running[1]
    middle.process.send_signal(signal.SIGINT)
    assert middle.process.wait(40) == 0, story()
    running.append(serve(first, "Middle", run=2))  # it comes back on the other host
    eventually(lambda: ask(first.address) == good, story)
    assert [ask(first.address) for _ in range(20)] == [good] * 20
