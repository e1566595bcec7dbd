"""The typed client against a real daemon process, over its socket and over TCP."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing

import pytest

from dynamo.sdk.spec import GraphSpec, ServiceSpec
from dynamo_tui.client import calls, streams
from dynamo_tui.client.aio import AsyncClient
from dynamo_tui.client.contexts import Context, choose
from dynamo_tui.client.errors import Conflict, Invalid, NotFound, Unauthorised, Unreachable
from dynamo_tui.client.processes import start_daemon
from dynamo_tui.client.sync import Client
from dynamod.schema.graphs import GraphSubmit
from dynamod.schema.states import Action
from tests.e2e.commands import Home, alive, until

pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("client-daemon")]


@pytest.fixture
def context(home: Home) -> Context:
    home.run("daemon", "start")
    return choose(home.environ).context


def idle(name: str = "idle") -> GraphSubmit:
    """A graph that starts no process: a service with no replicas wanted."""
    service = ServiceSpec(name="Quiet", target="nowhere:Quiet", workers=0)
    spec = GraphSpec(
        name=name,
        target="nowhere:Quiet",
        entry="Quiet",
        services=(service,),
        interpreter=sys.executable,
        working_dir="/",
    )
    return GraphSubmit(spec=spec)


def test_two_that_start_the_daemon_at_once_get_the_same_one(home: Home) -> None:
    with ThreadPoolExecutor(2) as pool:
        pids = {d.pid for d in pool.map(lambda _: start_daemon(home.environ), range(2))}
    assert pids == {home.json("daemon", "status")["pid"]}


def test_what_is_submitted_can_be_asked_for_and_changed_by_who_saw_it(context: Context) -> None:
    with Client(context) as client:
        created = client.answer(calls.submit(idle()))
        assert created.status == 201
        assert client.answer(calls.submit(idle())).status == 200, "submitting the same again changes nothing"
        seen = client.answer(calls.graph("idle"))
        assert seen.etag
        assert [g.name for g in client.send(calls.graphs()).items] == ["idle"]
        assert [g.name for g in client.send(calls.graphs(project=None)).items] == ["idle"]
        assert client.send(calls.graphs(project="other")).items == []
        assert client.send(calls.replicas(project=None)).items == []
        assert [r.number for r in client.send(calls.revisions("idle")).items] == [1]
        client.send(calls.stop("idle"))
        with pytest.raises(Conflict):
            client.send(calls.scale("idle", "Quiet", 0, if_match='"stale"'))
        with pytest.raises(NotFound, match="idle"):
            client.send(calls.graph("idel"))
        with pytest.raises(Invalid):
            client.send(calls.logs("idle", regex="("))
        assert client.send(calls.metric_names("idle")) == []
        client.send(calls.remove("idle"))
        until(lambda: not client.send(calls.graphs()).items, what="removal")


def test_events_resume_without_a_gap_across_the_death_of_the_daemon(home: Home, context: Context) -> None:
    async def replace_daemon(pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(until, lambda: not alive(pid))
        await asyncio.to_thread(home.run, "daemon", "start")

    async def follow() -> list[int]:
        seen: list[int] = []
        async with AsyncClient(context) as client:
            await client.send(calls.submit(idle("one")))
            async with aclosing(client.follow(streams.events(after=0))) as events:
                async for event in events:
                    seen.append(event.seq)
                    if event.action is Action.GRAPH_CREATED and event.graph == "one":
                        await replace_daemon((await client.send(calls.info())).pid)
                        await client.send(calls.submit(idle("two")))
                    if event.action is Action.GRAPH_CREATED and event.graph == "two":
                        return seen
        return seen

    seen = asyncio.run(asyncio.wait_for(follow(), 200))
    assert seen == list(range(1, len(seen) + 1))


def test_tcp_takes_a_token_and_nothing_less(home: Home) -> None:
    tokens = home.path / "tokens"
    made = {
        kind: subprocess.run(
            [sys.executable, "-m", "dynamod", "token", kind, "--token-file", str(tokens), *options],
            env=home.environ, capture_output=True, text=True, timeout=60, check=True,
        ).stdout.strip()
        for kind, options in (("full", ()), ("viewer", ("--read-only",)))
    }  # fmt: skip
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home.run("daemon", "start", "--listen", f"127.0.0.1:{port}", "--token-file", str(tokens))
    url = f"http://127.0.0.1:{port}"
    (home.path / "secret").write_text(made["full"])
    home.run("config", "set", "box", "--url", url, "--token-file", str(home.path / "secret"), "--use")
    assert home.json("daemon", "status")["pid"]
    with Client(Context(url=url)) as client, pytest.raises(Unauthorised):
        client.send(calls.graphs())
    with Client(Context(url=url, token="wrong")) as client, pytest.raises(Unauthorised):
        client.send(calls.graphs())
    with Client(Context(url=url, token=made["viewer"])) as client:
        assert client.send(calls.graphs()).items == []
        with pytest.raises(Unauthorised):
            client.send(calls.submit(idle()))
    with Client(Context(url=url, token=made["full"])) as client:
        assert client.answer(calls.submit(idle())).status == 201
    with Client(Context(url="http://127.0.0.1:1", name="x")) as client, pytest.raises(Unreachable):
        client.send(calls.graphs())
    home.run("config", "use", "local")
