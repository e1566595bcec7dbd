from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynamo.sdk.spec import GraphSpec, ResourceSpec
from dynamod.core.errors import Invalid
from dynamod.drivers.kubernetes.export import Exported, ExportOptions, export
from dynamod.drivers.kubernetes.manifests import manifests
from dynamod.drivers.kubernetes.options import Bundled, KubernetesOptions
from dynamod.drivers.kubernetes.yaml_text import document
from tests.unit.dynamod.drivers.kubernetes.schemas import RELEASES, assert_valid
from tests.unit.dynamod.drivers.kubernetes.specs import GOLDEN, example, graph, graphs, service

OPTIONS = KubernetesOptions(
    image="registry.example/graph:1", namespace="serving", nats=Bundled(image="nats:2.11-alpine")
)


def exported(spec: GraphSpec, form: Any, options: KubernetesOptions = OPTIONS) -> Exported:
    return export(ExportOptions(spec=spec, format=form, kubernetes=options))


def read(files: dict[str, str]) -> list[Any]:
    return [yaml.safe_load(text) for text in files.values()]


@pytest.mark.parametrize("form", ["yaml", "kustomize", "helm", "dgd", "dgd-v1alpha1"])
@pytest.mark.parametrize("name", ["hello_world", "agg_router"])
def test_the_same_graph_gives_the_same_bytes(name: str, form: str) -> None:
    """`python -m tests.unit.dynamod.drivers.kubernetes.golden` writes them anew."""
    files = exported(example(name), form).files
    text = "".join(f"# {path}\n{body}" for path, body in files.items())
    assert text == (GOLDEN / f"{name}.{form}.txt").read_text()


def test_plain_files_hold_the_manifests() -> None:
    assert read(exported(example("agg_router"), "yaml").files) == list(
        manifests(example("agg_router"), OPTIONS).objects
    )


def test_a_kustomize_base_names_all_its_files() -> None:
    files = exported(example("hello_world"), "kustomize").files
    kustomization = yaml.safe_load(files["kustomization.yaml"])
    assert set(kustomization["resources"]) == set(files) - {"kustomization.yaml"}
    assert kustomization["namespace"] == "serving"


# -- Helm


def rendered(files: dict[str, str], values: dict[str, Any]) -> list[Any]:
    """What Helm makes of the few expressions that our charts have."""

    def value(found: re.Match[str]) -> str:
        expression = found[1].strip()
        if expression == '"{{"':
            return "{{"
        words = re.fullmatch(r'index \.Values\.services "([^"]+)" "(\w+)"(.*)', expression)
        assert words is not None, expression
        given = values["services"][words[1]][words[2]]
        if words[3] == " | default .Values.image | quote":
            return msgspec.json.encode(given or values["image"]).decode()
        return msgspec.json.encode(given).decode()

    templates = {name: text for name, text in files.items() if name.startswith("templates/")}
    return [yaml.safe_load(re.sub(r"\{\{(.*?)\}\}", value, text)) for text in templates.values()]


@pytest.mark.parametrize("name", ["hello_world", "agg_router"])
def test_a_chart_renders_to_the_manifests(name: str) -> None:
    files = exported(example(name), "helm").files
    options = msgspec.structs.replace(OPTIONS, namespace=None)
    assert rendered(files, yaml.safe_load(files["values.yaml"])) == list(manifests(example(name), options).objects)


def test_a_charts_values_change_image_replicas_and_resources() -> None:
    files = exported(graph(service()), "helm").files
    values = yaml.safe_load(files["values.yaml"])
    values["services"]["Worker"] |= {
        "image": "other:2",
        "replicas": 7,
        "resources": {"limits": {"nvidia.com/gpu": "4"}},
    }

    deployment = next(o for o in rendered(files, values) if o["metadata"]["name"] == "sample-worker")
    main = deployment["spec"]["template"]["spec"]["containers"][0]
    assert deployment["spec"]["replicas"] == 7
    assert (main["image"], main["resources"]) == ("other:2", {"limits": {"nvidia.com/gpu": "4"}})


def test_braces_of_the_graphs_own_are_kept_from_helm() -> None:
    spec = graph(service(envs={"GREETING": "{{ name }} {{{x}}}"}), config={"Worker": {"template": "{{ messages }}"}})
    files = exported(spec, "helm").files

    found = rendered(files, yaml.safe_load(files["values.yaml"]))
    assert found == list(manifests(spec, msgspec.structs.replace(OPTIONS, namespace=None)).objects)


# -- NVIDIA's resource


def test_the_resource_has_a_component_for_each_service() -> None:
    spec = graph(
        service("Frontend", http_port=8000),
        service("Prefill", component_type="prefill", workers=2, resources=ResourceSpec(gpu=1)),
        config={"Frontend": {}},
    )
    config, resource = read(exported(spec, "dgd").files)

    assert config["kind"] == "ConfigMap"
    assert resource["apiVersion"] == "nvidia.com/v1beta1"
    components = resource["spec"]["components"]
    assert [(c["name"], c["type"], c["replicas"]) for c in components] == [
        ("frontend", "frontend", 1),
        ("prefill", "prefill", 2),
    ]
    main = components[1]["podTemplate"]["spec"]["containers"][0]
    assert (main["name"], main["image"]) == ("main", "registry.example/graph:1")
    assert main["resources"]["limits"] == {"nvidia.com/gpu": "1"}
    names = {e["name"] for e in main["env"]}
    assert "DYN_DISCOVERY" not in names, "the operator says where its etcd is"


def test_the_older_version_counts_gpus_beside_the_pod() -> None:
    spec = graph(service(resources=ResourceSpec(gpu=2, memory=1 << 30)))
    options = KubernetesOptions(image="graph:1", etcd="etcd://e:2379", env_secrets=("hub", "more"))
    made = exported(spec, "dgd-v1alpha1", options)
    said = read(made.files)[1]["spec"]["services"]["Worker"]

    assert said["resources"]["limits"] == {"gpu": "2", "memory": str(1 << 30)}
    assert said["envFromSecret"] == "hub"
    assert said["extraPodSpec"]["mainContainer"]["image"] == "graph:1"
    assert {"name": "DYN_DISCOVERY", "value": "etcd://e:2379"} in said["envs"]
    assert [n for n in made.notes if n.field == "env_secrets"]


def test_more_components_than_the_resource_holds_are_refused() -> None:
    with pytest.raises(Invalid, match="25 components at most"):
        exported(graph(*(service(f"S{n}") for n in range(26))), "dgd")


# -- the text itself


@given(spec=graphs(), form=st.sampled_from(["yaml", "kustomize", "dgd", "dgd-v1alpha1"]))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_form_reads_back(spec: GraphSpec, form: str) -> None:
    found = read(exported(spec, form).files)
    assert_valid([o for o in found if "nvidia" not in o["apiVersion"] and o["kind"] != "Kustomization"], RELEASES[-1])


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_text_stays_text(value: dict[str, str]) -> None:
    assert yaml.safe_load(document(value)) == value


@pytest.mark.parametrize("text", ["1e3", "0o7", "y", "No", "1_000", ".5", "+1", "null", "~", "0x1F", "12:30:45"])
def test_text_that_readers_differ_about_is_quoted(text: str) -> None:
    assert document({"a": text}) == f"a: '{text}'\n"


# -- the program


def test_the_program_prints_files_and_notes_as_json(tmp_path: Path) -> None:
    file = tmp_path / "options.json"
    file.write_bytes(msgspec.json.encode(ExportOptions(spec=example("hello_world"), kubernetes=OPTIONS)))
    done = _program(file)
    assert done.returncode == 0
    assert msgspec.json.decode(done.stdout, type=Exported).files == exported(example("hello_world"), "yaml").files


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (b"{}", "spec"),
        (b"nonsense", "malformed"),
        (msgspec.json.encode(ExportOptions(spec=graph(service()))), "no image"),
        (msgspec.json.encode({"spec": graph(service()), "kubernetes": {"ingress": {"host": "A b"}}}), "ingress.host"),
    ],
)
def test_the_program_refuses_in_one_line(tmp_path: Path, options: bytes, said: str) -> None:
    file = tmp_path / "options.json"
    file.write_bytes(options)
    done = _program(file)
    assert done.returncode == 2
    assert said in msgspec.json.decode(done.stdout)["error"]
    assert done.stderr == b""


def _program(file: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "dynamod.drivers.kubernetes.export", "--options", str(file)],
        capture_output=True,
        check=False,
        timeout=60,
    )
