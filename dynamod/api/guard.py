"""What every request passes before it reaches a route: Host, Origin, token, API version, size.

The checks hold for *every* verb and path. A browser page of another site cannot reach the daemon: its
Origin differs, and a name that was rebound to our address is not one of our host names (an IP address
cannot be rebound, so literals are fine). Over a Unix socket the kernel vouches for the peer; over TCP a
token is required.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dynamod.api.problems import ApiProblem, problem_response
from dynamod.api.rules import GuardRules
from dynamod.schema import API_VERSION, API_VERSION_HEADER

UPLOADS = frozenset({("POST", "/v1/builds")})

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
ACTOR = "dynamod.actor"
UID_PREFIX = "uid:"


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, rules: GuardRules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            scope[ACTOR] = self._admit(scope)
            receive = _Limited(receive, self._limit(scope))
            await self._app(scope, receive, _versioned(send))
        except ApiProblem as refusal:
            response = problem_response(refusal.problem, refusal.headers)
            await response(scope, receive, _versioned(send))

    def _limit(self, scope: Scope) -> int:
        upload = (scope["method"], scope["path"]) in UPLOADS
        return self._rules.max_upload if upload else self._rules.max_body

    def _admit(self, scope: Scope) -> str:
        """The actor of the request, or ApiProblem."""
        headers = Headers(scope=scope)
        self._check_host(headers)
        actor = self._authenticate(scope, headers)
        asked = headers.get(API_VERSION_HEADER)
        if asked is not None and asked != API_VERSION:
            raise ApiProblem(
                400,
                "api-version",
                f"the client speaks API version {asked}, this daemon version {API_VERSION}",
                field=API_VERSION_HEADER,
                remedy="upgrade the older side; `dynamoctl env` shows both versions",
            )
        length = headers.get("content-length", "0")
        limit = self._limit(scope)
        if length.isdigit() and int(length) > limit:
            raise too_large(limit)
        return actor

    def _check_host(self, headers: Headers) -> None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            raise ApiProblem(
                403,
                "host-not-allowed",
                f"Host is {', '.join(hosts) or 'missing'}, which is not a name of this daemon",
                field="Host",
                remedy="use localhost or an IP address, or start the daemon with --allowed-host NAME",
            )
        for origin in headers.getlist("origin"):
            if urlsplit(origin).netloc.lower() != hosts[0].lower():
                raise ApiProblem(
                    403,
                    "origin-not-allowed",
                    f"a page of {origin} may not use this API",
                    field="Origin",
                    remedy="call it from a program, or from a page that the same host serves",
                )

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self._rules.own_hosts or name in self._rules.hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _authenticate(self, scope: Scope, headers: Headers) -> str:
        client = scope.get("client")
        if client and str(client[0]).startswith(UID_PREFIX):
            return f"user:{str(client[0]).removeprefix(UID_PREFIX)}"
        scheme, _, presented = headers.get("authorization", "").partition(" ")
        if self._rules.tokens is None or scheme.lower() != "bearer" or not presented:
            raise _unauthorized("a token is needed over TCP")
        token = self._rules.tokens.find(presented.strip())
        if token is None:
            raise _unauthorized("this token is not known here")
        if token.read_only and scope["method"] not in SAFE_METHODS:
            raise ApiProblem(
                403,
                "read-only-token",
                f"the token {token.name!r} may only read",
                remedy="use a read-write token for changes",
            )
        return f"token:{token.name}"


def too_large(limit: int) -> ApiProblem:
    return ApiProblem(
        413,
        "body-too-large",
        f"the body is larger than {limit} bytes",
        remedy="send less; archives go to the builds resource",
        headers={"Connection": "close"},
    )


class _Limited:
    """`receive` that refuses a body which grows beyond the limit, whatever Content-Length said."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._seen = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._seen += len(message.get("body", b""))
            if self._seen > self._limit:
                raise too_large(self._limit)
        return message


def _versioned(send: Send) -> Send:
    async def send_with_version(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers[API_VERSION_HEADER] = API_VERSION
            headers["X-Content-Type-Options"] = "nosniff"
        await send(message)

    return send_with_version


def _unauthorized(detail: str) -> ApiProblem:
    return ApiProblem(
        401,
        "unauthorized",
        detail,
        field="Authorization",
        remedy="send `Authorization: Bearer <token>`; `dynamod token NAME` makes one",
        headers={"WWW-Authenticate": 'Bearer realm="dynamod"'},
    )
