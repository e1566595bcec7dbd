"""`@service`: a class becomes a `Service`, a node of the graph; the class itself stays at `.inner`."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, cast

from dynamo.sdk import options as service_options
from dynamo.sdk.dependency import Dependency
from dynamo.sdk.endpoints import Endpoint, endpoints_of
from dynamo.sdk.errors import ConfigError, DefinitionError, LinkError
from dynamo.sdk.interface import AbstractService, check_implementation, unimplemented
from dynamo.sdk.linking import LinkedServices, fulfilled_by
from dynamo.sdk.options import LeaseConfig, ServiceOptions

if TYPE_CHECKING:
    from fastapi import FastAPI

T = TypeVar("T")

Application = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI application (https://asgi.readthedocs.io/en/stable/specs/main.html): scope, receive, send."""


@dataclass(frozen=True)
class Env:
    """One environment variable of a service."""

    name: str
    value: str


class Service(Generic[T]):
    """A decorated class: its endpoints, its dependencies and what it asks for.

    Calling a service constructs the class, so that tests can use it without a runtime.
    """

    def __init__(
        self,
        inner: type[T],
        words: Mapping[str, Any],
        *,
        name: str | None = None,
        app: FastAPI | Application | None = None,
        system_app: FastAPI | None = None,
        is_placeholder: bool = False,
    ) -> None:
        self.inner = inner
        self.name = name or inner.__name__
        self.is_placeholder = is_placeholder
        self.author_app = app
        self.author_system_app = system_app
        self._app: FastAPI | None = None
        self._declared = service_options.normalise(words, where=self.name, strict=False)
        self.config = self._options(self._declared, self.name)
        self._endpoints = endpoints_of(inner)
        self._dependencies = _own_dependencies(inner)
        if app is not None and self.plain_app is None:
            self._app = cast("FastAPI", app)
        elif app is not None and (routes := [e.name for e in self._endpoints.values() if e.over_http]):
            raise DefinitionError(
                f"{self.name}: its app is no FastAPI application, so {', '.join(routes)} cannot become routes of it; "
                "give it a FastAPI application, or make them @endpoint methods"
            )

    # What it is

    @property
    def source(self) -> str:
        """The file that defines it, for messages."""
        path = getattr(sys.modules.get(self.inner.__module__), "__file__", None)
        return Path(path).name if path else self.inner.__module__

    @property
    def import_path(self) -> str:
        """`module:Class`."""
        return f"{self.inner.__module__}:{self.inner.__qualname__}"

    @property
    def plain_app(self) -> Application | None:
        """The author's application where it is plain ASGI: served as it is, so a replica imports no FastAPI."""
        app = self.author_app
        return None if app is None or hasattr(app, "add_api_route") else app

    @property
    def app(self) -> FastAPI:
        """The author's FastAPI application, or one of its own."""
        if self._app is None:
            from fastapi import FastAPI

            self._app = FastAPI(title=self.name)
        return self._app

    @property
    def envs(self) -> list[Env]:
        return [Env(name, value) for name, value in self.config.envs.items()]

    def dynamo_address(self) -> tuple[str, str]:
        """Namespace and component name under which its endpoints are found."""
        return self.config.dynamo.namespace, self.config.dynamo.name or self.name

    @property
    def lease(self) -> LeaseConfig | None:
        return self.config.dynamo.custom_lease

    def is_servable(self) -> bool:
        """Whether a replica can be made of it: it leaves no abstract endpoint open."""
        return not self.is_placeholder and unimplemented(self.inner) == ([], [])

    # What it offers

    def get_endpoints(self) -> dict[str, Endpoint]:
        return dict(self._endpoints)

    def get_dynamo_endpoints(self) -> dict[str, Endpoint]:
        """As `get_endpoints`; old code asks this way."""
        return dict(self._endpoints)

    def get_endpoint(self, name: str) -> Endpoint:
        """The endpoint of that name.

        Raises:
            ValueError: there is none; the message lists what there is.
        """
        if name not in self._endpoints:
            raise ValueError(
                f"service {self.name!r} has no endpoint {name!r}; it has {', '.join(self._endpoints) or 'none'}"
            )
        return self._endpoints[name]

    def list_endpoints(self) -> list[str]:
        return list(self._endpoints)

    @property
    def serves_http(self) -> bool:
        """Whether a replica of it listens for HTTP: it has such endpoints, or brings an application."""
        return self.author_app is not None or any(e.over_http for e in self._endpoints.values())

    # What it needs

    @property
    def dependencies(self) -> dict[str, Dependency]:
        """Edges by attribute. Links remove those that a graph does not use."""
        return self._dependencies

    def all_services(self) -> dict[str, Service[Any]]:
        """This service and all it depends on, directly or not, by name."""
        return {service.name: service for service in self.reachable()}

    def reachable(self) -> list[Service[Any]]:
        """This service and all it depends on, nearest first, each once, even when two share a name."""
        found: dict[int, Service[Any]] = {id(self): self}
        queue: list[Service[Any]] = [self]
        while queue:
            for edge in queue.pop(0).dependencies.values():
                if id(edge.on) not in found:
                    found[id(edge.on)] = edge.on
                    queue.append(edge.on)
        return list(found.values())

    def find_dependent_by_name(self, service_name: str) -> Service[Any]:
        """The service of that name in this graph.

        Raises:
            KeyError: there is none.
        """
        return self.all_services()[service_name]

    def link(self, next_service: Service[Any]) -> Service[Any]:
        """Use the edge to `next_service`, replacing the interface that it fulfils; returns `next_service`.

        Raises:
            LinkError: (a ValueError) not a service, or it fulfils no dependency or several.
        """
        if not isinstance(next_service, Service):
            raise LinkError(f"{self.name}.link() takes a service, not {next_service!r}")
        edge = fulfilled_by(self, next_service)
        edge.on = next_service
        LinkedServices.add((self, next_service))
        return next_service

    def remove_unused_edges(self, used_edges: set[Service[Any]]) -> None:
        """Keep the dependencies that lead to one of `used_edges` only."""
        for attribute, edge in list(self._dependencies.items()):
            if edge.on not in used_edges:
                edge.removed = True
                del self._dependencies[attribute]

    # What a configuration says about it

    def configure(self, service_args: Mapping[str, Any], *, where: str = "") -> None:
        """Lay a configuration's `ServiceArgs` over what the decorator said.

        Raises:
            ConfigError: a key means nothing or a value is wrong.
        """
        path = f"{self.name}.ServiceArgs"
        try:
            words = service_options.normalise(service_args, where=path, strict=True)
            self.config = self._options(service_options.merge(self._declared, words), path)
        except ConfigError as error:
            raise ConfigError(str(error), where=where) from None

    @property
    def declared(self) -> ServiceOptions:
        """What the decorator said, whatever a configuration lays over it."""
        return self._options(self._declared, self.name)

    def _options(self, words: Mapping[str, Any], where: str) -> ServiceOptions:
        """Options in which the component has its name, given or not."""
        said = service_options.build(words, where=where)
        return replace(said, dynamo=replace(said.dynamo, name=said.dynamo.name or self.name))

    def serve(self, argv: Sequence[str] | None = None) -> NoReturn:
        """Run one replica of this service in this process: `if __name__ == "__main__": Backend.serve()`.

        Its dependencies are not started; they run wherever discovery (`DYN_DISCOVERY`) finds them.

        Args:
            argv: `-f FILE`, `--port`, `--host`, `--worker-id` and overrides; the process's own otherwise.
        """
        from dynamo.sdk.by_hand import serve

        sys.exit(serve(self, argv))

    def __call__(self, *args: Any, **kwargs: Any) -> T:
        return self.inner(*args, **kwargs)

    def __mro_entries__(self, bases: tuple[object, ...]) -> tuple[type, ...]:
        """`class Fast(Worker)` inherits from the class inside a service."""
        return (self.inner,)

    def __repr__(self) -> str:
        return f"<service {self.name!r} ({self.import_path})>"


def _own_dependencies(inner: type) -> dict[str, Dependency]:
    """Dependencies by attribute, base classes first; inherited edges become the class's own."""
    found: dict[str, Dependency] = {}
    for base in reversed(inner.__mro__):
        for attribute, value in list(vars(base).items()):
            if not isinstance(value, Dependency):
                found.pop(attribute, None)
            elif base is inner:
                found[attribute] = value
            else:
                found[attribute] = value.own_copy()
    for attribute, edge in found.items():
        setattr(inner, attribute, edge)
    return found


def service(
    inner: Any = None,
    /,
    *,
    app: FastAPI | Application | None = None,
    system_app: FastAPI | None = None,
    name: str | None = None,
    should_validate_dynamo_interfaces: bool = True,
    **words: Any,
) -> Any:
    """Make a class a service: `@service` or `@service(dynamo={...}, resources={...}, workers=2, ...)`.

    Args:
        app: a FastAPI application of the author's; `@api` methods become routes of it. Any other ASGI application
            is served as it is.
        system_app: one for health and metrics.
        name: the service's name, if not the class's.
        should_validate_dynamo_interfaces: refuse an incomplete implementation of an interface.
        words: `dynamo`, `resources`, `workers`, `image`, `envs`, `labels`, `probes`, `restart`,
            `drain_timeout`, `http_port`, `http_host`, `kubernetes_overrides`; anything else is kept.

    Raises:
        DefinitionError: (a TypeError) not a class, a service already, or an incomplete implementation.
        ConfigError: (a ValueError) a keyword has a value that makes no sense.
    """

    def decorate(cls: type[T]) -> Service[T]:
        if isinstance(cls, Service):
            raise DefinitionError(f"{cls.import_path} is a service already; apply @service once")
        if not isinstance(cls, type):
            raise DefinitionError(f"@service decorates classes, not {cls!r}")
        if should_validate_dynamo_interfaces:
            check_implementation(cls)
        try:
            return Service(cls, words, name=name, app=app, system_app=system_app)
        except ConfigError as error:
            file = Path(getattr(sys.modules.get(cls.__module__), "__file__", None) or cls.__module__).name
            raise ConfigError(str(error), where=file) from None

    decorator: Callable[[type[T]], Service[T]] = decorate
    return decorator if inner is None else decorator(inner)


_placeholders: dict[type, Service[Any]] = {}


def placeholder(interface: type[AbstractService]) -> Service[Any]:
    """The one stand-in for an interface, until a link replaces it."""
    if interface not in _placeholders:
        _placeholders[interface] = Service(interface, {}, is_placeholder=True)
    return _placeholders[interface]
