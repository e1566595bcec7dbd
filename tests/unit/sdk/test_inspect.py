from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from dynamo.sdk.spec import GraphSpec, decode, json_schema
from tests.unit.sdk.conftest import GraphModule

MODULE = """
    from dynamo.sdk import endpoint, service
    print("noise on stdout at import")

    @service
    class Only:
        @endpoint()
        async def ask(self, q: str): ...
"""


def run(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dynamo.sdk.inspect", *arguments],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


def spec_of(*arguments: str, cwd: Path, **env: str) -> GraphSpec:
    result = run(*arguments, cwd=cwd, **env)
    assert result.returncode == 0, result.stderr
    return decode(result.stdout)


def test_prints_a_spec_and_nothing_else_on_stdout(graph_module: GraphModule, tmp_path: Path) -> None:
    name = graph_module(MODULE)
    (tmp_path / "c.yaml").write_text("Only: {k: 1, a: {b: 1}, ServiceArgs: {workers: 2}}\n")
    spec = spec_of(
        f"{name}:Only", "-f", "c.yaml", "--name", "g", "--Only.a.c", "2", "--Only.ServiceArgs.workers=3", cwd=tmp_path
    )
    only = spec.service("Only")
    assert (spec.name, only.workers, only.config) == ("g", 3, {"k": 1, "a": {"b": 1, "c": 2}})
    assert (spec.interpreter, spec.working_dir) == (sys.executable, str(tmp_path))


def test_environment_stands_between_file_and_command_line(graph_module: GraphModule, tmp_path: Path) -> None:
    name = graph_module(MODULE)
    (tmp_path / "c.yaml").write_text("Only: {a: file, b: file, c: file}\n")
    spec = spec_of(
        name,
        "-f",
        "c.yaml",
        "--Only.c=line",
        cwd=tmp_path,
        DYN_DEPLOYMENT_CONFIG="Only: {b: env, c: env}",
    )
    assert spec.config["Only"] == {"a": "file", "b": "env", "c": "line"}


def test_working_dir_port_and_host(graph_module: GraphModule, tmp_path: Path) -> None:
    name = graph_module(MODULE.replace("@endpoint()", "@endpoint(is_api=True)"))
    away = tmp_path / "away"
    away.mkdir()
    only = spec_of(name, "--working-dir", "..", "-p", "0", "--host", "127.0.0.1", cwd=away).service("Only")
    assert (only.http_port, only.http_host) == (0, "127.0.0.1")
    only = spec_of(name, cwd=tmp_path, DYNAMO_PORT="8123", DYNAMO_HOST="::1").service("Only")
    assert (only.http_port, only.http_host) == (8123, "::1")
    assert spec_of(name, cwd=tmp_path).service("Only").http_port == 8000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere:A"], "error: nowhere:A: there is no module 'nowhere'"),
        (["{name}:Onyl"], "error: {name}: there is no 'Onyl'; did you mean 'Only'?"),
        (["{name}", "--Only.k"], "error: command line: '--Only.k' has no value"),
        (["{name}", "--Onyl.k=1"], "error: command line: Onyl: there is no service of that name; did you mean 'Only'?"),
        (["{name}", "-f", "none.yaml"], "error: none.yaml: cannot be read"),
        (["{name}", "--service-name", "Onyl"], "there is no service 'Onyl' in this graph; did you mean 'Only'?"),
        (["{name}", "--port", "70000"], "--port must be from 0 to 65535"),
        ([], "the target is missing"),
    ],
)
def test_a_user_error_is_one_line_and_exit_code_2(
    graph_module: GraphModule, tmp_path: Path, arguments: list[str], message: str
) -> None:
    name = graph_module(MODULE)
    result = run(*(a.format(name=name) for a in arguments), cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert message.format(name=name) in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_schema(tmp_path: Path) -> None:
    assert json.loads(run("--schema", cwd=tmp_path).stdout) == json.loads(msgspec.json.encode(json_schema()))


def test_stays_light_for_a_module_that_is(graph_module: GraphModule, tmp_path: Path) -> None:
    """`serve` waits for this command: what the graph itself does not import must not be paid for."""
    name = graph_module(MODULE)
    code = (
        f"import sys; from dynamo.sdk.inspect import main; code = main(['{name}'])\n"
        "heavy = {'fastapi', 'uvicorn', 'starlette', 'yaml', 'pydantic', 'asyncio'} & set(sys.modules)\n"
        "print(sorted(heavy), file=sys.stderr); sys.exit(code)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert result.stderr.splitlines()[-1] == "[]"


def test_the_spec_module_comes_without_the_rest_of_the_sdk() -> None:
    code = "import sys, dynamo.sdk.spec; print([m for m in sys.modules if m.startswith('dynamo.')])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.strip() == "['dynamo.sdk', 'dynamo.sdk.spec']"
