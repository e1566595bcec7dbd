"""What every request passes, over real sockets. Each rule fails its test when it is taken away."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from dynamod.api.guard import ACTOR, Guard
from dynamod.api.listening import ListenError, tcp_listener, unix_listener
from dynamod.api.rules import GuardRules, guard_rules
from dynamod.api.server import ApiServer
from dynamod.api.tokens import add_token, load_tokens

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


async def who_am_i(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    await JSONResponse({"actor": scope[ACTOR], "size": len(body)})(scope, receive, send)


class Listening:
    """The guarded application on a Unix socket and, with tokens, on TCP."""

    def __init__(self, path: Path, rules: GuardRules) -> None:
        self.path = path
        self.unix = unix_listener(path)
        self.tcp = tcp_listener("127.0.0.1", 0)
        self.server = ApiServer(Guard(who_am_i, rules))

    async def __aenter__(self) -> Listening:
        await self.server.start([self.unix, self.tcp])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.stop(5.0)
        self.unix.close()
        self.tcp.close()

    def over_unix(self) -> httpx.AsyncClient:
        transport = httpx.AsyncHTTPTransport(uds=str(self.path))
        return httpx.AsyncClient(transport=transport, base_url="http://localhost")

    def over_tcp(self, token: str | None = None) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        port = self.tcp.getsockname()[1]
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False)


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


@pytest.fixture
async def listening(tmp_path: Path, token_file: Path) -> AsyncIterator[tuple[Listening, str, str]]:
    """(listeners, a read-write token, a read-only token)."""
    writer = add_token(token_file, "ci")
    reader = add_token(token_file, "dashboard", read_only=True)
    rules = guard_rules(load_tokens(token_file), ["box.example"])
    async with Listening(tmp_path / "api.sock", GuardRules(rules.tokens, rules.hosts, max_body=1000)) as made:
        yield made, writer, reader


def problem(response: httpx.Response, status: int, slug: str) -> dict[str, str]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["dynamod-api-version"] == "1"
    if response.request.method == "HEAD":
        return {}
    found: dict[str, str] = response.json()
    assert found["type"] == f"urn:dynamod:problem:{slug}"
    assert found["status"] == status
    return found


async def test_the_peer_of_a_unix_socket_is_the_actor(listening: tuple[Listening, str, str]) -> None:
    async with listening[0].over_unix() as client:
        assert (await client.get("/")).json()["actor"] == f"user:{os.getuid()}"
        forged = await client.get("/", headers={"Authorization": "Bearer anything"})
        assert forged.json()["actor"] == f"user:{os.getuid()}"


def test_the_socket_is_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        listener = unix_listener(tmp_path / "api.sock")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "api.sock").stat().st_mode) == 0o600
    listener.close()


def test_a_socket_that_somebody_serves_is_left_alone_and_a_dead_one_replaced(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    first = unix_listener(path)
    with pytest.raises(ListenError, match="another program"):
        unix_listener(path)
    first.close()
    assert path.exists()
    unix_listener(path).close()


@pytest.mark.parametrize("method", METHODS)
async def test_tcp_needs_a_known_token_for_every_method(listening: tuple[Listening, str, str], method: str) -> None:
    made, writer, _ = listening
    for token in (None, "wrong", writer + "x"):
        async with made.over_tcp(token) as client:
            refused = await client.request(method, "/")
            problem(refused, 401, "unauthorized")
            assert refused.headers["www-authenticate"].startswith("Bearer")
    async with made.over_tcp(writer) as client:
        answer = await client.request(method, "/")
        assert answer.status_code == 200
        if method != "HEAD":
            assert answer.json()["actor"] == "token:ci"


async def test_tcp_without_any_token_lets_nobody_in(tmp_path: Path) -> None:
    async with Listening(tmp_path / "s", guard_rules(None)) as made, made.over_tcp("anything") as client:
        problem(await client.get("/"), 401, "unauthorized")


async def test_a_read_only_token_reads_and_changes_nothing(listening: tuple[Listening, str, str]) -> None:
    made, _, reader = listening
    async with made.over_tcp(reader) as client:
        assert (await client.get("/")).json()["actor"] == "token:dashboard"
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            problem(await client.request(method, "/"), 403, "read-only-token")


@pytest.mark.parametrize("method", METHODS)
async def test_a_rebound_name_is_refused_for_every_method(listening: tuple[Listening, str, str], method: str) -> None:
    made, writer, _ = listening
    for client in (made.over_unix(), made.over_tcp(writer)):
        async with client:
            refused = await client.request(method, "/", headers={"Host": "evil.example"})
            problem(refused, 403, "host-not-allowed")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8080", "[::1]:80", "box.example", "BOX.example:1"])
async def test_names_of_ours_and_addresses_are_served(listening: tuple[Listening, str, str], host: str) -> None:
    async with listening[0].over_unix() as client:
        assert (await client.get("/", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize("host", ["", "localhost.evil.example", "127.0.0.1.evil.example", "[", "a b"])
async def test_hosts_that_only_look_like_ours_are_refused(listening: tuple[Listening, str, str], host: str) -> None:
    async with listening[0].over_unix() as client:
        problem(await client.get("/", headers={"Host": host}), 403, "host-not-allowed")


@pytest.mark.parametrize("method", METHODS)
async def test_a_page_of_another_origin_is_refused_for_every_method(
    listening: tuple[Listening, str, str], method: str
) -> None:
    made, writer, _ = listening
    async with made.over_tcp(writer) as client:
        for origin in ("http://evil.example", "null", f"http://localhost:{made.tcp.getsockname()[1]}"):
            refused = await client.request(method, "/", headers={"Origin": origin})
            problem(refused, 403, "origin-not-allowed")
        own = f"http://127.0.0.1:{made.tcp.getsockname()[1]}"
        assert (await client.request(method, "/", headers={"Origin": own})).status_code == 200


async def test_a_client_of_another_version_is_told(listening: tuple[Listening, str, str]) -> None:
    async with listening[0].over_unix() as client:
        found = problem(await client.get("/", headers={"Dynamod-API-Version": "99"}), 400, "api-version")
        assert "99" in found["detail"]
        answer = await client.get("/", headers={"Dynamod-API-Version": "1"})
        assert answer.headers["dynamod-api-version"] == "1"


async def test_a_body_over_the_limit_is_refused_whatever_it_claims(listening: tuple[Listening, str, str]) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 100

    async with listening[0].over_unix() as client:
        problem(await client.post("/", content=b"x" * 1001), 413, "body-too-large")
        problem(await client.post("/", content=pieces()), 413, "body-too-large")
        assert (await client.post("/", content=b"x" * 1000)).json()["size"] == 1000


def test_listening_twice_on_a_port_is_one_clear_line() -> None:
    first = tcp_listener("127.0.0.1", 0)
    port = first.getsockname()[1]
    with pytest.raises(ListenError, match=f"127.0.0.1:{port}"):
        tcp_listener("127.0.0.1", port)
    first.close()
    assert isinstance(first, socket.socket)
