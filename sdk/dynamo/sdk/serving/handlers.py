"""From a decorated method and an instance to what the request plane calls.

The runtime accepts a plain function that returns an async iterator or an awaitable, so nothing is wrapped
around a generator and no item passes through here.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import msgspec

from dynamo.runtime.errors import InvalidPayload
from dynamo.sdk.endpoints import Endpoint

Handler = Callable[..., Any]


def request_handler(endpoint: Endpoint, instance: object) -> tuple[Handler, Any]:
    """The handler of an endpoint, and the request type that the runtime converts payloads to (or None).

    The handler takes `(payload)`, or `(payload, context)` when the method has an argument of that name.

    Raises:
        DefinitionError: the request type cannot be resolved.
    """
    bound = endpoint.func.__get__(instance)
    takes_payload, takes_context = _arguments(bound)
    call: Handler = bound
    if not takes_payload:
        call = (lambda _payload, context: bound(context=context)) if takes_context else (lambda _payload: bound())
    elif takes_context:
        # By name: a method may have other arguments, with defaults, in between.
        call = lambda payload, context: bound(payload, context=context)  # noqa: E731
    if not _is_async(bound):
        call = _awaited(call)
    kind = endpoint.request_type
    if not takes_payload or not _mentions_model(kind):
        return call, None  # such annotations are for readers: payloads pass as they are
    if _converted_by_runtime(kind):
        return call, kind
    return _converting(call, _adapter(kind)), None


def _arguments(bound: Callable[..., Any]) -> tuple[bool, bool]:
    """Whether the method takes a payload, and whether it takes `context`."""
    parameters = inspect.signature(bound).parameters.values()
    named = [
        p for p in parameters if p.name != "context" and p.kind is not p.VAR_KEYWORD and p.kind is not p.KEYWORD_ONLY
    ]
    return bool(named), any(p.name == "context" for p in parameters)


def _is_async(bound: Callable[..., Any]) -> bool:
    func = inspect.unwrap(bound)
    return inspect.isasyncgenfunction(func) or inspect.iscoroutinefunction(func)


def _awaited(call: Handler) -> Handler:
    """For a method that is not async itself: whatever it returns, as an async iterator or an awaitable."""

    def adapted(*arguments: Any) -> Any:
        result = call(*arguments)
        if hasattr(result, "__aiter__") or inspect.isawaitable(result):
            return result
        return _iterated(result) if inspect.isgenerator(result) else _value(result)

    if _arguments(call)[1]:
        return lambda payload, context: adapted(payload, context)
    return lambda payload: adapted(payload)


async def _iterated(items: Iterator[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


async def _value(value: Any) -> Any:
    return value


def _mentions_model(kind: Any) -> bool:
    return _converted_by_runtime(kind) or any(_mentions_model(part) for part in typing.get_args(kind))


def _converted_by_runtime(kind: Any) -> bool:
    return isinstance(kind, type) and (
        hasattr(kind, "model_validate")
        or issubclass(kind, msgspec.Struct)
        or dataclasses.is_dataclass(kind)
        or typing.is_typeddict(kind)
    )


def _adapter(kind: Any) -> Callable[[Any], Any]:
    """A converter for unions, annotated types and containers of models."""
    from pydantic import TypeAdapter

    adapter = TypeAdapter(kind)
    return lambda payload: (
        adapter.validate_json(payload) if isinstance(payload, str | bytes) else adapter.validate_python(payload)
    )


def _converting(call: Handler, convert: Callable[[Any], Any]) -> Handler:
    def converted(payload: Any) -> Any:
        try:
            return convert(payload)
        except ValueError as error:
            details = getattr(error, "errors", None)
            problems = details(include_url=False, include_input=False) if callable(details) else ()
            text = "; ".join(f"{'.'.join(map(str, p['loc'])) or 'payload'}: {p['msg']}" for p in problems)
            raise InvalidPayload(text or str(error)) from error

    if _arguments(call)[1]:
        return lambda payload, context: call(converted(payload), context)
    return lambda payload: call(converted(payload))
