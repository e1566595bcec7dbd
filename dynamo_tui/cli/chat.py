"""A small client of an OpenAI-compatible frontend, on the standard library.

The protocol: https://platform.openai.com/docs/api-reference/chat (completions, streamed as server-sent events).
"""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import msgspec

from dynamo.sdk.spec import UNREADABLE
from dynamo_tui.cli.exits import CliError
from dynamo_tui.client.sse import EventParser

TIMEOUT_S = 300.0
"""How long a frontend may be silent: a long prompt on a busy engine takes its time."""
_DONE = b"[DONE]"


class ChatError(CliError):
    """The frontend refused, broke off, or is not there."""


class Message(msgspec.Struct, frozen=True):
    role: str
    content: str


class ChatOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a request may set; None leaves it to the frontend."""

    max_tokens: int | None = None
    temperature: float | None = None


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    error: Any = None


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model] = []


class Frontend:
    """One OpenAI frontend, by its base URL."""

    def __init__(self, url: str, *, timeout: float = TIMEOUT_S) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ChatError(f"{url!r} is not a URL", remedy="write http://HOST:PORT")
        self.url = url
        self._secure = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port
        self._prefix = parts.path.rstrip("/").removesuffix("/v1")
        self._timeout = timeout

    def models(self) -> list[str]:
        """The models it serves now."""
        connection = self._connect()
        try:
            response = self._ask(connection, "GET", "/v1/models", None)
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(error) from error
        finally:
            connection.close()
        try:
            return [m.id for m in msgspec.json.decode(body, type=_Models).data]
        except UNREADABLE:
            raise self._no_frontend() from None

    def stream(self, model: str, messages: list[Message], options: ChatOptions) -> Iterator[str]:
        """The answer, piece by piece.

        Raises:
            ChatError: refused, or broken off in mid-stream.
        """
        body = msgspec.to_builtins(options) | {
            "model": model,
            "messages": msgspec.to_builtins(messages),
            "stream": True,
        }
        connection = self._connect()
        try:
            response = self._ask(connection, "POST", "/v1/chat/completions", msgspec.json.encode(body))
            yield from self._pieces(response)
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(error) from error
        finally:
            connection.close()

    def _pieces(self, response: http.client.HTTPResponse) -> Iterator[str]:
        parser = EventParser()
        while chunk := response.read1(65536):
            for event in parser.feed(chunk):
                if event.data == _DONE:
                    return
                part = _decode(event.data)
                if part.error is not None:
                    raise ChatError(f"the model broke off: {_error_text(part.error)}")
                for choice in part.choices:
                    if choice.delta.content:
                        yield choice.delta.content
        raise ChatError("the answer broke off before its end", remedy="look at the graph's logs: `dynamoctl logs`")

    def _connect(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        return kind(self._host, self._port, timeout=self._timeout)

    def _ask(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None
    ) -> http.client.HTTPResponse:
        headers = {"Content-Type": "application/json"} if body else {}
        connection.request(method, self._prefix + path, body=body, headers=headers)
        response = connection.getresponse()
        if response.status == 404 and method == "GET":
            raise self._no_frontend()
        if response.status != 200:
            raise ChatError(f"{self.url}{path} answered {response.status}: {_refusal(response.read(65536))}")
        return response

    def _no_frontend(self) -> ChatError:
        return ChatError(f"{self.url} is no OpenAI frontend", remedy="name a graph that serves a model")

    def _broken(self, error: Exception) -> ChatError:
        cause = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or repr(error)
        return ChatError(f"no frontend answers at {self.url} ({cause})", remedy="check the graph: `dynamoctl ps`")


def _decode(data: bytes) -> _Chunk:
    try:
        return msgspec.json.decode(data, type=_Chunk)
    except UNREADABLE as error:
        raise ChatError(f"the frontend sent something that is no completion: {error}") from None


def _refusal(body: bytes) -> str:
    try:
        return _error_text(msgspec.json.decode(body, type=dict[str, Any]))
    except UNREADABLE:
        return body.decode("utf-8", "replace").strip()[:300] or "no reason given"


def _error_text(value: Any) -> str:
    """The message in `{"error": {"message": …}}`, `{"message": …}` or `{"detail": …}`."""
    while isinstance(value, dict):
        for key in ("error", "message", "detail"):
            if key in value:
                value = value[key]
                break
        else:
            break
    return str(value)
