from __future__ import annotations

from dynamo.sdk.spec import DependencySpec, GraphSpec, ServiceSpec
from dynamod.core.records import ReplicaRecord
from dynamod.core.startup import critical_chain, describe_chain


def service(name: str, *needs: str) -> ServiceSpec:
    dependencies = tuple(DependencySpec(attribute=n.lower(), service=n) for n in needs)
    return ServiceSpec(name=name, target=f"m:{name}", dependencies=dependencies)


def replica(name: str, started: float | None, ready: float | None) -> ReplicaRecord:
    return ReplicaRecord(
        id=f"{name}-{started}",
        graph_id="g",
        project="p",
        graph="demo",
        service=name,
        index=1,
        revision=1,
        driver="process",
        created_at=0.0,
        updated_at=0.0,
        started_at=started,
        ready_at=ready,
    )


SPEC = GraphSpec(
    name="demo",
    target="m:Front",
    entry="Front",
    services=(service("Front", "Router", "Tokens"), service("Router", "Model"), service("Model"), service("Tokens")),
)


def test_the_slowest_dependency_is_the_chain() -> None:
    found = [
        replica("Model", 0.0, 30.0),
        replica("Model", 0.0, 31.0),
        replica("Tokens", 0.0, 2.0),
        replica("Router", 30.0, 30.5),
        replica("Front", 30.5, 31.5),
    ]
    chain = critical_chain(SPEC, found)
    assert chain == [("Model", 31.0), ("Router", 0.5), ("Front", 1.0)]
    assert describe_chain(chain) == "Model 31.0 s, then Router 0.5 s, then Front 1.0 s"


def test_nothing_has_started() -> None:
    assert critical_chain(SPEC, []) == []
    assert critical_chain(SPEC, [replica("Model", 1.0, None)]) == []
