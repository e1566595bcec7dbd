"""The runtime's errors.

    DynamoRuntimeError
    ├── ConfigurationError      a setting or an address that cannot be used
    ├── PlaneUnreachable        the server that requests travel over does not answer; it may later
    ├── DiscoveryError          the discovery store is unreachable, timed out or refused
    │   └── LeaseLost           the lease that a key was to be put under is gone
    └── RequestError            one request failed; carries `endpoint` and `instance`
        ├── NoInstances         nobody serves the endpoint (in time)
        ├── InstanceUnavailable the instance cannot be reached, or refuses new requests (draining)
        ├── InstanceLost        the instance went away after its stream had begun
        ├── UnknownEndpoint     the process that was asked does not serve that endpoint
        ├── InvalidPayload      the payload does not fit the endpoint's request type, or cannot be sent
        ├── EndpointError       the handler raised: `error_type` and `message` are the exception's
        ├── Overloaded          a concurrency limit and its queue are full
        ├── DeadlineExceeded    the deadline passed first
        ├── Cancelled           the stream was cancelled by its caller and then read
        └── FrameTooLarge       one message is over the limit that both sides agreed on

Every error says in one line what failed, on what, and why. Those that cross the wire do so as
`(code, type, message)` and come back as the same class.
"""

from __future__ import annotations

from typing import ClassVar


class DynamoRuntimeError(Exception):
    """Base of everything that this package raises on purpose."""


class ConfigurationError(DynamoRuntimeError):
    """A setting or an address that cannot be used."""


class PlaneUnreachable(DynamoRuntimeError):
    """The server that requests travel over does not answer. It may be restarting: this is no matter of settings."""


class DiscoveryError(DynamoRuntimeError):
    """The discovery store is unreachable, timed out or refused."""


class LeaseLost(DiscoveryError):
    """The lease that a key was to be put under is gone."""


class RequestError(DynamoRuntimeError):
    """One request failed. `endpoint` is its path, `instance` the id asked (0: none was chosen)."""

    code: ClassVar[str] = "request"

    def __init__(self, message: str, *, endpoint: str = "", instance: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.endpoint = endpoint
        self.instance = instance

    @property
    def error_type(self) -> str:
        """The name that metrics and callers know this failure by."""
        return type(self).__name__

    def __str__(self) -> str:
        where = self.endpoint
        if self.instance:
            where = f"{where} on instance {self.instance:x}" if where else f"instance {self.instance:x}"
        return f"{where}: {self.message}" if where else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.error_type, self.message, self.endpoint, self.instance))


class NoInstances(RequestError):
    """Nobody serves the endpoint, or nobody did before the wait ended."""

    code = "no_instances"


class InstanceUnavailable(RequestError):
    """The instance cannot be reached or takes no new requests. No item was delivered: safe to try another."""

    code = "unavailable"


class InstanceLost(RequestError):
    """The instance went away after its stream had begun. Items already delivered stay valid."""

    code = "instance_lost"


class UnknownEndpoint(RequestError):
    """The process that was asked does not serve that endpoint."""

    code = "unknown_endpoint"


class InvalidPayload(RequestError):
    """The payload does not fit the request type (the message names the field), or cannot be encoded."""

    code = "invalid_payload"


class EndpointError(RequestError):
    """The handler raised. `error_type` and `message` are those of its exception."""

    code = "endpoint"

    def __init__(self, error_type: str, message: str, *, endpoint: str = "", instance: int = 0) -> None:
        super().__init__(message, endpoint=endpoint, instance=instance)
        self._error_type = error_type

    @property
    def error_type(self) -> str:
        return self._error_type

    def __str__(self) -> str:
        where = f"{self.endpoint} on instance {self.instance:x}: " if self.instance else ""
        return f"{where}{self._error_type}: {self.message}"


class Overloaded(RequestError):
    """A concurrency limit and the queue before it are full. Try later, or another instance."""

    code = "overloaded"


class DeadlineExceeded(RequestError):
    """The request's deadline passed before its answer was complete."""

    code = "deadline"


class Cancelled(RequestError):
    """The stream was cancelled, by its caller or because the serving process gave it up."""

    code = "cancelled"


class FrameTooLarge(RequestError):
    """One payload or item is over the limit that both sides agreed on."""

    code = "too_large"


_BY_CODE: dict[str, type[RequestError]] = {
    kind.code: kind
    for kind in (
        NoInstances,
        InstanceUnavailable,
        InstanceLost,
        UnknownEndpoint,
        InvalidPayload,
        Overloaded,
        DeadlineExceeded,
        Cancelled,
        FrameTooLarge,
    )
}


def error_from_wire(code: str, error_type: str, message: str, *, endpoint: str = "", instance: int = 0) -> RequestError:
    """The error that a peer reported. An unknown code is an `EndpointError`, so that nothing is lost."""
    kind = _BY_CODE.get(code)
    if kind is None:
        return EndpointError(error_type, message, endpoint=endpoint, instance=instance)
    return kind(message, endpoint=endpoint, instance=instance)


def error_to_wire(error: BaseException) -> tuple[str, str, str]:
    """`(code, type, message)` of whatever ended a handler."""
    if isinstance(error, RequestError):
        return error.code, error.error_type, error.message if not error.endpoint else str(error)
    if isinstance(error, TimeoutError):
        return EndpointError.code, "TimeoutError", str(error) or "timed out"
    return EndpointError.code, type(error).__name__, str(error)


def _rebuild(
    kind: type[RequestError], error_type: str, message: str, endpoint: str, instance: int
) -> RequestError:  # what pickle and copy call
    if issubclass(kind, EndpointError):
        return kind(error_type, message, endpoint=endpoint, instance=instance)
    return kind(message, endpoint=endpoint, instance=instance)
