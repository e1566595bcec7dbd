from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.unit.dynamo_tui.cli.conftest import Dynamoctl
from tests.unit.dynamod.drivers.kubernetes.specs import GOLDEN

SPEC = str(GOLDEN / "hello_world.json")
EXAMPLE = Path(__file__).parents[5] / "examples" / "hello_world"


def test_a_spec_in_a_file_is_exported_with_its_notes(dynamoctl: Dynamoctl) -> None:
    done = dynamoctl("export", SPEC, "--image", "graph:1", "--namespace", "serving", "--replicas", "Backend=3")

    assert done.code == 0
    objects = list(yaml.safe_load_all(done.stdout))
    backend = next(o for o in objects if o["kind"] == "Deployment" and o["metadata"]["name"] == "hello-world-backend")
    assert backend["spec"]["replicas"] == 3
    assert backend["metadata"]["namespace"] == "serving"
    assert "note: services: Kubernetes starts everything at once" in done.stderr


def test_a_graphs_code_is_inspected_first(dynamoctl: Dynamoctl) -> None:
    done = dynamoctl(
        *["export", "hello_world:Frontend", "--working-dir", str(EXAMPLE), "--image", "graph:1"],
        *["--name", "mine", "--env", "A=b", "--Backend.ServiceArgs.workers=2"],
    )

    assert done.code == 0, done.stderr
    found = {(o["kind"], o["metadata"]["name"]): o for o in yaml.safe_load_all(done.stdout)}
    backend = found["Deployment", "mine-backend"]["spec"]
    assert backend["replicas"] == 2
    assert {"name": "A", "value": "b"} in backend["template"]["spec"]["containers"][0]["env"]


def test_options_come_from_a_file_and_the_command_line_wins(dynamoctl: Dynamoctl, tmp_path: Path) -> None:
    options = tmp_path / "options.yaml"
    options.write_text("image: file:1\nnamespace: file\nvolumes: {Backend: {path: /models, size: 1Gi}}\n")
    done = dynamoctl("export", SPEC, "--options", str(options), "--namespace", "line", "--etcd", "etcd://e:2379")

    objects = list(yaml.safe_load_all(done.stdout))
    assert {o["metadata"]["namespace"] for o in objects} == {"line"}
    backend = next(o for o in objects if o["kind"] == "StatefulSet")
    assert backend["spec"]["template"]["spec"]["containers"][0]["image"] == "file:1"
    assert not [o for o in objects if o["metadata"]["name"] == "hello-world-etcd"]


@pytest.mark.parametrize(
    ("form", "expected"),
    [("kustomize", "kustomization.yaml"), ("helm", "Chart.yaml"), ("dgd", "dynamographdeployment-hello-world.yaml")],
)
def test_a_directory_is_written(dynamoctl: Dynamoctl, tmp_path: Path, form: str, expected: str) -> None:
    target = tmp_path / "out"
    done = dynamoctl("export", SPEC, "--image", "graph:1", "--format", form, "-o", str(target))

    assert done.code == 0, done.stderr
    assert (target / expected).is_file()
    assert done.stdout == ""


def test_a_directory_with_something_in_it_is_left_alone_unless_forced(dynamoctl: Dynamoctl, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("mine")
    line = ("export", SPEC, "--image", "graph:1", "-o", str(tmp_path))

    refused = dynamoctl(*line)
    assert refused.code == 2
    assert "is not empty; choose another directory, or --force" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]

    forced = dynamoctl(*line, "--force")
    assert forced.code == 0
    assert "mine.yaml was there before" in forced.stderr
    assert (tmp_path / "mine.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((SPEC,), "error: image: service 'Frontend' has no image"),
        ((SPEC, "--image", "a:1", "--format", "helm"), "is a directory of files"),
        ((SPEC, "--image", "a:1", "--autoscale", "Backend=3"), "write it as SERVICE=MIN:MAX"),
        ((SPEC, "--image", "a:1", "--replicas", "Backend=x"), "write it as SERVICE=NUMBER"),
        ((SPEC, "--image", "a:1", "--stateful", "Nobody"), "error: stateful: graph 'hello-world' has no service"),
        ((SPEC, "--image", "a:1", "--tls-secret", "cert"), "need --ingress HOST"),
        ((SPEC, "--image", "a:1", "--ingress", "Not A Host"), "kubernetes.ingress"),
        (("/nowhere/spec.json",), "cannot read /nowhere/spec.json"),
    ],
)
def test_what_cannot_be_is_one_line(dynamoctl: Dynamoctl, arguments: tuple[str, ...], said: str) -> None:
    done = dynamoctl("export", *arguments)
    assert done.code == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
