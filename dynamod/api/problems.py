"""RFC 9457 problem documents: how the API says no.

`type` is `urn:dynamod:problem:<slug>`, stable across versions: programs branch on it, people read `detail`
and `remedy`.
"""

from __future__ import annotations

import http
from typing import Any

import msgspec
from starlette.responses import Response

from dynamod.schema import Problem
from dynamod.schema.secrecy import redact_text

PROBLEM_JSON = "application/problem+json"
TYPE_PREFIX = "urn:dynamod:problem:"


class ApiProblem(Exception):
    """A request refused by the API itself, before or after the engine was asked."""

    def __init__(
        self,
        status: int,
        slug: str,
        detail: str,
        *,
        field: str | None = None,
        remedy: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.problem = make_problem(status, slug, detail, field=field, remedy=remedy)
        self.headers = headers or {}


def make_problem(
    status: int,
    slug: str,
    detail: str,
    *,
    field: str | None = None,
    remedy: str | None = None,
    instance: str | None = None,
) -> Problem:
    return Problem(
        type=TYPE_PREFIX + slug,
        title=_title(slug, status),
        status=status,
        detail=redact_text(detail),
        field=field,
        remedy=remedy,
        instance=instance,
    )


def problem_response(problem: Problem, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(problem), status_code=problem.status, headers=headers, media_type=PROBLEM_JSON)


def from_status(status: int, detail: Any = None, *, instance: str | None = None) -> Problem:
    """A problem for a bare HTTP status, as frameworks raise them (unknown route, method not allowed)."""
    phrase = http.HTTPStatus(status).phrase
    slug = {404: "no-such-route", 405: "method-not-allowed"}.get(status, phrase.lower().replace(" ", "-"))
    remedy = "GET /openapi.json lists every route" if status in (404, 405) else None
    text = f"{phrase}: {instance}" if instance and (detail is None or detail == phrase) else str(detail or phrase)
    return make_problem(status, slug, text, remedy=remedy, instance=instance)


def _title(slug: str, status: int) -> str:
    words = slug.replace("-", " ")
    return words[:1].upper() + words[1:] if words else http.HTTPStatus(status).phrase
