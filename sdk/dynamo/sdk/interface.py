"""`AbstractService`: what a service promises, apart from who keeps the promise.

`depends(Interface)` puts a placeholder into the graph; `A.link(Implementation)` replaces it.
"""

from __future__ import annotations

import abc

from dynamo.sdk.endpoints import Endpoint
from dynamo.sdk.errors import DefinitionError


class AbstractService(abc.ABC):  # noqa: B024 - its methods are abstract by `abstract_endpoint`, not by `abc`
    """Base class of interfaces; their methods carry `@abstract_endpoint`."""


def abstract_endpoints(cls: type) -> list[str]:
    """Names of all endpoints that interfaces among the ancestors of `cls` ask for."""
    names: dict[str, None] = {}
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items():
            if getattr(value, "__is_abstract_dynamo__", False):
                names[name] = None
    return list(names)


def unimplemented(cls: type) -> tuple[list[str], list[str]]:
    """Abstract endpoints without any implementation, and those implemented without `@endpoint()`."""
    missing: list[str] = []
    undecorated: list[str] = []
    for name in abstract_endpoints(cls):
        value = getattr(cls, name, None)
        if value is None or getattr(value, "__is_abstract_dynamo__", False):
            missing.append(name)
        elif not isinstance(value, Endpoint):
            undecorated.append(name)
    return missing, undecorated


def check_implementation(cls: type) -> None:
    """Refuse a class that leaves out part of an interface.

    Raises:
        DefinitionError: the message names the endpoints that are missing or not decorated.
    """
    missing, undecorated = unimplemented(cls)
    problems = []
    if missing:
        problems.append(f"does not implement {', '.join(missing)}")
    if undecorated:
        problems.append(f"implements {', '.join(undecorated)} without @endpoint()")
    if problems:
        interfaces = ", ".join(
            base.__name__
            for base in cls.__mro__
            if base is not cls and any(getattr(v, "__is_abstract_dynamo__", False) for v in vars(base).values())
        )
        raise DefinitionError(
            f"{cls.__module__}.{cls.__qualname__} {' and '.join(problems)}, as its interface {interfaces} asks"
        )
