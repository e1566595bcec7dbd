"""From every error that a request can meet to its problem document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

from dynamod.api.problems import ApiProblem, from_status, make_problem, problem_response
from dynamod.core.errors import EngineError
from dynamod.schema import Problem

STATUS_OF_TYPE = {
    "invalid": 422,
    "not-found": 404,
    "conflict": 409,
    "stale-plan": 409,
    "precondition-failed": 412,
    "gpu-shortage": 409,
    "gone": 410,
    "slow-consumer": 503,
    "store": 500,
    "disk-full": 507,
    "unavailable": 503,
    "build-error": 422,
    "bad-sources": 422,
    "bad-archive": 422,
    "lock-failed": 422,
    "image-error": 422,
    "no-docker-engine": 503,
}
"""HTTP status by `EngineError.type`; what is not listed is the daemon's own failure, 500."""


def problem_of(error: EngineError, *, instance: str | None = None) -> Problem:
    return make_problem(
        STATUS_OF_TYPE.get(error.type, 500),
        error.type,
        error.detail,
        field=error.field,
        remedy=error.remedy,
        instance=instance,
    )


def install(app: FastAPI, routes: Sequence[APIRoute]) -> None:
    """Make every error of `app` a problem document. `routes` are all of its routes."""

    async def on_problem(_request: Request, error: Exception) -> Response:
        assert isinstance(error, ApiProblem)
        return problem_response(error.problem, error.headers)

    async def on_engine_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, EngineError)
        return problem_response(problem_of(error, instance=request.url.path))

    async def on_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        problem = from_status(error.status_code, error.detail, instance=request.url.path)
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(sorted(_methods_of(request.url.path, routes)))
        return problem_response(problem, headers)

    async def on_bad_parameter(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return problem_response(_bad_parameter(error.errors(), request.url.path))

    async def on_bug(request: Request, error: Exception) -> Response:
        # The server logs the traceback: the error goes on to it after this answer.
        detail = f"the daemon failed on this request: {type(error).__name__}"
        problem = make_problem(500, "internal", detail, instance=request.url.path, remedy="see the daemon's log")
        return problem_response(problem)

    app.add_exception_handler(ApiProblem, on_problem)
    app.add_exception_handler(EngineError, on_engine_error)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(RequestValidationError, on_bad_parameter)
    app.add_exception_handler(Exception, on_bug)


def _methods_of(path: str, routes: Sequence[APIRoute]) -> set[str]:
    """All methods of a resource: the framework names those of one of its routes only. A path that is written out is a
    resource of its own, also where it would fit another one's parameter."""
    found = [route for route in routes if route.path_regex.match(path)]
    plainest = min((route.path.count("{") for route in found), default=0)
    return {method for route in found if route.path.count("{") == plainest for method in route.methods or ()}


def _bad_parameter(errors: Any, path: str) -> Problem:
    """FastAPI reports all bad parameters; the first names itself, the rest are listed with it."""
    first, *rest = errors
    where = ".".join(str(part) for part in first["loc"][1:])
    others = "".join(f"; {'.'.join(str(part) for part in error['loc'][1:])}: {error['msg']}" for error in rest)
    return make_problem(422, "invalid", f"{first['msg']}{others}", field=where or None, instance=path)
