from __future__ import annotations

from pathlib import Path

import pytest

from dynamo.sdk.errors import TargetError
from dynamo.sdk.lib.loader import find_and_load_service
from dynamo.sdk.loader import load
from tests.unit.sdk.conftest import GraphModule

PIPELINE = """
    from dynamo.sdk import depends, service

    @service
    class Backend: ...

    @service
    class Front:
        backend = depends(Backend)
"""


def test_module_and_attribute(graph_module: GraphModule, tmp_path: Path) -> None:
    name = graph_module(PIPELINE)
    loaded = load(f"{name}:Backend", tmp_path)
    assert (loaded.service.name, loaded.target) == ("Backend", f"{name}:Backend")
    assert find_and_load_service(f"{name}:Front", str(tmp_path)).name == "Front"


def test_module_alone_is_its_one_root_service(graph_module: GraphModule, tmp_path: Path) -> None:
    name = graph_module(PIPELINE)
    loaded = load(name, tmp_path)
    assert (loaded.service.name, loaded.target) == ("Front", f"{name}:Front")


def test_a_dependency_of_a_service(graph_module: GraphModule, tmp_path: Path) -> None:
    name = graph_module(PIPELINE)
    loaded = load(f"{name}:Front.backend", tmp_path)
    assert (loaded.service.name, loaded.target) == ("Backend", f"{name}:Front.backend")


def test_a_file_relative_absolute_and_below_the_working_directory(graph_module: GraphModule, tmp_path: Path) -> None:
    name = graph_module(PIPELINE)
    assert load(f"{name}.py:Front", tmp_path).target == f"{name}:Front"
    assert load(str(tmp_path / f"{name}.py"), tmp_path).target == f"{name}:Front"
    (tmp_path / "graph_pkg").mkdir()
    (tmp_path / "graph_pkg" / "agg.py").write_text((tmp_path / f"{name}.py").read_text())
    assert load("graph_pkg/agg.py:Front", tmp_path).target == "graph_pkg.agg:Front"
    assert load("graph_pkg.agg:Front", tmp_path).service.name == "Front"


def test_a_file_outside_the_working_directory_keeps_its_path(graph_module: GraphModule, tmp_path: Path) -> None:
    name = graph_module(PIPELINE)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert load(f"{tmp_path}/{name}.py:Front", elsewhere).target == f"{tmp_path}/{name}.py:Front"


@pytest.mark.parametrize(
    ("suffix", "message"),
    [
        (":Frnt", "there is no 'Frnt'; did you mean 'Front'"),
        (":Front.bakend", "service 'Front' has no dependency 'bakend'; did you mean 'backend'"),
        (":depends", "depends is not a service; decorate it with @service"),
    ],
)
def test_an_attribute_that_leads_nowhere(graph_module: GraphModule, tmp_path: Path, suffix: str, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        load(graph_module(PIPELINE) + suffix, tmp_path)


def test_modules_that_cannot_be_used(graph_module: GraphModule, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="no_such: there is no module 'no_such'"):
        load("no_such", tmp_path)
    with pytest.raises(TargetError, match=r"none\.py: there is no such file"):
        load("none.py:A", tmp_path)
    with pytest.raises(TargetError, match="is not a target"):
        load(":A", tmp_path)
    with pytest.raises(TargetError, match=r"the working directory .* does not exist"):
        load("m:A", tmp_path / "nowhere")
    with pytest.raises(TargetError, match="there is no service in this module"):
        load(graph_module("x = 1"), tmp_path)
    two = graph_module("from dynamo.sdk import service\n@service\nclass A: ...\n@service\nclass B: ...\n")
    with pytest.raises(TargetError, match=f"several services that nothing depends on; name one of {two}:A, {two}:B"):
        load(two, tmp_path)


def test_an_import_that_fails_names_the_line(graph_module: GraphModule, tmp_path: Path) -> None:
    for source, message in (
        ("x = 1\nimport no_such_package\n", r":2: No module named 'no_such_package'"),
        ("x = 1\n\nraise RuntimeError('boom')\n", r":3: RuntimeError: boom"),
        ("x = (\n", r":1: SyntaxError"),
    ):
        name = graph_module(source)
        with pytest.raises(TargetError, match=rf"{name}: {name}\.py{message}"):
            load(name, tmp_path)
