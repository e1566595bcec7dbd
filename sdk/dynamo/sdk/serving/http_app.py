"""The FastAPI application of one service: its endpoints over HTTP as routes, on the author's app if there is one."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import FastAPIError
from fastapi.responses import JSONResponse, Response, StreamingResponse

from dynamo.runtime import errors as runtime_errors
from dynamo.sdk.endpoints import Endpoint
from dynamo.sdk.services import Service
from dynamo.sdk.serving.streaming import error_fields, framed, guarded, media_type_for

# What a caller over HTTP can do about an error of a call behind the endpoint.
_STATUS = {
    runtime_errors.Overloaded: 503,
    runtime_errors.NoInstances: 503,
    runtime_errors.InstanceUnavailable: 503,
    runtime_errors.InstanceLost: 502,
    runtime_errors.DeadlineExceeded: 504,
}
_REQUEST = "dynamo_http_request"


def build_app(service: Service[Any], instance: object) -> FastAPI:
    """The application that serves `instance` over HTTP.

    Raises:
        FastAPIError: an endpoint's signature is nothing that FastAPI can serve.
    """
    app = service.app
    for endpoint in service.get_endpoints().values():
        if endpoint.over_http:
            _add_route(app, endpoint, instance)
    app.exception_handlers.setdefault(runtime_errors.DynamoRuntimeError, _runtime_error)
    app.exception_handlers.setdefault(Exception, _unexpected_error)
    return app


def _add_route(app: FastAPI, endpoint: Endpoint, instance: object) -> None:
    route = functools.partial(
        app.add_api_route,
        endpoint.http_path,
        _as_route(endpoint, instance),
        methods=[endpoint.http_method],
        name=endpoint.name,
        description=inspect.getdoc(endpoint.func) or "",
    )
    if endpoint.kind == "stream":
        route(response_model=None)
        return
    try:
        route()
    except FastAPIError:
        # The return annotation is no model (an iterator, say). That matters to the OpenAPI document alone.
        route(response_model=None)


def _as_route(endpoint: Endpoint, instance: object) -> Callable[..., Any]:
    """The method with its own signature, so that FastAPI reads parameters from it; answers are made here."""
    bound = endpoint.func.__get__(instance)
    is_async = inspect.iscoroutinefunction(inspect.unwrap(bound))
    is_plain = not is_async and endpoint.kind == "unary"
    signature, theirs = _signature(bound)

    @functools.wraps(bound)
    async def route(**arguments: Any) -> Any:
        request: Request = arguments[theirs] if theirs else arguments.pop(_REQUEST)
        result = await _in_thread(bound, arguments) if is_plain else bound(**arguments)
        if inspect.isawaitable(result) and not hasattr(result, "__aiter__"):
            result = await result
        return await _answer(result, endpoint, request)

    route.__signature__ = signature  # type: ignore[attr-defined]
    del route.__wrapped__  # it would lead FastAPI past the signature
    return route


async def _in_thread(func: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    from starlette.concurrency import run_in_threadpool

    return await run_in_threadpool(func, **arguments)


def _signature(bound: Callable[..., Any]) -> tuple[inspect.Signature, str]:
    """The method's signature with its annotations resolved, and the request itself added.

    FastAPI fills one argument with the request: where the method has one, its name is the second value.
    """
    signature = inspect.signature(bound)
    try:
        hints = typing.get_type_hints(bound, include_extras=True)
    except NameError:
        hints = {}
    parameters = [
        p.replace(annotation=hints.get(p.name, p.annotation), kind=p.KEYWORD_ONLY)
        for p in signature.parameters.values()
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    kinds = {p.name: p.annotation for p in parameters}
    theirs = next((name for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Request)), "")
    if not theirs:
        parameters.append(inspect.Parameter(_REQUEST, inspect.Parameter.KEYWORD_ONLY, annotation=Request))
    annotation = hints.get("return", signature.return_annotation)
    return signature.replace(parameters=parameters, return_annotation=annotation), theirs


async def _answer(result: Any, endpoint: Endpoint, request: Request) -> Any:
    if isinstance(result, StreamingResponse):
        media_type = result.headers.get("content-type") or "text/plain"
        result.body_iterator = guarded(typing.cast("AsyncIterator[Any]", result.body_iterator), media_type)
        return result
    if inspect.isgenerator(result):
        result = _iterated(result)
    if not hasattr(result, "__aiter__"):
        return result
    items = aiter(result)
    # The first item is awaited before anything is sent: a request that fails at once keeps its proper status.
    try:
        first = await anext(items)
    except StopAsyncIteration:
        return Response(media_type=media_type_for(None, request.headers.get("accept", ""), endpoint.media_type))
    media_type = media_type_for(first, request.headers.get("accept", ""), endpoint.media_type)
    return StreamingResponse(
        framed(first, items, media_type), media_type=media_type, headers={"cache-control": "no-cache"}
    )


async def _iterated(items: Any) -> AsyncIterator[Any]:
    from starlette.concurrency import iterate_in_threadpool

    async for item in iterate_in_threadpool(items):
        yield item


async def _runtime_error(_request: Request, error: Exception) -> JSONResponse:
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
    return JSONResponse({"error": error_fields(error)}, status_code=status)


async def _unexpected_error(_request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": error_fields(error)}, status_code=500)
