"""The real dashboard in a real terminal, against a real daemon that runs the KV-routing example under load."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.commands import EXAMPLES, Home, Http
from tests.e2e.terminal import dashboard_command, needs_tmux, terminal

SHARED = "You answer questions about the harbour. Tides, cranes, berths and pilots are your subjects. " * 12
"""Long enough that its blocks dominate a prompt."""


@contextmanager
def traffic(address: str, model: str) -> Iterator[list[int]]:
    """A trickle of chat requests that share a prefix; yields the statuses of the answers."""
    statuses: list[int] = []
    stop = threading.Event()

    def chat() -> None:
        http = Http(address)
        number = 0
        while not stop.is_set():
            number += 1
            messages = [{"role": "system", "content": SHARED}, {"role": "user", "content": f"Question {number}?"}]
            status, _ = http.post("/v1/chat/completions", {"model": model, "messages": messages, "max_tokens": 8})
            statuses.append(status)
            stop.wait(0.1)
        http.close()

    thread = threading.Thread(target=chat, daemon=True)
    thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        thread.join(30)


def hit_rate(screen: str) -> float | None:
    """The overall hit rate as the KV page shows it."""
    found = re.search(r"hit rate predicted\s+([\d.]+)%", screen)
    return float(found[1]) if found else None


@needs_tmux
def test_a_new_user_finds_their_way(home: Home) -> None:
    home.run(
        "submit",
        "graphs.agg_router:Frontend",
        "--file",
        "configs/agg_router.yaml",
        "--name",
        "chat",
        "--port",
        "0",
        "--wait",
        cwd=EXAMPLES / "llm",
    )
    graph = home.json("describe", "chat")
    address = graph["address"] if "address" in graph else graph["graph"]["address"]
    with terminal() as tty:
        tty.start(dashboard_command("--no-start"), home.environ, size=(120, 40))
        tty.shows(lambda s: "chat" in s and "ready" in s and "● live" in s)

        tty.press("Enter")  # the graph: services, topology, replicas
        screen = tty.shows("Worker-4")
        assert "└─" in screen
        assert "Frontend" in screen

        tty.press("l")  # its logs
        tty.shows(lambda s: "following" in s and "logs" in s)
        tty.press("g")
        tty.shows("paused")
        tty.press("Escape")
        tty.shows("Worker-4")

        with traffic(address, "tiny") as statuses:
            tty.press("4")  # the KV router
            first = hit_rate(tty.shows(lambda s: hit_rate(s) is not None, timeout=60))
            later = tty.shows(lambda s: (hit_rate(s) or 0.0) > max(60.0, first or 0.0), timeout=60)
            assert "Worker-" in later
            assert statuses
            assert set(statuses) == {200}

        tty.press("?")
        tty.shows("Keys and commands")
        tty.press("Escape")
        tty.shows(lambda s: "Keys and commands" not in s)
        tty.press("q")
        assert tty.exit_code() == 0


@needs_tmux
def test_a_failing_replica_is_found_explained_and_mended(home: Home) -> None:
    """By the keys that `?` names: the graph in trouble comes first, its replica says why, a restart is asked for."""
    home.run("submit", "hello_world:Frontend", "--port", "0", "--wait", cwd=EXAMPLES / "hello_world")
    with terminal() as tty:
        tty.start(dashboard_command("--no-start"), home.environ, size=(80, 24))
        tty.shows(lambda s: "hello-world" in s and "3/3" in s)
        tty.press("Enter")
        tty.shows("Backend-1")
        tty.press("Tab", "Enter")
        tty.shows(lambda s: "runs as" in s and "why" in s)
        before = re.search(r"pid (\d+)", tty.screen)
        assert before
        tty.press("r")
        tty.shows("dynamoctl restart hello-world --replica")
        tty.press("y")
        tty.shows(lambda s: (found := re.search(r"pid (\d+)", s)) is not None and found[1] != before[1], timeout=60)
        tty.press(":", "q", "u", "i", "t", "Enter")
        assert tty.exit_code() == 0


@needs_tmux
def test_without_a_daemon_it_starts_one_and_says_so(home: Home) -> None:
    with terminal() as tty:
        tty.start(dashboard_command(), home.environ, size=(80, 24))
        screen = tty.shows(lambda s: "no graphs yet" in s and "started one" in s, timeout=60)
        assert "● live" in screen
        tty.press("q")
        assert tty.exit_code() == 0
    assert home.json("daemon", "status")


def worker_pids(home: Home) -> dict[str, int]:
    """The processes of the running workers, by the replica's short name."""
    replicas = home.json("describe", "chat")["replicas"]
    return {f"Worker-{r['index']}": r["pid"] for r in replicas if r["service"] == "Worker" and r["pid"]}


@needs_tmux
def test_a_newcomer_finds_what_died_restarts_it_and_watches_the_hit_rate_recover(home: Home) -> None:
    """With what `?` says and nothing else: what died, when, why; a restart; the hit rate comes back."""
    submit = ("submit", "graphs.agg_router:Frontend", "--file", "configs/agg_router.yaml", "--name", "chat")
    home.run(*submit, "--port", "0", "--wait", cwd=EXAMPLES / "llm")
    address = home.json("ps")[0]["address"]
    with terminal() as tty:
        tty.start(dashboard_command("--no-start"), home.environ, size=(120, 40))
        tty.shows(lambda s: "chat" in s and "● live" in s)
        tty.press("?")
        keys = tty.shows("Keys and commands")
        assert "Restart" in keys or "In a table" in keys
        tty.press("Escape")
        tty.shows(lambda s: "Keys and commands" not in s)
        tty.press("Enter")
        tty.shows("Worker-4")
        with traffic(address, "tiny"):
            tty.press("4")
            tty.shows(lambda s: (hit_rate(s) or 0.0) > 60.0, timeout=90)
            for pid in worker_pids(home).values():
                os.kill(pid, signal.SIGKILL)
            tty.press("2")  # each worker has one restart, and is there again
            tty.shows(lambda s: len(re.findall(r"Worker-\d +ready +\S+ +1 ", s)) == 4, timeout=90)

            tty.press("t")  # what it looked like when it happened
            tty.shows("as it was at")
            tty.press("(")
            tty.shows(lambda s: "backing off" in s or "killed" in s, timeout=60)
            tty.press("Escape")
            tty.shows(lambda s: "● live" in s and "Worker-4" in s)

            tty.press("Tab")  # why: the last of the replicas
            tty.shows("▌● Frontend-1")
            tty.press("G")
            tty.shows("▌● Worker-4")
            tty.press("Enter")
            tty.shows(lambda s: "last exit" in s and "signal" in s, timeout=60)
            before = re.search(r"pid (\d+)", tty.screen)
            assert before
            tty.press("r")
            tty.shows("dynamoctl restart chat --replica")
            tty.press("y")
            tty.shows(lambda s: (pid := re.search(r"pid (\d+)", s)) is not None and pid[1] != before[1], timeout=90)
            tty.press("4")
            tty.shows(lambda s: (hit_rate(s) or 0.0) > 60.0, timeout=90)
        tty.press("q")
        assert tty.exit_code() == 0
