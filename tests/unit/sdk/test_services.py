from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI

from dynamo.sdk import AbstractService, abstract_endpoint, api, depends, endpoint, service
from dynamo.sdk.core.protocol.interface import LinkedServices
from dynamo.sdk.dependency import Dependency
from dynamo.sdk.errors import ConfigError, DefinitionError, GraphError, LinkError
from dynamo.sdk.lib.service import LeaseConfig
from dynamo.sdk.services import Service


class WorkerInterface(AbstractService):
    @abstract_endpoint
    async def generate(self, request: dict[str, Any]) -> Any: ...

    @abstract_endpoint
    async def cancel(self, request: str) -> Any: ...


def pipeline() -> dict[str, Service[Any]]:
    @service(dynamo={"namespace": "inference"})
    class Backend:
        @endpoint()
        async def generate(self, req: str):
            yield req

    @service
    class Backend2:
        backend = depends(Backend)

    @service
    class Middle:
        backend = depends(Backend)
        backend2 = depends(on=Backend2)

    @service
    class Frontend:
        middle = depends(Middle)
        backend = depends(Backend)

        @api
        async def generate(self, req: str): ...

    return {s.name: s for s in (Backend, Backend2, Middle, Frontend)}


def test_bare_and_called_forms_keep_the_class_inside() -> None:
    class Plain:
        pass

    wrapped = service(Plain)
    assert wrapped.inner is Plain
    assert wrapped.name == "Plain"
    assert isinstance(wrapped(), Plain)
    assert service(workers=3)(Plain).config.workers == 3


def test_defaults_of_the_address() -> None:
    @service
    class Plain: ...

    @service(dynamo={"name": "other", "namespace": "ns", "custom_lease": {"ttl": 4}, "component_type": "planner"})
    class Named: ...

    @service(name="Renamed", dynamo={"enabled": False, "custom_lease": LeaseConfig(ttl=2)})
    class Third: ...

    assert Plain.dynamo_address() == ("default", "Plain")
    assert Named.dynamo_address() == ("ns", "other")
    assert Named.lease == LeaseConfig(ttl=4)
    assert Named.config.dynamo.component_type == "planner"
    assert (Third.name, Third.dynamo_address(), Third.config.dynamo.enabled) == (
        "Renamed",
        ("default", "Renamed"),
        False,
    )
    assert Third.lease == LeaseConfig(ttl=2)


def test_resources_workers_and_the_rest_of_the_decorator() -> None:
    app = FastAPI()

    @service(
        resource={"cpu": "500m", "memory": "20Gi", "gpu": "2", "rdma/hca": 1, "custom": {"a": "b"}},
        workers=2,
        image="img:1",
        envs=[{"name": "A", "value": 1}, {"name": "B", "value": True}],
        labels={"team": "x"},
        app=app,
        traffic={"timeout": 30},
        anything="kept",
        kubernetes_overrides={"entrypoint": "run", "cmd": ["a", "b"]},
        drain_timeout=5,
        restart={"attempts": 2},
        probes={"startup_timeout": 60},
    )
    class Full: ...

    said = Full.config
    assert (said.resources.cpu, said.resources.memory, said.resources.gpu) == ("500m", "20Gi", "2"), "as written"
    asked = said.resources.spec
    assert (asked.cpu, asked.memory, asked.gpu) == (0.5, 20 * 2**30, 2.0)
    assert said.resources.custom == {"rdma/hca": "1", "a": "b"}
    assert (said.workers, said.image, said.labels, said.drain_timeout) == (2, "img:1", {"team": "x"}, 5.0)
    assert [(env.name, env.value) for env in Full.envs] == [("A", "1"), ("B", "true")]
    assert Full.app is app
    assert said.extra == {"traffic": {"timeout": 30}, "anything": "kept"}
    assert said["traffic"] == {"timeout": 30}
    assert said.get("nothing", 1) == 1
    assert said.kubernetes_overrides == {"entrypoint": ["run"], "cmd": ["a", "b"]}
    assert (said.restart.attempts, said.probes.startup_timeout) == (2, 60.0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"workers": -1}, r"test_services\.py: Bad\.workers: must be a whole number, 0 or more, not -1"),
        ({"resources": {"memory": "5Q"}}, r"Bad\.resources\.memory: must be a number .* not '5Q'"),
        ({"resources": {"gpu": 1.5}}, r"Bad\.resources\.gpu: must be a whole number or a fraction below 1"),
        ({"dynamo": {"namespce": "x"}}, r"Bad\.dynamo\.namespce: means nothing; did you mean 'namespace'\?"),
        ({"envs": ["A=1"]}, r"Bad\.envs\[0\]: must be \{name, value\}, not 'A=1'"),
        ({"envs": 3}, r"Bad\.envs: must be a list"),
        ({"restart": {"attempts": "many"}}, r"Bad\.restart: Expected `int`, got `str`"),
        ({"kubernetes_overrides": {"command": "x"}}, r"Bad\.kubernetes_overrides\.command: means nothing"),
        ({"labels": "x"}, r"Bad\.labels: must be a mapping"),
    ],
)
def test_a_decorator_value_that_makes_no_sense(words: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        service(**words)(type("Bad", (), {"__module__": __name__}))


def test_twice_or_on_something_else_is_a_type_error() -> None:
    @service
    class Once: ...

    with pytest.raises(TypeError, match="is a service already"):
        service(Once)
    with pytest.raises(TypeError, match="decorates classes"):
        service(workers=1)(lambda: None)


def test_what_depends_takes() -> None:
    class Plain: ...

    for wrong in (None, 5, "Backend"):
        with pytest.raises(TypeError, match="expects a service or an AbstractService subclass"):
            depends(wrong)
    with pytest.raises(TypeError, match="is a plain class; decorate it with @service"):
        depends(Plain)
    assert isinstance(depends(WorkerInterface), Dependency)


def test_a_service_describes_its_graph() -> None:
    graph = pipeline()
    frontend = graph["Frontend"]
    assert set(frontend.dependencies) == {"middle", "backend"}
    assert frontend.dependencies["middle"].on is graph["Middle"]
    assert list(frontend.all_services()) == ["Frontend", "Middle", "Backend", "Backend2"]
    assert frontend.find_dependent_by_name("Backend2") is graph["Backend2"]
    assert frontend.serves_http
    assert not graph["Middle"].serves_http
    assert frontend.is_servable()
    with pytest.raises(ValueError, match="has no endpoint 'x'; it has generate"):
        graph["Backend"].get_endpoint("x")


def test_links_keep_what_they_name_and_are_idempotent() -> None:
    graph = pipeline()
    assert graph["Frontend"].link(graph["Middle"]).link(graph["Backend"]) is graph["Backend"]
    for _ in range(2):
        LinkedServices.remove_unused_edges()
        assert set(graph["Frontend"].dependencies) == {"middle"}
        assert set(graph["Middle"].dependencies) == {"backend"}
        assert graph["Backend"].dependencies == {}
        assert set(graph["Backend2"].dependencies) == {"backend"}, "appears in no link, so it is left alone"


def test_an_unlinked_dependency_is_false_and_says_what_happened() -> None:
    graph = pipeline()
    graph["Frontend"].link(graph["Middle"]).link(graph["Backend"])
    LinkedServices.remove_unused_edges()
    middle = graph["Middle"]()
    assert middle.backend
    assert not middle.backend2
    with pytest.raises(GraphError, match="dependency 'backend2' on Backend2 is not part of this graph"):
        middle.backend2.generate("x")


def test_what_link_refuses() -> None:
    graph = pipeline()
    with pytest.raises(ValueError, match="Frontend does not fulfill any dependencies required by Middle"):
        graph["Middle"].link(graph["Frontend"])
    with pytest.raises(LinkError, match=r"Middle\.link\(\) takes a service, not 'Backend'"):
        graph["Middle"].link("Backend")  # type: ignore[arg-type]

    @service
    class Both:
        one = depends(graph["Backend"])
        two = depends(graph["Backend"])

    with pytest.raises(ValueError, match="Backend fulfills multiple dependencies required by Both: one, two"):
        Both.link(graph["Backend"])


def test_an_interface_is_replaced_by_what_is_linked_and_only_there() -> None:
    @service
    class Worker(WorkerInterface):
        @endpoint()
        async def generate(self, request):
            yield request

        @endpoint()
        async def cancel(self, request): ...

    class Shared:
        worker = depends(WorkerInterface)

    @service
    class First(Shared): ...

    @service
    class Second(Shared): ...

    assert First.link(Worker) is Worker
    assert First.dependencies["worker"].on is Worker
    assert Second.dependencies["worker"].on.name == "WorkerInterface"
    assert not Second.dependencies["worker"].on.is_servable()


def test_an_incomplete_implementation_names_what_is_missing() -> None:
    with pytest.raises(
        TypeError,
        match=r"Half does not implement cancel and implements generate without @endpoint\(\), as .* WorkerInt",
    ):

        @service
        class Half(WorkerInterface):
            async def generate(self, request):
                yield request


def test_a_class_may_inherit_from_a_service() -> None:
    graph = pipeline()

    @service
    class Special(graph["Middle"]):  # type: ignore[misc]
        @endpoint()
        async def more(self, req: str): ...

    assert issubclass(Special.inner, graph["Middle"].inner)
    assert set(Special.dependencies) == {"backend", "backend2"}
    assert Special.list_endpoints() == ["more"]
    del Special.dependencies["backend2"]
    assert "backend2" in graph["Middle"].dependencies


def test_service_args_override_the_decorator_at_every_depth() -> None:
    @service(dynamo={"namespace": "a", "name": "b"}, resources={"cpu": 1, "gpu": 2}, workers=2, envs={"A": "1"})
    class Configured: ...

    Configured.configure(
        {"dynamo": {"namespace": "c"}, "resource": {"gpu": 1}, "workers": 5, "envs": [{"name": "B", "value": "2"}]}
    )
    assert Configured.dynamo_address() == ("c", "b")
    asked = Configured.config.resources.spec
    assert (asked.cpu, asked.gpu, Configured.config.workers) == (1, 1, 5)
    assert Configured.config.envs == {"A": "1", "B": "2"}
    Configured.configure({})
    assert Configured.config == Configured.declared
    with pytest.raises(
        ConfigError, match=r"f\.yaml: Configured\.ServiceArgs\.wrokers: means nothing; did you mean 'wor"
    ):
        Configured.configure({"wrokers": 1}, where="f.yaml")


def test_an_application_is_made_when_asked_for() -> None:
    assert pipeline()["Frontend"].app.title == "Frontend"


def test_a_plain_asgi_application_is_served_as_it_is() -> None:
    async def app(_scope: Any, _receive: Any, _send: Any) -> None: ...

    @service(app=app)
    class Plain: ...

    @service(app=FastAPI())
    class Routed: ...

    assert (Plain.plain_app, Plain.serves_http) == (app, True)
    assert Routed.plain_app is None
    with pytest.raises(DefinitionError, match="Both: its app is no FastAPI application, so shown cannot become"):

        @service(app=app)
        class Both:
            @api
            async def shown(self) -> str:
                return ""


def test_importing_a_graph_outside_any_command_has_no_side_effects() -> None:
    graph = pipeline()
    assert repr(graph["Backend"]).startswith("<service 'Backend'")
    assert repr(graph["Frontend"].dependencies["backend"]) == "<dependency 'backend' on 'Backend'>"
