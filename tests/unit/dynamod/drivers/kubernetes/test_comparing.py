from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings

from dynamo.sdk.spec import GraphSpec
from dynamod.drivers.kubernetes.comparing import APPLIED, holds, stamped
from dynamod.drivers.kubernetes.manifests import manifests
from dynamod.drivers.kubernetes.options import KubernetesOptions
from tests.unit.dynamod.drivers.kubernetes.specs import example, graphs

WANTED = next(
    stamped(o)
    for o in manifests(example("hello_world"), KubernetesOptions(image="graph:1")).objects
    if o["metadata"]["name"] == "hello-world-backend"
)


def live() -> dict[str, Any]:
    """As a server gives it back: defaults filled in, quantities rewritten, empty fields gone."""
    one = copy.deepcopy(WANTED)
    one["metadata"] |= {"resourceVersion": "7", "generation": 1}
    one["status"] = {"replicas": 1}
    pod = one["spec"]["template"]["spec"]
    pod["dnsPolicy"] = "ClusterFirst"
    container = pod["containers"][0]
    container["resources"] = {
        "limits": {"memory": "500Mi"},
        "requests": {"cpu": "1000m", "memory": "500Mi"},
    }
    container["env"] = [{k: v for k, v in variable.items() if v} for variable in container["env"]]
    return one


def test_what_the_server_makes_of_it_is_no_difference() -> None:
    assert holds(live(), WANTED)


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one["spec"].update(replicas=5),
        lambda one: one["spec"]["template"]["spec"]["containers"][0].update(image="other:1"),
        lambda one: one["spec"]["template"]["spec"]["containers"][0]["env"].pop(),
        lambda one: one["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"].update(memory="1Gi"),
        lambda one: one["metadata"]["annotations"].update({APPLIED: "older"}),
        lambda one: one["metadata"].pop("annotations"),
        lambda one: one["metadata"]["labels"].clear(),
    ],
)
def test_a_change_of_ours_or_theirs_is_a_difference(change: Any) -> None:
    there = live()
    change(there)
    assert not holds(there, WANTED)


@given(graphs())
@settings(max_examples=20, deadline=None)
def test_everything_holds_itself(spec: GraphSpec) -> None:
    for one in manifests(spec, KubernetesOptions(image="graph:1")).objects:
        assert holds(stamped(one), stamped(one))
