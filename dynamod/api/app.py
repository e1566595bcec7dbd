"""The REST application over one engine."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp

from dynamod.api import builds, daemon, errors, events, gpus, graphs, kv, logs, metrics, plans, replicas
from dynamod.api.backend import Backend
from dynamod.api.guard import Guard
from dynamod.api.rules import GuardRules

DESCRIPTION = """\
Runs inference graphs and says what they do. Errors are RFC 9457 problem documents; lists are paged by
cursor (`after`, `next`); streams are server-sent events, and `/v1/events/stream` resumes from `Last-Event-ID`.
Every answer carries `Dynamod-API-Version`; a request may carry it to be refused by a daemon of another version.
"""


def create_app(backend: Backend, rules: GuardRules) -> ASGIApp:
    """The application, behind its guard."""
    return Guard(bare_app(backend), rules)


def bare_app(backend: Backend) -> FastAPI:
    """The application without its guard: for the OpenAPI document."""
    app = FastAPI(
        title="dynamod",
        version=backend.about().version,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        separate_input_output_schemas=False,
    )
    app.state.backend = backend
    routers = [module.router for module in (daemon, graphs, replicas, plans, events, logs, metrics, kv, gpus, builds)]
    for router in routers:
        app.include_router(router)
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    errors.install(app, routes)
    document: dict[str, Any] = {}

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Any:
        if not document:
            # Examples and schemas are only needed by who asks: a daemon's start does not pay for them.
            from dynamod.api.examples import EXAMPLES
            from dynamod.api.wire import openapi_document

            document.update(openapi_document(app, routes, EXAMPLES))
        return document

    return app
