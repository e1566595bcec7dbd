"""FastAPI speaking the msgspec wire model.

Bodies are decoded and validated by msgspec (an error names the field), answers are encoded by it, and the
OpenAPI document takes its components from `msgspec.json.schema_components`. FastAPI does the rest: routing,
path and query parameters, dependencies.

A handler is marked with `describes(...)`; `openapi_document` reads the marks when the document is asked for,
so that starting the daemon does not pay for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_args, get_origin

import msgspec
from fastapi import Depends, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.responses import Response

from dynamo.sdk.spec import UNREADABLE
from dynamod.api.problems import PROBLEM_JSON, ApiProblem
from dynamod.schema import API_VERSION, API_VERSION_HEADER, Problem

JSON = "application/json"
EVENT_STREAM = "text/event-stream"
TEXT = "text/plain"
NOT_MODIFIED = 304

_COMMON_PROBLEMS = (400, 401, 403, 413, 422, 503, 507)
_PROBLEM_MEANINGS = {
    400: "The request is malformed, or for another API version.",
    401: "A token is needed.",
    403: "The token is read-only, or Host or Origin is not one of ours.",
    404: "There is no such thing.",
    405: "The method does not fit the resource.",
    409: "The request conflicts with the present state.",
    410: "That part of the event feed is gone; take a fresh snapshot.",
    412: "The resource has changed since it was read (If-Match).",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "The request is well-formed and wrong; `field` says where.",
    501: "This installation cannot do that.",
    503: "The daemon cannot do that now.",
    507: "The disk of the daemon is full.",
}

_BYTES = {"type": "string", "format": "binary"}

F = TypeVar("F", bound=Callable[..., Any])
_AT_PATH = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_NAMED_FIELD = re.compile(r"(?:required|unknown) field `(?P<name>[^`]+)`")


class WireResponse(Response):
    """A wire model object as JSON; `etag` is sent quoted."""

    media_type = JSON

    def __init__(self, content: Any, status_code: int = 200, *, etag: str = "", headers: dict[str, str] | None = None):
        headers = dict(headers or {})
        if etag:
            headers["ETag"] = f'"{etag}"'
        super().__init__(content, status_code=status_code, headers=headers)

    def render(self, content: Any) -> bytes:
        return msgspec.json.encode(content)


@dataclass(frozen=True)
class Operation:
    """What the OpenAPI document says about one route beyond its parameters."""

    answer: Any = None
    status: int = 200
    also: dict[int, str] = field(default_factory=dict)
    body: Any = None
    body_optional: bool = False
    stream: dict[str, Any] | None = None
    text: str | None = None
    takes: str | None = None
    gives: str | None = None
    problems: tuple[int, ...] = ()
    etag: bool = False

    def types(self) -> Iterable[Any]:
        for kind in (self.answer, self.body, *(self.stream or {}).values()):
            if kind is not None:
                yield kind


def describes(
    answer: Any = None,
    *,
    status: int = 200,
    also: dict[int, str] | None = None,
    body: Any = None,
    body_optional: bool = False,
    stream: dict[str, Any] | None = None,
    text: str | None = None,
    takes: str | None = None,
    gives: str | None = None,
    problems: tuple[int, ...] = (),
    etag: bool = False,
) -> Callable[[F], F]:
    """Mark a handler with its place in the OpenAPI document.

    `answer` is the wire type of the body (None: no body); `also` are further success statuses with the same
    body (304: none) and what they mean; `stream` maps the names of server-sent events to the types of their data;
    `text` is the media type of a plain answer; `takes` and `gives` are those of a body and an answer that are plain
    bytes.
    """

    def mark(handler: F) -> F:
        handler.__wire__ = Operation(  # type: ignore[attr-defined]
            answer, status, also or {}, body, body_optional, stream, text, takes, gives, problems, etag
        )
        return handler

    return mark


def wire_body(kind: type[Any], *, optional: bool = False) -> Any:
    """A FastAPI dependency that reads the body as `kind`. `optional`: an empty body means all defaults."""
    decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(kind)

    async def read(request: Request) -> Any:
        raw = await request.body()
        if not raw and optional:
            raw = b"{}"
        declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if raw and declared and declared != JSON and not declared.endswith("+json"):
            raise ApiProblem(415, "unsupported-media-type", f"the body is {declared}", remedy=f"send {JSON}")
        return decode_body(raw, decoder)

    return Depends(read)


def decode_body(raw: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    """Decode or raise: 422 with the field's dotted path, 400 when it is not JSON at all."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        what, path = _located(str(error))
        raise ApiProblem(422, "invalid", what, field=path or None) from None
    except UNREADABLE as error:
        detail = "the body is empty" if not raw else f"the body is not JSON: {error}"
        raise ApiProblem(400, "malformed", detail, remedy="GET /openapi.json shows what is expected") from None


def _located(message: str) -> tuple[str, str]:
    """Split msgspec's message into what is wrong and the dotted path of the field."""
    match = _AT_PATH.match(message)
    what, path = (match["what"], match["path"] or "") if match else (message, "")
    named = _NAMED_FIELD.search(what)
    if named:
        path = f"{path}.{named['name']}" if path else named["name"]
    return what, path


def openapi_document(
    app: FastAPI, routes: Sequence[APIRoute], examples: dict[Any, Callable[[], Any]]
) -> dict[str, Any]:
    """The complete OpenAPI document of the routes: FastAPI's own part, and what the handlers' marks say.

    `examples` makes an example for each wire type that has one.
    """
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=routes, openapi_version="3.1.0"
    )
    marked = [(route, route.endpoint.__wire__) for route in routes if hasattr(route.endpoint, "__wire__")]
    kinds = list(dict.fromkeys(kind for _, operation in marked for kind in operation.types()))
    kinds.append(Problem)
    schemas, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    schema_of = dict(zip(kinds, schemas, strict=True))
    for kind, make in examples.items():
        name = _component_name(kind, schema_of)
        if name in components:
            components[name]["examples"] = [msgspec.to_builtins(make())]
    # FastAPI's own validation errors leave the daemon as problem documents, never in its shape.
    own = document.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        own.pop(name, None)
    own.update(components)
    for route, operation in marked:
        for method in route.methods or ():
            entry = document["paths"][route.path_format][method.lower()]
            _complete(entry, operation, schema_of, examples)
    document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{}, {"token": []}]
    return document


def _component_name(kind: Any, schema_of: dict[Any, dict[str, Any]]) -> str:
    if kind in schema_of:
        return str(schema_of[kind].get("$ref", "")).rpartition("/")[2]
    return getattr(kind, "__name__", "")


def _complete(
    entry: dict[str, Any],
    operation: Operation,
    schema_of: dict[Any, dict[str, Any]],
    examples: dict[Any, Callable[[], Any]],
) -> None:
    headers: dict[str, Any] = {
        API_VERSION_HEADER: {"schema": {"type": "string", "const": API_VERSION}, "description": "The API's version."}
    }
    if operation.body is not None:
        entry["requestBody"] = {
            "required": not operation.body_optional,
            "content": {JSON: _media(operation.body, schema_of, examples)},
        }
    if operation.takes is not None:
        entry["requestBody"] = {"required": True, "content": {operation.takes: {"schema": _BYTES}}}
    success: dict[str, Any] = {"description": "Done.", "headers": dict(headers)}
    if operation.stream is not None:
        success["description"] = "A stream of server-sent events; it ends when the client closes it."
        success["content"] = {EVENT_STREAM: {"schema": _stream_schema(operation.stream, schema_of)}}
    elif operation.text is not None:
        success["content"] = {operation.text: {"schema": {"type": "string"}}}
    elif operation.gives is not None:
        success["content"] = {operation.gives: {"schema": _BYTES}}
    elif operation.answer is not None:
        success["content"] = {JSON: _media(operation.answer, schema_of, examples)}
    if operation.etag:
        success["headers"]["ETag"] = {"schema": {"type": "string"}, "description": "Send it as If-Match to update."}
    responses: dict[str, Any] = {str(operation.status): success}
    for status, meaning in operation.also.items():
        without_body = {part: value for part, value in success.items() if part != "content"}
        responses[str(status)] = {**(without_body if status == NOT_MODIFIED else success), "description": meaning}
    for status in sorted({*_COMMON_PROBLEMS, *operation.problems}):
        responses[str(status)] = {
            "description": _PROBLEM_MEANINGS[status],
            "headers": dict(headers),
            "content": {PROBLEM_JSON: {"schema": schema_of[Problem]}},
        }
    entry["responses"] = responses


def _media(kind: Any, schema_of: dict[Any, dict[str, Any]], examples: dict[Any, Callable[[], Any]]) -> dict[str, Any]:
    media: dict[str, Any] = {"schema": schema_of[kind]}
    if kind in examples:
        media["example"] = msgspec.to_builtins(examples[kind]())
        return media
    inner = next(iter(get_args(kind)), None)
    if inner in examples:
        items = [msgspec.to_builtins(examples[inner]())]
        media["example"] = items if get_origin(kind) is list else {"items": items, "next": None}
    return media


def _stream_schema(events: dict[str, Any], schema_of: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    """Events as objects, the way OpenAPI 3.2 describes a sequential media type."""
    return {
        "type": "string",
        "description": "Events: "
        + ", ".join(f"`{name}`" for name in events)
        + ". The data of each is one JSON object.",
        "x-events": {name: schema_of[kind] for name, kind in events.items()},
    }
