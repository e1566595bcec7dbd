"""Who may load the dashboard that is served to browsers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from aiohttp import web

from dynamo_tui.cli.exits import UserError
from dynamo_tui.tui.web import COOKIE, Address, DashboardServer, is_loopback


@pytest.fixture
async def server() -> AsyncIterator[tuple[Address, str]]:
    """A served dashboard whose program is never started: its address, and the root of its URLs."""
    address = Address(token="t0ken")
    runner = web.AppRunner(await DashboardServer(["false"], address)._make_app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield address, f"http://127.0.0.1:{port}"
    await runner.cleanup()


async def test_the_token_becomes_a_cookie_and_leaves_the_address(server: tuple[Address, str]) -> None:
    _, root = server
    async with httpx.AsyncClient(base_url=root, trust_env=False) as client:
        for path in ("/", "/?token=wrong", "/ws", "/static/js/textual.js", "/download/x"):
            assert (await client.get(path)).status_code == 401
        answer = await client.get("/", params={"token": "t0ken"})
        assert answer.status_code == 303
        assert answer.headers["location"] == "/"
        assert "HttpOnly" in answer.headers["set-cookie"]
        assert "SameSite=Strict" in answer.headers["set-cookie"]
        page = await client.get("/")
        assert page.status_code == 200
        assert f"ws:{root.removeprefix('http:')}/ws" in page.text
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}], ids=str
)
async def test_foreign_names_and_origins_are_refused(server: tuple[Address, str], headers: dict[str, str]) -> None:
    _, root = server
    async with httpx.AsyncClient(base_url=root, cookies={COOKIE: "t0ken"}, trust_env=False) as client:
        for path in ("/", "/ws"):
            assert (await client.get(path, headers=headers)).status_code == 403


def test_only_loopback_unless_the_user_says_otherwise() -> None:
    assert is_loopback("127.0.0.1")
    assert is_loopback("localhost")
    assert is_loopback("::1")
    assert not is_loopback("0.0.0.0")
    Address().check()
    with pytest.raises(UserError, match="other machines could reach it") as refused:
        Address(host="0.0.0.0").check()
    assert "ssh -L" in refused.value.remedy
    Address(host="0.0.0.0", remote=True).check()


def test_every_address_has_a_token_of_its_own() -> None:
    assert Address().token != Address().token
    assert Address(host="::1", port=80, token="x").url == "http://[::1]:80/?token=x"
