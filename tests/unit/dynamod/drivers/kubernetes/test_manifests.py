from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynamo.sdk.spec import GraphSpec, ProbeSpec, ProbesSpec, ResourceSpec, RestartSpec
from dynamod.core.errors import Invalid
from dynamod.drivers.kubernetes.manifests import Manifests, manifests
from dynamod.drivers.kubernetes.options import Autoscale, Bundled, Ingress, KubernetesOptions, Volume
from tests.unit.dynamod.drivers.kubernetes.schemas import RELEASES, assert_valid
from tests.unit.dynamod.drivers.kubernetes.specs import example, graph, graphs, service

IMAGE = KubernetesOptions(image="registry.example/graph:1")
EVERYTHING = KubernetesOptions(
    image="registry.example/graph:1",
    project="team",
    revision=3,
    namespace="serving",
    image_pull_policy="IfNotPresent",
    image_pull_secrets=("pull",),
    envs={"MODE": "1e3"},
    env_secrets=("models",),
    secret_envs={"HF_TOKEN": "hub/token"},
    nats=Bundled(image="nats:2.11-alpine"),
    request_plane="nats",
)


def made(spec: GraphSpec, **said: Any) -> Manifests:
    return manifests(spec, KubernetesOptions(image="graph:1", **said))


def one(found: Manifests, kind: str, name: str) -> dict[str, Any]:
    return next(o for o in found.objects if (o["kind"], o["metadata"]["name"]) == (kind, name))


def pod(found: Manifests, name: str, kind: str = "Deployment") -> dict[str, Any]:
    template: dict[str, Any] = one(found, kind, name)["spec"]["template"]["spec"]
    return template


def container(found: Manifests, name: str, kind: str = "Deployment") -> dict[str, Any]:
    main: dict[str, Any] = pod(found, name, kind)["containers"][0]
    return main


def env(found: Manifests, name: str) -> dict[str, Any]:
    return {e["name"]: e.get("value", e.get("valueFrom")) for e in container(found, name)["env"]}


# -- every release


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("name", ["hello_world", "agg_router"])
def test_the_examples_fit_every_release(name: str, release: str) -> None:
    assert_valid(manifests(example(name), IMAGE).objects, release)
    more = msgspec.structs.replace(
        EVERYTHING,
        stateful=("Frontend",),
        ingress=Ingress(host="llm.example.org", class_name="nginx", tls_secret="cert", annotations={"a": "1"}),
        volumes={"Backend" if name == "hello_world" else "Worker": Volume(path="/models", size="100Gi")},
        autoscale={"Backend" if name == "hello_world" else "Router": Autoscale(minimum=2, maximum=8)},
    )
    assert_valid(manifests(example(name), more).objects, release)


@given(
    spec=graphs(), options=st.sampled_from([IMAGE, EVERYTHING]), release=st.sampled_from([RELEASES[0], RELEASES[-1]])
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_the_spec_says_the_objects_fit(spec: GraphSpec, options: KubernetesOptions, release: str) -> None:
    found = manifests(spec, options)

    assert_valid(found.objects, release)
    names = [(o["kind"], o["metadata"]["name"]) for o in found.objects]
    assert len(names) == len(set(names)), "two objects share a name"
    for this in found.objects:
        assert len(this["metadata"]["name"]) <= 63
        if this["kind"] == "Service":
            assert all(p["protocol"] == "TCP" for p in this["spec"].get("ports", []))
        if this["kind"] == "Deployment":
            selector = this["spec"]["selector"]["matchLabels"]
            assert selector.items() <= this["spec"]["template"]["metadata"]["labels"].items()
            ports = [p["containerPort"] for p in this["spec"]["template"]["spec"]["containers"][0]["ports"]]
            assert len(ports) == len(set(ports))
    assert manifests(spec, options) == found, "not reproducible"


# -- what a pod gets


def test_a_replica_is_started_as_its_contract_says() -> None:
    found = made(example("hello_world"))

    main = container(found, "hello-world-middle")
    assert main["command"] + main["args"] == [
        *["python", "-m", "dynamo.sdk.replica", "hello_world:Frontend"],
        *["--service-name", "Middle", "--worker-id", "1"],
    ]
    said = env(found, "hello-world-middle")
    assert said["DYN_DISCOVERY"] == "etcd://hello-world-etcd:2379"
    assert said["DYN_SCOPE"] == "default/hello-world"
    assert said["DYN_REPLICA_ID"]["fieldRef"]["fieldPath"] == "metadata.name"
    assert said["DYN_TCP_HOST"]["fieldRef"]["fieldPath"] == "status.podIP"
    assert said["DYN_HOST_ID"]["fieldRef"]["fieldPath"] == "metadata.uid", "pods of a node share its boot id"
    assert said["DYNAMO_SERVICE_CONFIG"]["configMapKeyRef"]["name"] == "hello-world-config"
    assert "DYNAMO_PORT" not in said
    assert env(found, "hello-world-frontend")["DYNAMO_PORT"] == "8000"


def test_an_etcd_that_exists_is_referred_to_and_none_is_bundled() -> None:
    found = made(example("hello_world"), etcd="etcd://10.0.0.1:2379", nats="nats://10.0.0.2:4222")

    assert not [o for o in found.objects if o["metadata"]["name"].endswith(("-etcd", "-nats"))]
    said = env(found, "hello-world-backend")
    assert (said["DYN_DISCOVERY"], said["NATS_SERVER"]) == ("etcd://10.0.0.1:2379", "nats://10.0.0.2:4222")


def test_pods_have_no_rights_and_get_no_foreign_variables() -> None:
    spec = pod(made(example("hello_world")), "hello-world-backend")

    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_image_may_keep_its_own_user() -> None:
    assert (
        "runAsUser" not in pod(made(example("hello_world"), run_as_user=None), "hello-world-backend")["securityContext"]
    )


def test_the_drain_timeout_bounds_termination() -> None:
    spec = pod(made(graph(service(drain_timeout=90.5))), "sample-worker")
    assert spec["terminationGracePeriodSeconds"] == 91 + 5


def test_secrets_are_referred_to_and_never_written() -> None:
    spec = graph(service(envs={"HF_TOKEN": "hf_abc", "OPENAI_API_KEY": "sk-1", "MAX_TOKENS": "16"}))
    found = made(spec, secret_envs={"HF_TOKEN": "hub/token"}, env_secrets=("more",))

    said = env(found, "sample-worker")
    assert said["HF_TOKEN"] == {"secretKeyRef": {"name": "hub", "key": "token"}}
    assert said["OPENAI_API_KEY"] == {"secretKeyRef": {"name": "sample-secrets", "key": "OPENAI_API_KEY"}}
    assert said["MAX_TOKENS"] == "16"
    assert container(found, "sample-worker")["envFrom"] == [{"secretRef": {"name": "more"}}]
    assert "hf_abc" not in str(found)
    assert "sk-1" not in str(found)
    assert any("OPENAI_API_KEY" in str(n) and "sample-secrets" in str(n) for n in found.notes)


def test_what_the_kubelet_would_expand_stays_as_it_is() -> None:
    assert env(made(graph(service(envs={"A": "$(B) $C"}))), "sample-worker")["A"] == "$$(B) $C"


def test_pods_are_replaced_when_the_configuration_changes_and_only_then() -> None:
    before, same, after = (
        made(graph(service(), config={"Worker": {"block-size": size}}), revision=revision)
        for size, revision in ((16, 1), (16, 2), (32, 3))
    )

    template = [one(m, "Deployment", "sample-worker")["spec"]["template"] for m in (before, same, after)]
    assert template[0] == template[1]
    assert template[0] != template[2]


# -- resources and rollout


def test_gpus_are_limits_and_are_freed_before_they_are_taken_again() -> None:
    found = made(graph(service(resources=ResourceSpec(gpu=2, cpu=0.5, memory=1 << 30))))

    assert container(found, "sample-worker")["resources"] == {
        "limits": {"nvidia.com/gpu": "2", "memory": str(1 << 30)},
        "requests": {"cpu": "500m", "memory": str(1 << 30)},
    }
    assert one(found, "Deployment", "sample-worker")["spec"]["strategy"]["rollingUpdate"] == {
        "maxSurge": 0,
        "maxUnavailable": 1,
    }
    assert "CUDA_VISIBLE_DEVICES" not in env(found, "sample-worker")


def test_a_fraction_of_a_gpu_takes_a_whole_one_or_the_clusters_shares() -> None:
    spec = graph(service(resources=ResourceSpec(gpu=0.25)))

    whole, shared = made(spec), made(spec, gpu_share_resource="nvidia.com/gpu.shared")
    assert container(whole, "sample-worker")["resources"]["limits"] == {"nvidia.com/gpu": "1"}
    assert container(shared, "sample-worker")["resources"]["limits"] == {"nvidia.com/gpu.shared": "1"}
    assert [n.instead for n in whole.notes if n.field.endswith("resources.gpu")] == ["a whole device"]


def test_a_replica_without_gpus_sees_none() -> None:
    assert env(made(graph(service())), "sample-worker")["NVIDIA_VISIBLE_DEVICES"] == "void"


def test_several_replicas_are_not_evicted_at_once() -> None:
    found = made(graph(service(workers=3)))
    assert one(found, "PodDisruptionBudget", "sample-worker")["spec"]["maxUnavailable"] == 1
    assert not [o for o in made(graph(service(workers=1))).objects if o["kind"] == "PodDisruptionBudget"]


def test_an_autoscaler_owns_the_number_of_replicas() -> None:
    found = made(graph(service(resources=ResourceSpec(cpu=1))), autoscale={"Worker": Autoscale(minimum=1, maximum=4)})
    assert "replicas" not in one(found, "Deployment", "sample-worker")["spec"]
    assert one(found, "HorizontalPodAutoscaler", "sample-worker")["spec"]["maxReplicas"] == 4


def test_stateful_replicas_keep_their_names_numbers_and_volumes() -> None:
    found = made(graph(service(workers=2)), volumes={"Worker": Volume(path="/models", size="10Gi")})

    body = one(found, "StatefulSet", "sample-worker")["spec"]
    assert body["serviceName"] == "sample-worker-peers"
    assert one(found, "Service", "sample-worker-peers")["spec"]["clusterIP"] == "None"
    assert body["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] == "10Gi"
    line = container(found, "sample-worker", "StatefulSet")["command"]
    assert line[:2] == ["sh", "-c"]
    assert line[2].endswith('--worker-id "$((${HOSTNAME##*-} + 1))"')


def test_the_images_own_command_line_can_be_asked_for() -> None:
    found = made(graph(service(kubernetes_overrides={"entrypoint": ["/bin/run"], "cmd": ["a", "b"]})))
    main = container(found, "sample-worker")
    assert (main["command"], main["args"]) == (["/bin/run"], ["a", "b"])


# -- probes


def test_probes_ask_the_system_app_for_as_long_as_a_model_may_load() -> None:
    main = container(made(graph(service(probes=ProbesSpec(startup_timeout=600)))), "sample-worker")

    assert main["startupProbe"]["httpGet"] == {"path": "/readyz", "port": "system", "scheme": "HTTP"}
    assert main["startupProbe"]["failureThreshold"] * main["startupProbe"]["periodSeconds"] == 600
    assert main["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert main["livenessProbe"]["httpGet"]["path"] == "/healthz"


@pytest.mark.parametrize(
    ("kind", "target", "expected"),
    [
        ("http", "/ready?x=1", {"httpGet": {"path": "/ready?x=1", "port": "http", "scheme": "HTTP"}}),
        ("http", "https://127.0.0.1:81/a", {"httpGet": {"path": "/a", "port": 81, "scheme": "HTTPS"}}),
        ("http", "http://db/a", {"httpGet": {"path": "/a", "port": 80, "scheme": "HTTP", "host": "db"}}),
        ("tcp", "9000", {"tcpSocket": {"port": 9000}}),
        ("exec", "test -f /tmp/ok", {"exec": {"command": ["sh", "-c", "test -f /tmp/ok"]}}),
        ("log", "ready", {"httpGet": {"path": "/readyz", "port": "system", "scheme": "HTTP"}}),
    ],
)
def test_each_kind_of_probe(kind: Any, target: str, expected: dict[str, Any]) -> None:
    probes = ProbesSpec(readiness=ProbeSpec(kind=kind, target=target), liveness=None)
    main = container(made(graph(service(http_port=8000, probes=probes))), "sample-worker")

    assert expected.items() <= main["readinessProbe"].items()
    assert "livenessProbe" not in main


# -- notes and refusals


def test_what_has_no_equivalent_is_said_with_what_stands_in_its_place() -> None:
    spec = graph(
        service(
            http_port=0,
            labels={"team": "a/b"},
            restart=RestartSpec(attempts=1),
            probes=ProbesSpec(readiness=ProbeSpec(kind="log", target="up", period=0.5)),
            resources=ResourceSpec(custom={"fpga": "1"}),
        ),
        working_dir="/src",
    )
    found = made(spec)

    assert {n.field for n in found.notes} >= {
        "working_dir",
        "services.Worker.restart",
        "services.Worker.http_port",
        "services.Worker.labels.team",
        "services.Worker.resources.custom.fpga",
        "services.Worker.probes.readiness.kind",
        "services.Worker.probes.readiness.period",
    }
    assert all(n.reason and n.instead for n in found.notes)
    assert one(found, "Deployment", "sample-worker")["spec"]["template"]["metadata"]["annotations"]["team"] == "a/b"


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"replicas": {"Nobody": 2}}, "replicas"),
        ({"stateful": ("Nobody",)}, "stateful"),
        ({"autoscale": {"Worker": Autoscale(minimum=4, maximum=2)}}, "autoscale"),
        ({"autoscale": {"Worker": Autoscale(maximum=2)}}, "autoscale.Worker"),
        ({"ingress": Ingress(host="a.example")}, "ingress"),
        ({"request_plane": "nats"}, "nats"),
    ],
)
def test_options_that_contradict_the_spec_are_refused(said: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        made(graph(service()), **said)
    assert refused.value.field == field


def test_a_service_without_an_image_is_refused() -> None:
    with pytest.raises(Invalid, match="a cluster cannot run a working tree"):
        manifests(graph(service()), KubernetesOptions())
    assert container(manifests(graph(service(image="own:2")), KubernetesOptions()), "sample-worker")["image"] == "own:2"


def test_a_configuration_that_no_variable_holds_is_refused() -> None:
    with pytest.raises(Invalid, match="a variable holds"):
        made(graph(service(), config={"Worker": {"template": "x" * 200_000}}))


def test_names_that_look_alike_stay_apart() -> None:
    found = made(graph(service("FooBar"), service("foo_bar"), service("etcd"), service("x" * 90)))

    names = [(o["kind"], o["metadata"]["name"]) for o in found.objects]
    assert len(names) == len(set(names))
    assert ("Deployment", "sample-etcd") in names, "the bundled one keeps its name"


def test_no_client_is_imported_for_manifests() -> None:
    code = """if True:
        import sys, dynamod.drivers.kubernetes.export
        print([m for m in ("lightkube", "httpx", "sqlalchemy") if m in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
