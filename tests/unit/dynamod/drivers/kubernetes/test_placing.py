"""Where a graph is put, and how many replicas it has there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from dynamod.core.errors import Conflict, Invalid
from dynamod.drivers.base import Wanted
from dynamod.drivers.kubernetes.options import Autoscale
from dynamod.drivers.kubernetes.placing import counted, made_of, options_of, settled_place
from tests.unit.dynamod.drivers.kubernetes.specs import example

HELLO = example("hello_world")


def wanted(**options: object) -> Wanted:
    return Wanted("default", "hello", 3, HELLO, {"A": "1"}, None, {"image": "i:1", **options}, {"Backend": 2})


def replicas(made: Wanted) -> dict[str, int]:
    return {
        one["metadata"]["name"]: one["spec"].get("replicas")
        for one in made_of(made).objects
        if one["kind"] == "Deployment" and "etcd" not in one["metadata"]["name"]
    }


def test_counts_revision_and_variables_become_manifests() -> None:
    found = replicas(wanted())
    assert found["hello-backend"] == 2
    backend = next(o for o in made_of(wanted()).objects if o["metadata"]["name"] == "hello-backend")
    assert backend["metadata"]["labels"]["ai.dynamo.revision"] == "3"
    assert {"name": "A", "value": "1"} in backend["spec"]["template"]["spec"]["containers"][0]["env"]


def test_a_stopped_graph_has_no_replicas_and_nothing_that_adds_some() -> None:
    scaled = wanted(autoscale={"Backend": {"minimum": 1, "maximum": 4}})
    stopped = replace(scaled, running=False, counts=dict.fromkeys(HELLO.service_names(), 2))
    assert set(replicas(stopped).values()) == {0}
    assert "HorizontalPodAutoscaler" not in {one["kind"] for one in made_of(stopped).objects}


def test_replica_counts_of_the_options_become_the_specs_own() -> None:
    asked = wanted(replicas={"Middle": 4}, autoscale={"Backend": msgspec.to_builtins(Autoscale(minimum=2, maximum=5))})
    found = counted(asked, options_of(asked))
    assert found.counts == {"Frontend": 1, "Middle": 4, "Backend": 2}
    assert found.spec.service("Middle").workers == 4
    assert "replicas" not in found.options


def test_a_graph_stays_where_it_is(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.touch()
    first = settled_place({"image": "i"}, None, {"KUBECONFIG": str(config)})
    assert first == {"image": "i", "kubeconfig": str(config)}
    there = first | {"context": "c", "namespace": "n"}
    assert settled_place({"image": "j"}, there, {}) == there | {"image": "j"}
    with pytest.raises(Conflict, match="namespace 'n'"):
        settled_place({"namespace": "other"}, there, {})


def test_options_that_are_none_are_refused() -> None:
    with pytest.raises(Invalid, match="docs/kubernetes"):
        options_of(wanted(imgae="typo"))
