"""`depends(...)`: an edge of the graph, and on an instance the client that follows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from dynamo.sdk.errors import DefinitionError, GraphError

if TYPE_CHECKING:
    from dynamo.sdk.client import DependencyClient
    from dynamo.sdk.services import Service


class Dependency:
    """One edge. `on` is the service it leads to; `link` replaces it where an interface was asked for.

    Read from the class it is this object; read from an instance it is the client of `on`. A dependency
    that no link uses reads as `Unlinked`, which is false, so `if self.router:` works.
    """

    def __init__(self, on: Service[Any]) -> None:
        self._on = on
        self.attribute = ""
        self.removed = False
        self._client: DependencyClient | None = None

    def __set_name__(self, owner: type, name: str) -> None:
        self.attribute = name

    @property
    def on(self) -> Service[Any]:
        return self._on

    @on.setter
    def on(self, value: Service[Any]) -> None:
        self._on = value
        self._client = None

    def own_copy(self) -> Dependency:
        """An equal edge for a subclass, so that links of one service leave the other's alone."""
        copy = Dependency(self._on)
        copy.attribute = self.attribute
        return copy

    def get(self) -> Service[Any]:
        """The service this leads to; old code asks this way."""
        return self._on

    async def get_endpoint(self, name: str) -> Any:
        """The endpoint of that name.

        Raises:
            ValueError: there is none.
        """
        return self._on.get_endpoint(name)

    @property
    def client(self) -> DependencyClient:
        """The one client of this edge in this process."""
        if self._client is None:
            from dynamo.sdk.client import DependencyClient

            self._client = DependencyClient(self._on)
        return self._client

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        if instance is None:
            return self
        found: Any = Unlinked(self.attribute, self._on.name) if self.removed else self.client
        # From now on the attribute is found in the instance first, without a call.
        if hasattr(instance, "__dict__"):
            instance.__dict__[self.attribute] = found
        return found

    def __repr__(self) -> str:
        return f"<dependency {self.attribute!r} on {self._on.name!r}>"


class Unlinked:
    """What the attribute of a removed edge holds: false, and a clear error when used all the same."""

    __slots__ = ("_attribute", "_service")

    def __init__(self, attribute: str, service: str) -> None:
        self._attribute = attribute
        self._service = service

    def __bool__(self) -> bool:
        return False

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise GraphError(
            f"the dependency {self._attribute!r} on {self._service} is not part of this graph: its service appears "
            f"in a link(), and none of the links leads to {self._service}"
        )


def depends(on: Any = None, **_kept: Any) -> Any:
    """Declare that a service calls another one: `backend = depends(Backend)`.

    Args:
        on: a service, or an `AbstractService` subclass that `link` will replace by an implementation.

    Raises:
        DefinitionError: (a TypeError) anything else.
    """
    from dynamo.sdk.interface import AbstractService
    from dynamo.sdk.services import Service, placeholder

    if isinstance(on, Service):
        return Dependency(on)
    if isinstance(on, type) and issubclass(on, AbstractService):
        return Dependency(placeholder(on))
    if isinstance(on, type):
        raise DefinitionError(
            f"depends() expects a service or an AbstractService subclass, and {on.__module__}.{on.__qualname__} "
            "is a plain class; decorate it with @service"
        )
    raise DefinitionError(f"depends() expects a service or an AbstractService subclass, not {on!r}")
