"""The walking skeleton's promises, through the real commands: serve, submit, and a daemon that can be killed."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.commands import EXAMPLES, Home, Http, alive, until

HELLO = EXAMPLES / "hello_world"
ANSWER = "Frontend: Middle: Backend: test-mid-back"
LONG_ANSWER = "Frontend: Middle: Backend: aFrontend: Middle: Backend: bFrontend: Middle: Backend: c-mid-back"
pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("e2e-hello")]
GRAPHS = Path(__file__).parent / "graphs"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ask(url: str, times: int) -> list[tuple[int, str]]:
    connection = Http(url)
    try:
        return [connection.post("/generate", {"text": "test"}) for _ in range(times)]
    finally:
        connection.close()


def test_serve_answers_exactly_from_the_first_request_on_and_ends_cleanly(home: Home) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with home.running("serve", "hello_world:Frontend", "-p", str(port), "--host", "127.0.0.1", cwd=HELLO) as serve:
        until(lambda: listens(port) or serve.poll() is not None, what="the port")
        assert serve.poll() is None, serve.communicate()[0]
        with ThreadPoolExecutor(10) as pool:
            answers = [a for part in pool.map(lambda _: ask(url, 50), range(10)) for a in part]
        assert len(answers) == 500
        wrong = [a for a in answers if a != (200, ANSWER)]
        assert not wrong, f"{len(wrong)} of 500: {wrong[:3]}"
        connection = Http(url)
        assert connection.post("/generate", {"text": "a b c"}) == (200, LONG_ANSWER)
        assert connection.post("/generate", {"nope": 1})[0] == 422
        connection.close()

        replicas = home.json("ps")  # no daemon runs: commands look at the serve
        assert {r["service"] for r in replicas} == {"Frontend", "Middle", "Backend"}
        assert home.run("daemon", "stop", code=5).stdout == "", "a serve is no daemon"
        pids = [r["pid"] for r in replicas]
        for replica in replicas:
            command = Path(f"/proc/{replica['pid']}/cmdline").read_bytes().split(b"\0")
            assert b"--service-name" in command
            assert replica["service"].encode() in command
        serve.send_signal(signal.SIGINT)
        assert serve.wait(60) == 0
        until(lambda: not any(alive(pid) for pid in pids), what="the end of all replicas")


def submit_hello(home: Home) -> dict[str, Any]:
    home.run(
        "submit", "hello_world:Frontend", "-p", "0", "--host", "127.0.0.1", "--wait", "--timeout", "150s", cwd=HELLO
    )
    graphs: list[dict[str, Any]] = home.json("graphs")
    assert [(g["name"], g["state"]) for g in graphs] == [("hello-world", "ready")]
    return graphs[0]


def by_service(home: Home) -> dict[str, dict[str, Any]]:
    return {r["service"]: r for r in home.json("ps")}


def test_submit_and_a_killed_worker_is_back_with_the_reason_recorded(home: Home) -> None:
    graph = submit_hello(home)
    assert ask(graph["address"], 3) == [(200, ANSWER)] * 3
    before = by_service(home)
    assert set(before) == {"Frontend", "Middle", "Backend"}
    assert all(r["pid"] and r["state"] == "ready" and r["reason"] for r in before.values())

    os.kill(before["Backend"]["pid"], signal.SIGKILL)

    def back() -> dict[str, Any] | None:
        now = by_service(home).get("Backend")
        fresh = now is not None and now["state"] == "ready" and now["pid"] not in (None, before["Backend"]["pid"])
        return now if fresh else None

    after = until(back, what="the backend's return")
    assert after["restarts"] >= 1
    assert ask(graph["address"], 3) == [(200, ANSWER)] * 3
    assert (after["last_exit"]["signal"], after["last_exit"]["reason"]) == ("SIGKILL", "killed_by_signal")
    events = home.json("events", "hello-world", "--service", "Backend")
    assert any((e["data"].get("last_exit") or {}).get("signal") == "SIGKILL" for e in events), "the history has it too"
    assert "SIGKILL" in home.run("why", "Backend").stdout
    others = by_service(home)
    assert {s: others[s]["pid"] for s in ("Frontend", "Middle")} == {
        s: before[s]["pid"] for s in ("Frontend", "Middle")
    }


class Load:
    """Numbered requests, one after the other, until it is stopped; each one's answer is kept."""

    def __init__(self, url: str) -> None:
        self.answers: list[tuple[int, str]] = []
        self.errors: list[str] = []
        self._url = url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)

    def wait_for_more(self, count: int) -> None:
        goal = len(self.answers) + count
        until(lambda: len(self.answers) >= goal or self.errors, what=f"{count} more answers")

    def _run(self) -> None:
        connection = Http(self._url)
        number = 0
        while not self._stop.is_set():
            try:
                self.answers.append(connection.post("/count", {"n": number}))
            except OSError as error:
                self.errors.append(f"request {number}: {error!r}")
                return
            number += 1
        connection.close()


def test_a_killed_daemon_fails_no_request_and_the_next_adopts_the_same_processes(home: Home) -> None:
    home.run("submit", "counting:Front", "-p", "0", "--host", "127.0.0.1", "--wait", "--timeout", "150s", cwd=GRAPHS)
    address = home.json("graphs")[0]["address"]
    before = by_service(home)
    with Load(address) as load:
        load.wait_for_more(50)
        os.kill(home.json("daemon", "status")["pid"], signal.SIGKILL)
        load.wait_for_more(200)
        assert home.run("daemon", "status", code=5).stdout == ""
        home.run("daemon", "start")
        load.wait_for_more(50)
        until(lambda: all(r["state"] == "ready" for r in home.json("ps")), what="adoption")
        load.wait_for_more(50)
    assert not load.errors
    assert all(status == 200 for status, _ in load.answers)
    after = by_service(home)
    assert {s: r["pid"] for s, r in after.items()} == {s: r["pid"] for s, r in before.items()}
    assert all(r["restarts"] == 0 for r in after.values())

    def counted() -> list[int]:
        text = home.run("logs", "counting", "Back").stdout
        return [int(n) for n in re.findall(r"counted (\d+)$", text, re.MULTILINE)]

    expected = list(range(len(load.answers)))
    deadline = time.monotonic() + 20
    while counted() != expected and time.monotonic() < deadline:
        time.sleep(0.1)  # the last lines reach the file a moment after their answers
    assert counted() == expected, "every line written while the daemon was dead is there, once, in order"
