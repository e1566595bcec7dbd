"""Specs to make manifests from: those of the examples, and whatever hypothesis thinks of."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import msgspec
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
)

GOLDEN = Path(__file__).parent / "golden"


def example(name: str) -> GraphSpec:
    """`hello_world` or `agg_router`, as their example's inspection gave them."""
    return decode((GOLDEN / f"{name}.json").read_bytes())


def service(name: str = "Worker", **said: Any) -> ServiceSpec:
    return ServiceSpec(name=name, target=f"graph:{name}", **said)


def graph(*services: ServiceSpec, **said: Any) -> GraphSpec:
    return GraphSpec(name="sample", target="graph:Entry", entry=services[0].name, services=services, **said)


_words = st.text(max_size=40)
_names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,80}", fullmatch=True)
_variables = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)
_seconds = st.floats(0, 5000, allow_nan=False)
_probes = st.builds(
    ProbeSpec,
    kind=st.sampled_from(["sdk", "http", "tcp", "exec", "log"]),
    target=st.sampled_from(["", "/ready", "http://127.0.0.1:81/x?y=1", "http://[", "9000", "127.0.0.1:9", "x:9"])
    | _words,
    initial_delay=_seconds,
    period=_seconds,
    timeout=_seconds,
    failure_threshold=st.integers(1, 100),
    success_threshold=st.integers(1, 10),
)
_services = st.builds(
    ServiceSpec,
    name=_names,
    target=_words,
    workers=st.integers(0, 5),
    component_type=st.none() | st.sampled_from(["worker", "prefill", "planner"]) | _words,
    endpoints=st.just((EndpointSpec(name="generate", kind="stream", http=HttpRoute(path="/generate")),)),
    resources=st.builds(
        ResourceSpec,
        cpu=st.none() | st.floats(0, 64),
        memory=st.none() | st.integers(0, 2**50),
        gpu=st.sampled_from([0.0, 0.25, 1.0, 8.0]),
        custom=st.dictionaries(
            st.sampled_from(["rdma/ib", "example.com/fpga"]) | _words, st.just("1") | _words, max_size=2
        ),
    ),
    envs=st.dictionaries(_variables | st.just("HF_TOKEN"), _words, max_size=3),
    image=st.none() | st.just("registry.example/graph:1"),
    labels=st.dictionaries(_words | _names, _words | _names, max_size=3),
    config=st.just({}),
    http_port=st.none() | st.sampled_from([0, 80, 8000, 9090, 65535]),
    probes=st.builds(ProbesSpec, startup_timeout=_seconds, readiness=_probes, liveness=st.none() | _probes),
    restart=st.builds(RestartSpec, attempts=st.integers(0, 20)),
    drain_timeout=_seconds,
    kubernetes_overrides=st.sampled_from([{}, {"entrypoint": ["/bin/run"]}, {"cmd": ["--fast"]}]),
)


@st.composite
def graphs(draw: st.DrawFn) -> GraphSpec:
    """Sound graphs: services in a row, each depending on the next."""
    services = draw(st.lists(_services, min_size=1, max_size=4, unique_by=lambda s: s.name))
    linked = tuple(
        msgspec.structs.replace(one, dependencies=(DependencySpec(attribute="next", service=after.name),))
        for one, after in itertools.pairwise(services)
    )
    return GraphSpec(
        name=draw(_words.filter(bool)),
        target="graph:Entry",
        entry=services[0].name,
        services=(*linked, services[-1]),
        config={one.name: {"prompt": draw(_words)} for one in services},
        envs=draw(st.dictionaries(_variables, _words, max_size=2)),
        working_dir=draw(st.sampled_from(["", "/srv"])),
    )
