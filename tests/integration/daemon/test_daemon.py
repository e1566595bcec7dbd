"""The daemon as a program with a real graph: start, refuse a second one, be watched over SSE, end, be adopted."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from dynamo.sdk.spec import GraphSpec
from dynamo_tui.client import calls, streams
from dynamo_tui.client.contexts import Context
from dynamo_tui.client.errors import ClientError
from dynamo_tui.client.sync import Client
from dynamod.schema import GraphState, GraphSubmit, LogLine, Replica, ServiceRates, locations

T = TypeVar("T")
EXAMPLE = Path(__file__).parents[3] / "examples" / "hello_world"
DEADLINE_S = 60.0
NAME = "hello-world"


def until(condition: Callable[[], T | None], what: str) -> T:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what} within {DEADLINE_S:g} s")


class Daemon:
    def __init__(self, state: Path) -> None:
        self.where = locations(state)
        self.log = state.parent / "daemon.log"
        self.process: subprocess.Popen[bytes]

    def start(self, *arguments: str, **environment: str) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dynamod", "--state-dir", str(self.where.state_dir), *arguments],
                stdout=log,
                stderr=log,
                env={**os.environ, **environment},
            )
        until(lambda: self.answers() or self.process.poll() is not None, "an answer")
        assert self.process.poll() is None, self.log.read_text()

    def answers(self) -> bool:
        try:
            with self.client() as client:
                client.send(calls.health())
        except ClientError:
            return False
        return True

    def client(self) -> Client:
        return Client(Context(socket=str(self.where.api_socket)), timeout=30)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)


@pytest.fixture(scope="module")
def spec() -> GraphSpec:
    printed = subprocess.run(
        [sys.executable, "-m", "dynamo.sdk.inspect", "hello_world:Frontend", "-p", "0", "--host", "127.0.0.1"],
        cwd=EXAMPLE,
        capture_output=True,
        check=True,
    )
    return msgspec.json.decode(printed.stdout, type=GraphSpec)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, spec: GraphSpec) -> Iterator[Daemon]:
    """A daemon with hello world ready."""
    made = Daemon(tmp_path_factory.mktemp("daemon") / "state")
    made.start()
    try:
        with made.client() as client:
            client.send(calls.submit(GraphSubmit(spec=spec)))
            until(lambda: client.send(calls.graph(NAME)).state is GraphState.READY, "ready")
        yield made
    finally:
        if made.process.poll() is not None:
            made.start()
        with made.client() as client:
            client.send(calls.shutdown(stop_graphs=True))
        assert made.process.wait(DEADLINE_S) == 0


def ask(daemon: Daemon, times: int) -> None:
    with daemon.client() as client:
        address = client.send(calls.graph(NAME)).address
    for _ in range(times):
        request = urllib.request.Request(
            f"{address}/generate", data=b'{"text": "test"}', headers={"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.read() == b"Frontend: Middle: Backend: test-mid-back"


def replicas(daemon: Daemon) -> dict[str, Replica]:
    with daemon.client() as client:
        return {replica.id: replica for replica in client.send(calls.replicas(graph=NAME)).items}


def test_the_socket_and_its_directory_are_private(daemon: Daemon) -> None:
    assert stat.S_IMODE(daemon.where.api_socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(daemon.where.run_dir.stat().st_mode) == 0o700
    assert daemon.where.pid_file.read_text().strip() == str(daemon.process.pid)


def test_a_second_daemon_refuses_with_one_line_and_harms_nothing(daemon: Daemon) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "dynamod", "--state-dir", str(daemon.where.state_dir)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert second.returncode == 1
    (line,) = second.stderr.splitlines()
    assert f"pid {daemon.process.pid}" in line
    assert daemon.answers()


def test_logs_are_read_and_followed_across_replicas_and_their_restart(daemon: Daemon) -> None:
    with daemon.client() as client:
        page = client.send(calls.logs(NAME, service="Middle", regex="Middle adds"))
        assert [line.service for line in page.items] == ["Middle"]
        with client.stream(streams.logs(NAME, service="Middle", tail=1000)) as lines:
            first = next(iter(lines))
            assert isinstance(first, LogLine)
            client.send(calls.restart(NAME, service="Middle"))
            for line in lines:
                assert isinstance(line, LogLine)
                if line.replica != first.replica and "Middle adds" in line.text:
                    break
            restarted = client.send(calls.restart(NAME, replica=line.replica))
            assert restarted.state is GraphState.DEPLOYING
            for again in lines:
                assert isinstance(again, LogLine)
                if again.line > line.line and "Middle adds" in again.text:
                    break
            assert again.replica == line.replica
        until(lambda: client.send(calls.graph(NAME)).state is GraphState.READY, "ready again")


def test_what_the_graph_does_is_seen_as_rates_series_and_prometheus_text(daemon: Daemon) -> None:
    ask(daemon, 20)
    with daemon.client() as client:

        def busy() -> ServiceRates | None:
            rates = client.send(calls.rates(NAME))
            return next((r for r in rates if r.service == "Frontend" and r.replica is None and r.requests_per_s), None)

        rates = until(busy, "rates")
        assert rates.latency_p50_s is not None
        assert rates.rss_bytes is not None
        with client.stream(streams.rates(NAME)) as told:
            assert {rate.service for rate in next(iter(told))} == {"Frontend", "Middle", "Backend"}
        assert "dynamo_endpoint_requests_total" in client.send(calls.metric_names(NAME))
        found = client.send(calls.metrics(NAME, "process_resident_memory_bytes", service="Middle", step=1.0))
        assert any(value for series in found for _, value in series.points)
        assert 'service="Backend"' in client.send(calls.prometheus(NAME))


def test_replicas_outlive_the_daemon_and_are_adopted_by_the_next(daemon: Daemon) -> None:
    before = {name: replica.pid for name, replica in replicas(daemon).items()}
    assert daemon.stop() == 0
    assert not daemon.where.api_socket.exists()
    assert all(Path(f"/proc/{pid}").exists() for pid in before.values())
    daemon.start()
    with daemon.client() as client:
        until(lambda: client.send(calls.graph(NAME)).state is GraphState.READY, "adoption")
    assert {name: replica.pid for name, replica in replicas(daemon).items()} == before
    ask(daemon, 1)


def test_a_daemon_of_another_version_takes_over_what_runs(daemon: Daemon, tmp_path: Path) -> None:
    """An upgrade as a package manager does it: the old daemon ends, the new one starts, and the replicas run on."""
    before = {name: replica.pid for name, replica in replicas(daemon).items()}
    installed = tmp_path / "dynamod-99.1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: dynamod\nVersion: 99.1\n")
    assert daemon.stop() == 0
    daemon.start(PYTHONPATH=str(tmp_path))
    with daemon.client() as client:
        assert client.send(calls.info()).version == "99.1"
        until(lambda: client.send(calls.graph(NAME)).state is GraphState.READY, "adoption")
    assert {name: replica.pid for name, replica in replicas(daemon).items()} == before
    ask(daemon, 1)


def test_a_stream_ends_with_the_daemon_and_resumes_with_the_next(daemon: Daemon) -> None:
    with daemon.client() as client:
        seen = client.send(calls.info()).last_seq
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(DEADLINE_S)
        connection.connect(str(daemon.where.api_socket))
        connection.sendall(b"GET /v1/events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in connection.recv(4096)
    assert daemon.stop() == 0
    rest = b""
    while piece := connection.recv(65536):
        rest += piece
    connection.close()
    assert rest.endswith(b"0\r\n\r\n"), "the stream ends, it does not break"
    daemon.start()
    with daemon.client() as client, client.stream(streams.events(after=seen)) as events:
        assert next(iter(events)).seq == seen + 1


def test_tcp_needs_a_token_and_names_its_holder(tmp_path: Path) -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "dynamod", "--state-dir", str(tmp_path / "s"), "--listen", "127.0.0.1:0"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert refused.returncode == 2
    assert "--token-file" in refused.stderr
    assert not (tmp_path / "s").exists()

    file = tmp_path / "tokens"
    made = subprocess.run(
        [sys.executable, "-m", "dynamod", "token", "ci", "--token-file", str(file)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    )
    token = made.stdout.strip()
    daemon = Daemon(tmp_path / "state")
    daemon.start("--listen", "127.0.0.1:0", "--token-file", str(file))
    try:
        line = until(
            lambda: next((one for one in daemon.log.read_text().splitlines() if "listening on 127" in one), None),
            "the address",
        )
        request = urllib.request.Request(f"http://127.0.0.1:{line.rpartition(':')[2]}/v1/info")
        with pytest.raises(urllib.error.HTTPError) as unauthorized:
            urllib.request.urlopen(request, timeout=30)
        assert unauthorized.value.code == 401
        unauthorized.value.close()
        request.add_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert json.load(answer)["pid"] == daemon.process.pid
        assert token not in daemon.log.read_text()
    finally:
        assert daemon.stop() == 0
