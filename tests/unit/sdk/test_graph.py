from __future__ import annotations

from pathlib import Path

import pytest

from dynamo.sdk import Graph
from dynamo.sdk.config import Source
from dynamo.sdk.errors import ConfigError, GraphError
from dynamo.sdk.spec import HttpRoute, ProbesSpec, decode, encode
from tests.unit.sdk.conftest import GraphModule

PIPELINE = """
    from pydantic import BaseModel
    from dynamo.sdk import api, depends, endpoint, on_deployment, service

    class Request(BaseModel):
        text: str

    @service(dynamo={"namespace": "inference"}, resources={"gpu": 1, "memory": "1Gi"}, traffic={"timeout": 3})
    class Worker:
        @endpoint()
        async def generate(self, req: Request):
            yield req.text

        @on_deployment
        def prepare(): ...

    @service
    class Admin:
        @api(method="GET")
        async def status(self): ...

    @service
    class Unused:
        worker = depends(Worker)

    @service(dynamo={"namespace": "inference"})
    class Front:
        worker = depends(Worker)
        admin = depends(Admin)

        @api
        async def generate(self, req: Request): ...
"""


def configured(target: str, root: Path, **sections: object) -> Graph:
    graph = Graph.load(target, working_dir=root)
    graph.configure([Source("c.yaml", dict(sections))])  # type: ignore[arg-type]
    return graph


def test_a_graph_becomes_plain_data(graph_module: GraphModule, tmp_path: Path) -> None:
    name = graph_module(PIPELINE)
    spec = configured(
        f"{name}:Front",
        tmp_path,
        Common={"model": "m"},
        Worker={
            "block-size": 16,
            "common-configs": ["model"],
            "ServiceArgs": {"workers": 4, "envs": {"A": "1"}, "probes": {"startup_timeout": 9}},
        },
        Unused={"k": 1},
    ).spec(http_port=9000)
    assert (spec.name, spec.target, spec.entry, spec.namespace) == (
        name.replace("_", "-"),
        f"{name}:Front",
        "Front",
        "inference",
    )
    assert spec.service_names() == ["Front", "Worker", "Admin"]
    worker, front, admin = (spec.service(n) for n in ("Worker", "Front", "Admin"))
    assert worker.target == f"{name}:Worker"
    assert (worker.workers, worker.envs, worker.on_deployment) == (4, {"A": "1"}, True)
    assert (worker.resources.gpu, worker.resources.memory) == (1.0, 2**30)
    assert worker.config == {"model": "m", "block-size": 16}
    assert worker.extra == {"traffic": {"timeout": 3}}
    assert worker.probes == ProbesSpec(startup_timeout=9)
    assert worker.http_port is None
    generate = worker.endpoint("generate")
    assert generate is not None
    assert (generate.kind, generate.dynamo, generate.http) == ("stream", True, None)
    assert generate.request_schema is not None
    assert generate.request_schema["required"] == ["text"]
    assert (front.http_port, admin.http_port) == (9000, 0), "one port cannot serve two services"
    assert admin.endpoints[0].http == HttpRoute(method="GET", path="/status")
    assert {(d.attribute, d.service) for d in front.dependencies} == {("worker", "Worker"), ("admin", "Admin")}
    assert spec.config["Worker"]["ServiceArgs"] == {
        "workers": 4,
        "envs": {"A": "1"},
        "probes": {"startup_timeout": 9},
    }
    assert decode(encode(spec)) == spec
    assert spec.start_order() == [["Admin", "Worker"], ["Front"]]


def test_one_service_alone_does_not_drag_in_its_dependencies(graph_module: GraphModule, tmp_path: Path) -> None:
    graph = configured(f"{graph_module(PIPELINE)}:Front", tmp_path)
    spec = graph.spec(only="Front")
    assert (spec.service_names(), spec.entry, spec.service("Front").dependencies) == (["Front"], "Front", ())
    assert graph.spec(only="Worker").service("Worker").http_port is None
    with pytest.raises(GraphError, match="there is no service 'Wroker' in this graph; did you mean 'Worker'"):
        graph.spec(only="Wroker")


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"Wroker": {"k": 1}}, r"^c\.yaml: Wroker: there is no service of that name; did you mean 'Worker'\?$"),
        (
            {"Zzz": {}},
            r"^c\.yaml: Zzz: there is no service of that name; there is Admin, Common, Front, Unused, Worker$",
        ),
        (
            {"Worker": {"ServiceArgs": {"wrkers": 1}}},
            r"^c\.yaml: Worker\.ServiceArgs\.wrkers: means nothing; did you mean 'workers'\?$",
        ),
        (
            {"Worker": {"ServiceArgs": {"workers": "two"}}},
            r"^c\.yaml: Worker\.ServiceArgs\.workers: must be a whole number, 0 or more, not 'two'$",
        ),
        (
            {"Unused": {"ServiceArgs": {"resources": {"gpu": "x"}}}},
            r"^c\.yaml: Unused\.ServiceArgs\.resources\.gpu: must be a number",
        ),
        ({"Worker": {"common-configs": "model"}}, r"^c\.yaml: Worker\.common-configs: must be a list of keys"),
        (
            {"Common": {"model": 1, "x": 1}, "Worker": {"common-configs": ["x", "modle", "elsewhere"]}},
            r"^c\.yaml: Worker\.common-configs: 'modle' is no key of Common; did you mean 'model'\?$",
        ),
        ({"Worker": {"k": object()}}, r"a value has no JSON form"),
    ],
)
def test_a_typo_in_a_configuration_is_caught(
    graph_module: GraphModule, tmp_path: Path, sections: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        configured(f"{graph_module(PIPELINE)}:Front", tmp_path, **sections)


def test_two_services_of_one_name(graph_module: GraphModule, tmp_path: Path) -> None:
    first = graph_module("from dynamo.sdk import service\n@service\nclass Worker: ...\n")
    second = graph_module(
        f"""
        import {first}
        from dynamo.sdk import depends, service

        @service
        class Worker: ...

        @service
        class Front:
            one = depends({first}.Worker)
            two = depends(Worker)
        """
    )
    with pytest.raises(
        GraphError,
        match=rf"{second}\.py: two services are named 'Worker': {first}:Worker in {first}\.py and {second}:Worker",
    ):
        Graph.load(f"{second}:Front", working_dir=tmp_path)


INTERFACE = """
    from dynamo.sdk import AbstractService, abstract_endpoint, depends, endpoint, service

    class Ask(AbstractService):
        @abstract_endpoint
        async def ask(self, q): ...

    @service
    class Front:
        worker = depends(Ask)

        @endpoint()
        async def back(self, q): ...
"""


def test_an_interface_that_nothing_is_linked_to(graph_module: GraphModule, tmp_path: Path) -> None:
    name = graph_module(INTERFACE)
    with pytest.raises(
        GraphError, match=rf"{name}\.py: Front\.worker depends on the interface Ask and nothing is linked to it"
    ):
        Graph.load(f"{name}:Front", working_dir=tmp_path)


def test_a_cycle_names_its_services_and_file(graph_module: GraphModule, tmp_path: Path) -> None:
    name = graph_module(
        INTERFACE
        + """
    @service
    class Worker(Ask):
        front = depends(Front)

        @endpoint()
        async def ask(self, q): ...

    Front.link(Worker).link(Front)
"""
    )
    with pytest.raises(
        GraphError, match=rf"{name}\.py: .* in a cycle: (Front -> Worker -> Front|Worker -> Front -> W)"
    ):
        Graph.load(f"{name}:Front", working_dir=tmp_path).spec()


def test_links_shape_the_graph(graph_module: GraphModule, tmp_path: Path) -> None:
    name = graph_module(
        PIPELINE
        + """
    Front.link(Worker)
"""
    )
    graph = Graph.load(f"{name}:Front", working_dir=tmp_path)
    assert graph.spec().service_names() == ["Front", "Worker"]
    graph.configure([Source("c.yaml", {"Admin": {"k": 1}})])
