"""Errors of the SDK.

    SdkError                      everything below; `str()` is one line a user can act on
    ├── DefinitionError           a service, endpoint or dependency is declared wrongly (also a TypeError)
    ├── LinkError                 `A.link(B)` has no meaning (also a ValueError)
    ├── GraphError                the services do not form a graph that can run (also a ValueError)
    ├── TargetError               `module:Attr` leads nowhere (also an ImportError)
    ├── ConfigError               a configuration value is wrong or missing (also a ValueError)
    ├── UnknownEndpointError      a client was asked for an endpoint that does not exist (also an AttributeError)
    └── NotRunningError           a dependency was called outside a running replica (also a RuntimeError)

The second base is what the documentation of the original SDK promised, so `except ValueError` in old
graphs keeps working.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from enum import IntEnum


class ExitCode(IntEnum):
    """How `python -m dynamo.sdk.…` ends. 2 tells a supervisor that starting again will not help."""

    OK = 0
    FAILURE = 1
    CONFIGURATION = 2


class SdkError(Exception):
    """Base of everything this package raises on purpose."""


class DefinitionError(SdkError, TypeError):
    """A decorator was given something it cannot work with."""


class LinkError(SdkError, ValueError):
    """`link` found no dependency to fulfil, or several."""


class GraphError(SdkError, ValueError):
    """The services that were found cannot run as one graph."""


class TargetError(SdkError, ImportError):
    """A target could not be imported, or holds no service."""


class ConfigError(SdkError, ValueError):
    """A configuration value is wrong.

    `where` is the source (a file name, `command line`, an environment variable), `key` the dotted path
    of the value from the service's name on.
    """

    def __init__(self, message: str, *, where: str = "", key: str = "") -> None:
        super().__init__(": ".join(part for part in (where, key, message) if part))
        self.where = where
        self.key = key


class UnknownEndpointError(SdkError, AttributeError):
    """No such endpoint on the service behind a dependency."""


class NotRunningError(SdkError, RuntimeError):
    """A dependency's client needs a running replica."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` when something similar is known, else the list of what there is."""
    options = sorted(set(known))
    lowered = {option.lower(): option for option in reversed(options)}
    close = get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {lowered[close[0]]!r}?"
    return f"; there is {', '.join(options)}" if options else ""
