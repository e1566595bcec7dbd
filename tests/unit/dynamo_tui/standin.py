"""A tiny HTTP server on a Unix socket that plays the daemon: what it answers, and what it was asked."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import msgspec

from dynamod.schema.daemon import API_VERSION, API_VERSION_HEADER


@dataclass
class Asked:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Reply:
    """`body` is sent whole; `chunks` is sent as a stream that ends (breaks) when it is exhausted."""

    status: int = 200
    body: bytes = b""
    chunks: Iterable[bytes] | None = None
    headers: dict[str, str] = field(default_factory=dict)


Route = Callable[[Asked], Reply]


@dataclass
class StandIn:
    socket: Path
    asked: list[Asked] = field(default_factory=list)
    routes: dict[str, Route] = field(default_factory=dict)
    version: str = API_VERSION

    def answer(self, route: str, value: Any, status: int = 200, **headers: str) -> None:
        body = value if isinstance(value, bytes) else msgspec.json.encode(value)
        self.routes[route] = lambda _: Reply(status, body, headers=headers)


class _Forgiving(socketserver.ThreadingMixIn):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients of these tests leave in mid-stream on purpose."""


class _UnixServer(_Forgiving, socketserver.UnixStreamServer):
    request_queue_size = 64


class _TcpServer(_Forgiving, socketserver.TCPServer):
    request_queue_size = 64


def _handler(standin: StandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def address_string(self) -> str:
            return "unix"

        def serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            asked = Asked(self.command, self.path, dict(self.headers.items()), self.rfile.read(length))
            standin.asked.append(asked)
            route = standin.routes.get(f"{self.command} {self.path.partition('?')[0]}")
            reply = route(asked) if route else Reply(404, b'{"type":"t","title":"no such route","status":404}')
            self.send_response(reply.status)
            self.send_header(API_VERSION_HEADER, standin.version)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if reply.chunks is None:
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)
                return
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for chunk in reply.chunks:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                self.wfile.flush()
            self.close_connection = True  # no final chunk: the daemon was killed

        do_GET = do_POST = do_DELETE = serve

    return Handler


@contextmanager
def standin(path: Path) -> Iterator[StandIn]:
    state = StandIn(path)
    with _serving(_UnixServer(str(path), _handler(state))):
        yield state
    path.unlink(missing_ok=True)


@contextmanager
def standin_on_tcp() -> Iterator[tuple[StandIn, str]]:
    """The same on a free TCP port, with its URL."""
    state = StandIn(Path())
    server = _TcpServer(("127.0.0.1", 0), _handler(state))
    with _serving(server):
        yield state, f"http://127.0.0.1:{server.server_address[1]}"


@contextmanager
def _serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
