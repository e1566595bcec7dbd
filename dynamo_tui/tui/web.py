"""`dynamo-tui --web`: the dashboard in a browser, a process of its own for each tab of it (textual-serve).

Whoever can load the page can do what its user can, so it is served on the loopback interface, to those who have the
token of the printed address: other users of the machine, and pages of other origins that a browser has open, do not.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import shlex
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import click
from aiohttp import web
from textual_serve.server import Server

from dynamo_tui.cli.exits import UserError

COOKIE = "dynamo-tui"
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; frame-ancestors 'none'"
)
"""Nothing is loaded from elsewhere: textual-serve's page names a font of a foreign host."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Address:
    """Where to listen. `remote`: the user allowed an address that other machines reach."""

    host: str = "127.0.0.1"
    port: int = 8421
    remote: bool = False
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/?token={self.token}"

    def check(self) -> None:
        """Refuse what others could reach, unless that was asked for.

        Raises:
            UserError: it is not loopback.
        """
        if not self.is_loopback and not self.remote:
            raise UserError(
                f"--web-host {self.host}: other machines could reach it, unencrypted, and with it this daemon",
                remedy=f"leave it out and use `ssh -L {self.port}:127.0.0.1:{self.port} HOST`, or, where you trust the "
                "network, add --web-allow-remote: the token of the printed address is then all that protects it",
            )


def is_loopback(host: str) -> bool:
    if host in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def guard(address: Address) -> Any:
    """Middleware that lets nobody in without the token, by a foreign name, or from another origin's page."""

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.url.host or ""
        if address.is_loopback and not is_loopback(host):
            # A name of someone else's that was made to point here (DNS rebinding).
            raise web.HTTPForbidden(text=f"this dashboard is not served under the name {host!r}\n")
        origin = request.headers.get("Origin")
        if origin is not None and origin != f"{request.scheme}://{request.host}":
            raise web.HTTPForbidden(text="another site's page may not use this dashboard\n")
        if _same(request.query.get("token"), address.token):
            # The token leaves the address bar, and with it the history.
            answer = web.Response(status=303, headers={"Location": "/"})
            answer.set_cookie(COOKIE, address.token, httponly=True, samesite="Strict", path="/")
            return answer
        if not _same(request.cookies.get(COOKIE), address.token):
            raise web.HTTPUnauthorized(text="open the address that `dynamo-tui --web` printed: it carries a token\n")
        response = await handler(request)
        if not response.prepared:
            response.headers["Content-Security-Policy"] = POLICY
            response.headers["Referrer-Policy"] = "no-referrer"
            response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    return guarded


def _same(given: str | None, wanted: str) -> bool:
    return given is not None and hmac.compare_digest(given.encode(), wanted.encode())


class DashboardServer(Server):
    """textual-serve behind the guard, saying what it does in one line."""

    def __init__(self, command: Sequence[str], address: Address) -> None:
        super().__init__(shlex.join(command), host=address.host, port=address.port, title="dynamo")
        self.address = address

    async def _make_app(self) -> web.Application:
        app = await super()._make_app()
        app.middlewares.append(guard(self.address))
        return app

    async def handle_index(self, request: web.Request) -> web.StreamResponse:
        # As the browser calls us: through a tunnel that may be another port.
        self.public_url = f"{request.scheme}://{request.host}"
        return await super().handle_index(request)

    def initialize_logging(self) -> None:
        """Requests are nobody's news; errors reach stderr as they are."""

    async def on_startup(self, app: web.Application) -> None:
        del app
        click.echo(f"the dashboard is at {self.address.url}", err=True)
        if self.address.is_loopback:
            port = self.address.port
            click.echo(
                f"loopback only: from elsewhere, `ssh -L {port}:127.0.0.1:{port} HOST`. Ctrl-C ends it.", err=True
            )
        else:
            click.echo("other machines can reach it, and nothing is encrypted. Ctrl-C ends it.", err=True)


def serve(command: Sequence[str], address: Address) -> None:
    """Serve the dashboard until Ctrl-C; `command` is what runs for each tab of a browser.

    Raises:
        UserError: the address may not or cannot be listened on.
    """
    address.check()
    try:
        DashboardServer(command, address).serve()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{address.host} port {address.port}: {reason}", remedy="name another: --web-port") from None
