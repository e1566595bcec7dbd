"""Errors in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}` and the status that goes with it."""

from __future__ import annotations

import math

import msgspec

from dynamo.llm.errors import Busy, NoWorkers, RequestError, ServingError


class ErrorBody(msgspec.Struct, kw_only=True):
    message: str
    type: str
    param: str | None = None
    code: str | int | None = None


class ErrorAnswer(msgspec.Struct, kw_only=True):
    """One error as HTTP carries it. `retry_after` is in seconds, None where a retry does not help."""

    status: int
    error: ErrorBody
    retry_after: float | None = None

    def body(self) -> bytes:
        return msgspec.json.encode({"error": self.error})

    def headers(self) -> list[tuple[bytes, bytes]]:
        if self.retry_after is None:
            return []
        return [(b"retry-after", str(max(1, math.ceil(self.retry_after))).encode())]


TYPES = {
    400: "invalid_request_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    413: "invalid_request_error",
}


def from_exception(error: BaseException) -> ErrorAnswer:
    """What the client is told of an exception; a bug shows as 500 without its insides."""
    if isinstance(error, RequestError):
        body = ErrorBody(message=error.message, type="invalid_request_error", param=error.param, code=error.code)
        return ErrorAnswer(status=error.status, error=body)
    if isinstance(error, Busy):
        body = ErrorBody(message=str(error), type="rate_limit_error", code="overloaded")
        return ErrorAnswer(status=429, error=body, retry_after=error.retry_after)
    if isinstance(error, NoWorkers):
        body = ErrorBody(message=str(error), type="service_unavailable_error", code="no_workers")
        return ErrorAnswer(status=503, error=body, retry_after=error.retry_after)
    if isinstance(error, ServingError):
        body = ErrorBody(message=str(error), type="server_error", code="generation_failed")
        return ErrorAnswer(status=error.status, error=body)
    body = ErrorBody(message="The server failed on this request; its log says why.", type="server_error")
    return ErrorAnswer(status=500, error=body)


def plain(status: int, message: str, code: str | None = None) -> ErrorAnswer:
    """An error that belongs to HTTP itself, such as an unknown path."""
    kind = TYPES.get(status, "server_error")
    return ErrorAnswer(status=status, error=ErrorBody(message=message, type=kind, code=code))
