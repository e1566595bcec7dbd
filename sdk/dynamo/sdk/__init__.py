"""What a service author imports: `from dynamo.sdk import service, endpoint, api, depends, …`.

Names are resolved on first use, so that `import dynamo.sdk.spec` costs nothing else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynamo.sdk.config import ServiceConfig as ServiceConfig
    from dynamo.sdk.context import DYNAMO_IMAGE as DYNAMO_IMAGE
    from dynamo.sdk.context import dynamo_context as dynamo_context
    from dynamo.sdk.context import server_context as server_context
    from dynamo.sdk.dependency import depends as depends
    from dynamo.sdk.endpoints import abstract_endpoint as abstract_endpoint
    from dynamo.sdk.endpoints import api as api
    from dynamo.sdk.endpoints import endpoint as endpoint
    from dynamo.sdk.graph import Graph as Graph
    from dynamo.sdk.hooks import async_on_shutdown as async_on_shutdown
    from dynamo.sdk.hooks import async_on_start as async_on_start
    from dynamo.sdk.hooks import liveness as liveness
    from dynamo.sdk.hooks import on_deployment as on_deployment
    from dynamo.sdk.hooks import on_shutdown as on_shutdown
    from dynamo.sdk.hooks import on_startup as on_startup
    from dynamo.sdk.hooks import readiness as readiness
    from dynamo.sdk.interface import AbstractService as AbstractService
    from dynamo.sdk.services import service as service
    from dynamo.sdk.serving.reporting import report_progress as report_progress

    dynamo_endpoint = endpoint
    dynamo_api = api

_HOME = {
    "DYNAMO_IMAGE": "context",
    "AbstractService": "interface",
    "Graph": "graph",
    "ServiceConfig": "config",
    "abstract_endpoint": "endpoints",
    "api": "endpoints",
    "async_on_shutdown": "hooks",
    "async_on_start": "hooks",
    "depends": "dependency",
    "dynamo_context": "context",
    "endpoint": "endpoints",
    "liveness": "hooks",
    "on_deployment": "hooks",
    "on_shutdown": "hooks",
    "on_startup": "hooks",
    "readiness": "hooks",
    "report_progress": "serving.reporting",
    "server_context": "context",
    "service": "services",
}
_ALIASES = {"dynamo_api": "api", "dynamo_endpoint": "endpoint"}

__all__ = sorted([*_HOME, *_ALIASES])


def __getattr__(name: str) -> Any:
    target = _ALIASES.get(name, name)
    if target not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[target]}"), target)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
