from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from dynamo.runtime.errors import InvalidPayload
from dynamo.sdk import endpoint, service
from dynamo.sdk.serving.handlers import request_handler


class Model(BaseModel):
    text: str


class Struct(msgspec.Struct):
    text: str


@dataclass
class Data:
    text: str


class Plain:
    """No model, and nothing that could be converted to."""


@service
class Everything:
    @endpoint()
    async def stream(self, req: Model):
        yield req.text

    @endpoint()
    async def unary(self, req: Struct):
        return req

    @endpoint()
    async def data(self, req: Data): ...

    @endpoint()
    async def text(self, req: str):
        return req

    @endpoint()
    async def anything(self, req):
        return req

    @endpoint()
    async def foreign(self, req: Plain):
        return req

    @endpoint()
    async def union(self, req: Model | None):
        return req

    @endpoint()
    async def many(self, req: list[Model], context: Any):
        return req, context

    @endpoint()
    async def nothing(self):
        return "nothing"

    @endpoint()
    async def only_context(self, context: Any):
        return context

    @endpoint()
    async def with_context(self, req: Model, other: int = 3, *, context: Any):
        return req, other, context

    @endpoint()
    def plain(self, req: str):
        return req.upper()

    @endpoint()
    def generator(self, req: str):
        yield from req

    @endpoint()
    def passes_on(self, req: str):
        return self.text(req)


def of(name: str) -> tuple[Any, Any]:
    return request_handler(Everything.get_endpoint(name), Everything())


def test_models_are_left_to_the_runtime_to_convert_and_generators_stay_bare() -> None:
    handler, kind = of("stream")
    assert kind is Model
    assert handler.__func__ is Everything.get_endpoint("stream").func, "no wrapper around the generator"
    assert of("unary")[1] is Struct
    assert of("data")[1] is Data


async def test_other_annotations_pass_payloads_as_they_are() -> None:
    for name in ("text", "anything", "foreign"):
        handler, kind = of(name)
        assert kind is None
        assert await handler({"any": 1}) == {"any": 1}


async def test_unions_and_containers_of_models_are_checked() -> None:
    union, kind = of("union")
    assert kind is None
    assert await union('{"text": "x"}') == Model(text="x")
    assert await union(None) is None
    many, _ = of("many")
    assert await many([{"text": "a"}], "ctx") == ([Model(text="a")], "ctx")
    with pytest.raises(InvalidPayload, match=r"0\.text: Field required"):
        await many([{"nope": 1}], "ctx")


async def test_payload_and_context_by_what_the_method_takes() -> None:
    assert await of("nothing")[0]("ignored") == "nothing"
    assert await of("only_context")[0]("ignored", "ctx") == "ctx"
    assert await of("with_context")[0](Model(text="x"), "ctx") == (Model(text="x"), 3, "ctx")


async def test_methods_that_are_not_async_serve_all_the_same() -> None:
    assert await of("plain")[0]("abc") == "ABC"
    assert [item async for item in of("generator")[0]("abc")] == ["a", "b", "c"]
    assert await of("passes_on")[0]("abc") == "abc"
