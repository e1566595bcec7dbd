"""The OpenAPI document: complete, consistent with the routes, its examples readable by the wire model."""

from __future__ import annotations

import re
from typing import Any

import httpx
import msgspec
import pytest

from dynamo_tui.client import calls, streams
from dynamod.api.examples import EXAMPLES
from dynamod.schema import GraphSubmit


@pytest.fixture
async def document(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.get("/openapi.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


async def test_every_operation_says_what_it_answers_and_how_it_refuses(document: dict[str, Any]) -> None:
    assert len(operations(document)) >= 35
    for name, operation in operations(document):
        assert operation["summary"], name
        codes = set(operation["responses"])
        assert codes & {"200", "201", "202", "204"}, name
        assert {"400", "401", "403", "422"} <= codes, name
        for code, response in operation["responses"].items():
            assert "Dynamod-API-Version" in response["headers"], name
            if int(code) >= 400:
                assert response["content"]["application/problem+json"]["schema"]["$ref"].endswith("/Problem")
        if "{" in name:
            assert "404" in codes, name


async def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    text = msgspec.json.encode(document).decode()
    components = document["components"]["schemas"]
    for reference in set(re.findall(r'"#/components/schemas/([^"]+)"', text)):
        assert reference in components
    assert "HTTPValidationError" not in components


async def test_streams_name_their_events(document: dict[str, Any]) -> None:
    operation = document["paths"]["/v1/graphs/{graph}/logs/stream"]["get"]
    schema = operation["responses"]["200"]["content"]["text/event-stream"]["schema"]
    assert set(schema["x-events"]) == {"line", "gap", "problem"}


@pytest.mark.parametrize("kind", list(EXAMPLES), ids=lambda kind: kind.__name__)
def test_an_example_is_what_it_is_an_example_of(kind: Any) -> None:
    made = EXAMPLES[kind]()
    assert isinstance(made, kind)
    assert msgspec.json.decode(msgspec.json.encode(made), type=kind) == made


async def test_the_bodies_that_are_asked_for_have_examples(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        if body := operation.get("requestBody"):
            media = body["content"].get("application/json")
            if media is None:
                assert set(body["content"]) == {"application/gzip"}, name
                continue
            assert "example" in media, name
    submit = document["paths"]["/v1/graphs"]["post"]["requestBody"]["content"]["application/json"]["example"]
    spec = msgspec.convert(submit, GraphSubmit).spec
    assert spec is not None
    assert spec.name == "hello-world"


async def test_the_typed_client_calls_routes_that_exist(document: dict[str, Any]) -> None:
    patterns = {
        (method.upper(), re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path) + "$"))
        for path, methods in document["paths"].items()
        for method in methods
    }
    submit: GraphSubmit = EXAMPLES[GraphSubmit]()
    made = [
        calls.health(), calls.info(), calls.daemon_metrics(), calls.shutdown(), calls.graphs(), calls.graph("g"),
        calls.submit(submit), calls.remove("g"), calls.stop("g"), calls.start("g"), calls.restart("g"),
        calls.rollback("g"), calls.scale("g", "s", 1), calls.revisions("g"), calls.revision("g", 1),
        calls.replicas(), calls.replicas(graph="g"), calls.replica("r"), calls.why("r"), calls.plan(submit),
        calls.get_plan("p"), calls.apply_plan("p"), calls.events(), calls.logs("g"), calls.metrics("g", "m"),
        calls.metric_names("g"), calls.rates("g"), calls.prometheus("g"), calls.kv("g"), calls.kv_series("g"),
        calls.gpus(), calls.builds(), calls.build("b"), calls.remove_build("b"), calls.upload_build(),
        calls.build_archive("b"),
    ]  # fmt: skip
    wanted = [(call.method, call.path) for call in made]
    wanted += [
        ("GET", stream.path)
        for stream in (streams.events(), streams.logs("g"), streams.rates("g"), streams.kv("g"), streams.gpus())
    ]
    for method, path in wanted:
        assert any(method == known and pattern.match(path) for known, pattern in patterns), (method, path)
