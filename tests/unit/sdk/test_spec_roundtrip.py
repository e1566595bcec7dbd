from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dynamo.sdk.spec import (
    DependencySpec,
    EndpointSpec,
    GraphSpec,
    HttpRoute,
    ProbeSpec,
    ProbesSpec,
    ResourceSpec,
    RestartSpec,
    ServiceSpec,
    decode,
    encode,
)

names = st.text(st.characters(categories=["L", "N"], include_characters="_-/."), min_size=1, max_size=12)
seconds = st.floats(0, 1e6)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
endpoints = st.builds(
    EndpointSpec,
    name=names,
    kind=st.sampled_from(["unary", "stream"]),
    dynamo=st.booleans(),
    http=st.none() | st.builds(HttpRoute, method=st.sampled_from(["GET", "POST"]), path=names),
    request_schema=st.none() | st.dictionaries(names, json_values, max_size=3),
)
probes = st.builds(ProbeSpec, kind=st.sampled_from(["sdk", "http", "tcp", "exec", "log"]), target=names, period=seconds)
resources = st.builds(
    ResourceSpec,
    cpu=st.none() | seconds,
    memory=st.none() | st.integers(0, 2**50),
    gpu=st.sampled_from([0.0, 0.25, 1.0, 8.0]),
    custom=st.dictionaries(names, names, max_size=2),
)


@st.composite
def graphs(draw: st.DrawFn) -> GraphSpec:
    service_names = draw(st.lists(names, min_size=1, max_size=5, unique=True))
    services = tuple(
        ServiceSpec(
            name=name,
            target=f"{draw(names)}:{draw(names)}",
            namespace=draw(names),
            endpoints=tuple(draw(st.lists(endpoints, max_size=2))),
            # Edges lead to later services only, so the graph has no cycle.
            dependencies=tuple(
                DependencySpec(attribute=draw(names), service=later)
                for later in draw(
                    st.sets(st.sampled_from(service_names[i + 1 :])) if service_names[i + 1 :] else st.just(set())
                )
            ),
            workers=draw(st.integers(0, 64)),
            resources=draw(resources),
            envs=draw(st.dictionaries(names, names, max_size=2)),
            image=draw(st.none() | names),
            config=draw(st.dictionaries(names, json_values, max_size=3)),
            http_port=draw(st.none() | st.integers(0, 65535)),
            probes=ProbesSpec(readiness=draw(probes), liveness=draw(st.none() | probes)),
            restart=RestartSpec(attempts=draw(st.integers(0, 100)), window=draw(seconds)),
            lease_ttl=draw(st.none() | seconds),
            extra=draw(st.dictionaries(names, json_values, max_size=2)),
        )
        for i, name in enumerate(service_names)
    )
    config = {name: draw(st.dictionaries(names, json_values, max_size=2)) for name in service_names}
    return GraphSpec(name=draw(names), target=draw(names), entry=service_names[0], services=services, config=config)


@settings(deadline=None, max_examples=60)
@given(graphs())
def test_a_spec_survives_json(spec: GraphSpec) -> None:
    text = encode(spec)
    assert decode(text) == spec
    assert encode(decode(text)) == text
    assert decode(text).digest() == spec.digest()
