from __future__ import annotations

import pytest
from pydantic import BaseModel

from dynamo.sdk import abstract_endpoint, api, dynamo_api, dynamo_endpoint, endpoint, service
from dynamo.sdk.endpoints import Endpoint, Transport
from dynamo.sdk.errors import DefinitionError


class Request(BaseModel):
    text: str


class Declared:
    @endpoint()
    async def stream(self, req: Request):
        yield req

    @endpoint(name="chat/completions")
    async def chat(self, req: Later):
        return req

    @dynamo_endpoint(is_api=True)
    async def over_http(self, raw):
        return raw

    @api
    async def bare(self, req: Request):
        return req

    @dynamo_api(name="called", method="get", path="items/{item}", description="kept")
    async def verb(self, item: str):
        return item

    @api()
    @endpoint()
    async def both(self, req: Request):
        yield req

    @endpoint(transports=[Transport.DEFAULT, Transport.HTTP])
    async def listed(self, req: dict[str, str]):
        return req

    @endpoint
    async def called_bare(self, first, second: Request):
        return first


class Later(BaseModel):
    number: int


def of(name: str) -> Endpoint:
    return service(Declared).get_endpoint(name)


def test_a_generator_streams_and_a_coroutine_answers_once() -> None:
    assert of("stream").kind == "stream"
    assert of("bare").kind == "unary"


def test_names_may_contain_a_slash_and_default_to_the_methods() -> None:
    assert service(Declared).list_endpoints() == [
        "stream",
        "chat/completions",
        "over_http",
        "bare",
        "called",
        "both",
        "listed",
        "called_bare",
    ]


def test_transports() -> None:
    planes = {e.name: (e.on_request_plane, e.over_http) for e in service(Declared).get_endpoints().values()}
    assert planes["stream"] == (True, False)
    assert planes["over_http"] == planes["bare"] == planes["called"] == (False, True)
    assert planes["both"] == planes["listed"] == (True, True)


def test_http_method_path_and_unknown_keywords() -> None:
    called = of("called")
    assert (called.http_method, called.http_path) == ("GET", "/items/{item}")
    assert called.description == "kept"  # type: ignore[attr-defined]
    assert (of("bare").http_method, of("bare").http_path) == ("POST", "/bare")


def test_request_type_is_the_first_annotated_argument_and_may_be_defined_later() -> None:
    assert of("stream").request_type is Request
    assert of("chat/completions").request_type is Later
    assert of("over_http").request_type is None
    assert of("called_bare").request_type is Request


def test_a_request_type_that_does_not_exist_is_named() -> None:
    @service
    class Broken:
        @endpoint()
        async def ask(self, req: Nowhere):  # noqa: F821
            return req

    with pytest.raises(DefinitionError, match=r"Broken\.ask: the request type 'Nowhere' cannot be resolved"):
        _ = Broken.get_endpoint("ask").request_type


async def test_methods_stay_callable_on_an_instance() -> None:
    instance = service(Declared)()
    assert [item async for item in instance.stream(Request(text="x"))] == [Request(text="x")]
    assert await instance.bare(Request(text="y")) == Request(text="y")


def test_wrong_use_of_a_decorator_says_so() -> None:
    with pytest.raises(DefinitionError, match=r"method must be one of .*, not 'fetch'"):
        api(method="fetch")(lambda self: None)
    with pytest.raises(DefinitionError, match="decorate methods, not 5"):
        endpoint()(5)


def test_two_methods_of_one_endpoint_name() -> None:
    with pytest.raises(DefinitionError, match=r"one and two are both endpoints named 'same'"):

        @service
        class Twice:
            @endpoint(name="same")
            async def one(self): ...

            @endpoint(name="same")
            async def two(self): ...


def test_a_subclass_inherits_replaces_and_hides_endpoints() -> None:
    class Base:
        @endpoint()
        async def kept(self): ...

        @endpoint()
        async def replaced(self): ...

        @endpoint()
        async def hidden(self): ...

    @service
    class Derived(Base):
        hidden = None

        @endpoint()
        async def replaced(self):
            yield 1

    assert {e.name: e.kind for e in Derived.get_endpoints().values()} == {"kept": "unary", "replaced": "stream"}


def test_abstract_endpoint_marks_and_leaves_the_function_alone() -> None:
    def method(self: object) -> None: ...

    assert abstract_endpoint(method) is method
