"""What is exported, read by the tools that people have: Helm (its own code, as a library) and kubectl's Kustomize."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from dynamod.drivers.kubernetes.export import ExportOptions, export
from dynamod.drivers.kubernetes.manifests import manifests
from dynamod.drivers.kubernetes.options import Autoscale, Ingress, KubernetesOptions
from tests.unit.dynamod.drivers.kubernetes.specs import example

pytestmark = pytest.mark.kube
GRAPHS = ("hello_world", "agg_router")
OPTIONS = KubernetesOptions(
    image="registry.example/graph:1", ingress=Ingress(host="graph.example"), env_secrets=("hub",), stateful=()
)


def options_for(graph: str) -> KubernetesOptions:
    if graph == "hello_world":
        return msgspec.structs.replace(OPTIONS, autoscale={"Backend": Autoscale(minimum=1, maximum=3)})
    return msgspec.structs.replace(OPTIONS, stateful=("Worker",))


def written(graph: str, form: Any, directory: Path) -> Path:
    made = export(ExportOptions(spec=example(graph), format=form, kubernetes=options_for(graph)))
    for name, text in made.files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


def by_name(objects: Any) -> dict[tuple[str, str], Any]:
    return {(one["kind"], one["metadata"]["name"]): one for one in objects if one}


@pytest.mark.parametrize("graph", GRAPHS)
def test_helm_renders_the_plain_manifests(graph: str, tmp_path: Path) -> None:
    helm = pytest.importorskip("helm_python", reason="HELM IS NOT TESTED: pip install 'dynamod[helm]'")
    chart = written(graph, "helm", tmp_path / graph)
    found = helm.lint(str(chart), strict=True)
    assert [one for one in found["messages"] if one["severity"] > 1] == []
    rendered = helm.Chart.load(str(chart)).render(name="release", namespace="serving")
    plain = manifests(example(graph), options_for(graph)).objects
    assert by_name(one for text in rendered.values() for one in yaml.safe_load_all(text)) == by_name(plain)


@pytest.mark.parametrize("graph", GRAPHS)
def test_values_of_the_chart_change_what_helm_renders(graph: str, tmp_path: Path) -> None:
    helm = pytest.importorskip("helm_python", reason="HELM IS NOT TESTED: pip install 'dynamod[helm]'")
    chart = written(graph, "helm", tmp_path / graph)
    values = {
        "image": "other:2",
        "services": {"Frontend": {"replicas": 7, "resources": {"limits": {"memory": "1Gi"}}}},
    }
    rendered = helm.Chart.load(str(chart)).render(values, name="release", namespace="serving")
    objects = by_name(one for text in rendered.values() for one in yaml.safe_load_all(text))
    frontend = next(one for (kind, name), one in objects.items() if kind == "Deployment" and "frontend" in name)
    assert frontend["spec"]["replicas"] == 7
    container = frontend["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "other:2"
    assert container["resources"]["limits"] == {"memory": "1Gi"}


@pytest.mark.parametrize("graph", GRAPHS)
def test_kustomize_builds_the_plain_manifests(graph: str, tmp_path: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("KUSTOMIZE IS NOT TESTED: there is no kubectl")
    base = written(graph, "kustomize", tmp_path / graph)
    done = subprocess.run(["kubectl", "kustomize", base], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert by_name(yaml.safe_load_all(done.stdout)) == by_name(manifests(example(graph), options_for(graph)).objects)
