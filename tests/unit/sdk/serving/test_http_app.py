from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from dynamo.runtime.context import current_request
from dynamo.runtime.errors import DeadlineExceeded, EndpointError, NoInstances
from dynamo.runtime.metrics import Registry
from dynamo.sdk import api, endpoint, service
from dynamo.sdk.serving.http_app import build_app
from dynamo.sdk.serving.request_scope import RequestScope


class Body(BaseModel):
    text: str


app = FastAPI(title="Author's")


@app.get("/own")
async def own() -> str:
    return "own"


@service(app=app)
class Web:
    @api()
    async def generate(self, body: Body):
        async def content() -> AsyncIterator[str]:
            for word in body.text.split():
                yield word

        return StreamingResponse(content())

    @api
    async def words(self, body: Body):
        for word in body.text.split():
            if word == "fail":
                raise RuntimeError("broken in the middle")
            yield word

    @api
    async def items(self, body: Body):
        for word in body.text.split():
            if word == "fail":
                raise EndpointError("KeyError", "'x'", endpoint="ns/c/e", instance=1)
            yield Body(text=word)

    @api
    async def own_events(self):
        yield "event: one\ndata: 1\n\n"

    @api(media_type="audio/wav")
    async def sound(self):
        yield b"RIFF"

    @api
    async def nothing(self):
        for never in ():
            yield never

    @api
    async def fails_in_own_stream(self):
        async def content() -> AsyncIterator[str]:
            yield "begin"
            raise RuntimeError("late")

        return StreamingResponse(content(), media_type="text/event-stream")

    @api(name="items/{item}", method="GET")
    async def read(self, item: int, request: Request, verbose: Annotated[bool, Query()] = False):
        return {"item": item, "verbose": verbose, "agent": request.headers.get("user-agent")}

    @api(method="PUT")
    def plain(self, body: Body) -> dict[str, str]:
        return {"text": body.text}

    @api
    async def deadline(self):
        raise DeadlineExceeded("too late", endpoint="ns/c/e")

    @api
    async def nobody(self):
        raise NoInstances("no instance in 1 s", endpoint="ns/c/e")
        yield

    @api
    async def bug(self) -> str:
        raise ValueError("a bug")

    @api
    async def refused(self):
        raise HTTPException(418, "teapot")
        yield

    @api
    async def whoami(self):
        context = current_request()
        assert context is not None
        return context.outgoing()

    @api
    async def hands_on(self, body: Body):
        return self.words(body)

    @api()
    @endpoint()
    async def both(self, body: Body):
        yield body.text


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry()


@pytest.fixture(scope="module")
def scoped(registry: Registry) -> Any:
    return RequestScope(build_app(Web, Web()), "Web", registry)


@pytest.fixture
async def client(scoped: Any) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=scoped, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://web") as made:
        yield made


async def post(client: httpx.AsyncClient, path: str, text: str = "a b c", **headers: str) -> httpx.Response:
    return await client.post(path, json={"text": text}, headers=headers)


async def test_a_post_route_by_name_wrong_methods_and_bad_bodies(client: httpx.AsyncClient) -> None:
    answer = await post(client, "/generate")
    assert (answer.status_code, answer.text) == (200, "abc")
    assert (await client.get("/generate")).status_code == 405
    bad = await client.post("/generate", json={"nope": 1})
    assert bad.status_code == 422
    assert bad.json()["detail"][0]["loc"] == ["body", "text"]
    assert (await client.post("/generate", content=b"{")).status_code == 422
    assert (await client.post("/nowhere")).status_code == 404


async def test_the_authors_application_keeps_its_own_routes(client: httpx.AsyncClient) -> None:
    assert (await client.get("/own")).json() == "own"
    document = (await client.get("/openapi.json")).json()
    assert document["info"]["title"] == "Author's"
    assert "/generate" in document["paths"]


async def test_other_methods_and_fastapis_parameters(client: httpx.AsyncClient) -> None:
    answer = await client.get("/items/7?verbose=1", headers={"user-agent": "t"})
    assert answer.json() == {"item": 7, "verbose": True, "agent": "t"}
    assert (await client.get("/items/x")).status_code == 422
    assert (await client.put("/plain", json={"text": "x"})).json() == {"text": "x"}
    assert (await client.post("/plain", json={"text": "x"})).status_code == 405


async def test_a_generator_streams_text_json_lines_or_events(client: httpx.AsyncClient) -> None:
    answer = await post(client, "/words")
    assert (answer.text, answer.headers["content-type"]) == ("abc", "text/plain; charset=utf-8")
    answer = await post(client, "/items", "a b")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in answer.text.splitlines()] == [{"text": "a"}, {"text": "b"}]
    answer = await post(client, "/items", "a", accept="text/event-stream")
    assert (answer.text, answer.headers["content-type"]) == (
        'data: {"text":"a"}\n\n',
        "text/event-stream; charset=utf-8",
    )
    assert (await post(client, "/words", "a b", accept="text/event-stream")).text == "data: a\n\ndata: b\n\n"
    answer = await post(client, "/own_events")
    assert (answer.text, answer.headers["content-type"]) == (
        "event: one\ndata: 1\n\n",
        "text/event-stream; charset=utf-8",
    )
    answer = await post(client, "/sound")
    assert (answer.content, answer.headers["content-type"]) == (b"RIFF", "audio/wav")
    assert (await post(client, "/nothing")).text == ""
    assert (await post(client, "/hands_on", "x y")).text == "xy"
    assert (await post(client, "/both", "both")).text == "both"


async def test_an_error_in_mid_stream_ends_it_with_an_error_event(client: httpx.AsyncClient) -> None:
    answer = await post(client, "/words", "a fail")
    assert answer.text.startswith("a\n\nevent: error\ndata: ")
    assert json.loads(answer.text.partition("data: ")[2]) == {
        "error": {"type": "RuntimeError", "message": "broken in the middle"}
    }
    last = json.loads((await post(client, "/items", "a fail")).text.splitlines()[-1])
    assert last["error"]["type"] == "KeyError"
    assert "ns/c/e on instance 1" in last["error"]["message"]
    answer = await client.post("/fails_in_own_stream")
    assert answer.text.startswith("begin\n\nevent: error\ndata: ")


async def test_an_error_before_the_first_item_keeps_its_status(client: httpx.AsyncClient) -> None:
    assert (await post(client, "/words", "fail")).status_code == 500
    assert (await client.post("/refused")).status_code == 418
    nobody = await client.post("/nobody")
    assert nobody.status_code == 503
    assert nobody.json()["error"] == {"type": "NoInstances", "message": "ns/c/e: no instance in 1 s"}
    assert (await client.post("/deadline")).status_code == 504
    bug = await client.post("/bug")
    assert (bug.status_code, bug.json()["error"]) == (500, {"type": "ValueError", "message": "a bug"})


async def test_request_id_and_trace_are_carried_on(client: httpx.AsyncClient) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    answer = await client.post("/whoami", headers={"x-request-id": "abc", "traceparent": trace})
    assert answer.json() == {"request_id": "abc", "traceparent": trace}
    assert answer.headers["x-request-id"] == "abc"
    answer = await client.post("/whoami", headers={"x-request-id": "no spaces allowed", "traceparent": "junk"})
    assert set(answer.json()) == {"request_id"}
    assert answer.headers["x-request-id"] == answer.json()["request_id"] != "no spaces allowed"


async def test_metrics_count_by_route(client: httpx.AsyncClient, registry: Registry) -> None:
    await client.get("/items/1")
    await client.get("/scanner")
    text = registry.render()
    assert 'dynamo_http_requests_total{route="/items/{item}",method="GET",status="200"}' in text
    assert 'dynamo_http_requests_total{route="unmatched",method="GET",status="404"}' in text
    assert 'dynamo_http_duration_seconds_count{route="/items/{item}"}' in text
