"""`@endpoint`, `@api` and `@abstract_endpoint`: methods that a service offers to others.

An async generator streams items; a coroutine answers with one. `@endpoint` serves a method on the request
plane, `@api` over HTTP; both decorators on one method serve it on both.
"""

from __future__ import annotations

import functools
import inspect
import sys
import typing
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any

from dynamo.sdk.errors import DefinitionError
from dynamo.sdk.spec import EndpointKind

HTTP_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Transport(Enum):
    """How an endpoint is reached: the request plane, or HTTP."""

    DEFAULT = auto()
    HTTP = auto()


class Endpoint:
    """A decorated method. The function itself stays at `func`.

    `http_method`, `http_path` and `media_type` matter to endpoints over HTTP only. Unknown keywords of the
    decorator are kept as attributes.
    """

    def __init__(
        self,
        func: Callable[..., Any],
        name: str | None = None,
        transports: Sequence[Transport] = (Transport.DEFAULT,),
        *,
        method: str = "POST",
        path: str | None = None,
        media_type: str | None = None,
        **kept: Any,
    ) -> None:
        if not callable(func):
            raise DefinitionError(f"@endpoint and @api decorate methods, not {func!r}")
        self.func = func
        self.attribute = getattr(func, "__name__", "")
        self._name = name or self.attribute
        self._transports = list(transports)
        self.http_method = method.upper()
        if self.http_method not in HTTP_METHODS:
            raise DefinitionError(
                f"endpoint {self._name!r}: method must be one of {', '.join(sorted(HTTP_METHODS))}, not {method!r}"
            )
        self._http_path = path
        self.media_type = media_type
        functools.update_wrapper(typing.cast("Any", self), func)
        for key, value in kept.items():
            setattr(self, key, value)

    @property
    def name(self) -> str:
        return self._name

    @property
    def transports(self) -> list[Transport]:
        return self._transports

    @property
    def on_request_plane(self) -> bool:
        return Transport.DEFAULT in self._transports

    @property
    def over_http(self) -> bool:
        return Transport.HTTP in self._transports

    @property
    def http_path(self) -> str:
        path = self._http_path or self._name
        return path if path.startswith("/") else f"/{path}"

    @property
    def kind(self) -> EndpointKind:
        """`stream` for generators, `unary` for everything else."""
        func = inspect.unwrap(self.func)
        return "stream" if inspect.isasyncgenfunction(func) or inspect.isgeneratorfunction(func) else "unary"

    @functools.cached_property
    def request_type(self) -> Any:
        """The first annotated argument after `self`, or None for an endpoint that takes anything.

        Resolved at first use, so that a module may annotate with names that it defines further down.

        Raises:
            DefinitionError: the annotation names something that does not exist.
        """
        func = inspect.unwrap(self.func)
        for parameter in list(inspect.signature(func).parameters.values())[1:]:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            if parameter.annotation is not parameter.empty:
                return self._resolve(parameter.annotation, func)
        return None

    def _resolve(self, annotation: Any, func: Callable[..., Any]) -> Any:
        if not isinstance(annotation, str):
            return annotation
        try:
            hints = typing.get_type_hints(
                _Annotated(annotation), vars(sys.modules.get(func.__module__)) | func.__globals__, include_extras=True
            )
        except NameError as error:
            raise DefinitionError(
                f"{func.__module__}.{func.__qualname__}: the request type {annotation!r} cannot be resolved: {error}; "
                "define it at module level"
            ) from None
        return hints["request"]

    @property
    def passes_context(self) -> bool:
        """Whether the method has a second argument `context`, for the request's id, headers and cancellation."""
        return "context" in inspect.signature(inspect.unwrap(self.func)).parameters

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """On an instance, the bound method: `self.generate(x)` calls it directly, without a network."""
        return self if instance is None else self.func.__get__(instance, owner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.func(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<endpoint {self._name!r} ({self.kind})>"


class _Annotated:
    """A carrier that `typing.get_type_hints` accepts for one annotation on its own."""

    def __init__(self, annotation: str) -> None:
        self.__annotations__ = {"request": annotation}


def endpoint(
    name: str | Callable[..., Any] | None = None,
    transports: Sequence[Transport] | None = None,
    is_api: bool = False,
    **kept: Any,
) -> Any:
    """Offer a method to other services.

    Args:
        name: the endpoint's name, if not the method's; may contain `/`.
        transports: `[Transport.DEFAULT]`, `[Transport.HTTP]` or both.
        is_api: the same as `transports=[Transport.HTTP]`.
        kept: `method`, `path` and `media_type` as for `api`; anything else becomes an attribute.
    """
    if transports is None:
        transports = [Transport.HTTP] if is_api else [Transport.DEFAULT]
    return _decorator(name, transports, kept)


def api(name: str | Callable[..., Any] | None = None, **kept: Any) -> Any:
    """Serve a method over HTTP, bare or called: `POST /<name>` unless `method=` or `path=` say otherwise.

    Args:
        name: the endpoint's name, if not the method's.
        kept: `method` (an HTTP verb), `path` (with FastAPI's path parameters), `media_type` (of a streamed
            answer); anything else becomes an attribute.
    """
    return _decorator(name, [Transport.HTTP], kept)


def _decorator(name: str | Callable[..., Any] | None, transports: Sequence[Transport], kept: dict[str, Any]) -> Any:
    if name is not None and not isinstance(name, str):
        return _wrap(name, None, transports, kept)
    return lambda func: _wrap(func, name, transports, kept)


def _wrap(func: Any, name: str | None, transports: Sequence[Transport], kept: dict[str, Any]) -> Endpoint:
    if not isinstance(func, Endpoint):
        return Endpoint(func, name, transports, **kept)
    both = [*func.transports, *(t for t in transports if t not in func.transports)]
    known = {"method": func.http_method, "path": func._http_path, "media_type": func.media_type}
    return Endpoint(func.func, name or func.name, both, **{**known, **kept})


def abstract_endpoint(func: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a method of an `AbstractService` that every implementation must offer with `@endpoint()`."""
    func.__is_abstract_dynamo__ = True  # type: ignore[attr-defined]
    func.__isabstractmethod__ = True  # type: ignore[attr-defined]
    return func


def endpoints_of(cls: type) -> dict[str, Endpoint]:
    """The endpoints of a class by name, inherited ones too, in the order of their definition.

    Raises:
        DefinitionError: two methods claim one name.
    """
    attributes: dict[str, Endpoint] = {}
    for base in reversed(cls.__mro__):
        for attribute, value in vars(base).items():
            if isinstance(value, Endpoint):
                attributes[attribute] = value
            elif attribute in attributes:
                del attributes[attribute]
    found: dict[str, Endpoint] = {}
    for attribute, value in attributes.items():
        if value.name in found:
            raise DefinitionError(
                f"{cls.__module__}.{cls.__qualname__}: {found[value.name].attribute} and {attribute} are both "
                f"endpoints named {value.name!r}; give one of them another name"
            )
        found[value.name] = value
    return found
