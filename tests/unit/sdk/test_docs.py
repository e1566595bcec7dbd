"""The guides' snippets are true: Python runs, configurations fit, error lines are those that users see."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[3] / "docs"
GRAPH = """
from dynamo.sdk import api, depends, service

@service
class Worker:
    def __init__(self, model: str, block_size: int): ...

@service
class Web:
    worker = depends(Worker)

    @api
    async def ask(self): ...
"""


def blocks(page: str, language: str) -> list[str]:
    fences = re.finditer(r"^```(\w*)\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    return [fence[2] for fence in fences if fence[1] == language]


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], cwd=cwd, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("page", ["sdk.md", "configuration.md"])
def test_python_runs(page: str, tmp_path: Path) -> None:
    snippets = blocks(page, "python")
    assert snippets
    for index, snippet in enumerate(snippets):
        (tmp_path / f"snippet_{index}.py").write_text(snippet)
    # One process for all: each is a module of its own, and none may disturb the others.
    names = ", ".join(f"snippet_{index}" for index in range(len(snippets)))
    result = run("-c", f"import {names}", cwd=tmp_path)
    assert result.returncode == 0, result.stderr


def test_the_first_graph_is_one(tmp_path: Path) -> None:
    (tmp_path / "shout.py").write_text(blocks("sdk.md", "python")[0])
    result = run("-m", "dynamo.sdk.inspect", "shout:Web", cwd=tmp_path)
    assert result.returncode == 0, result.stderr


def test_the_configuration_fits_and_its_mistakes_read_as_the_page_says(tmp_path: Path) -> None:
    (tmp_path / "graph.py").write_text(GRAPH)
    (tmp_path / "config.yaml").write_text(blocks("configuration.md", "yaml")[0])
    fits = ["graph:Web", "-f", "config.yaml"]
    for override in re.findall(r"^\| `(--Worker[^`]*)` \|", (DOCS / "configuration.md").read_text(), re.MULTILINE):
        fits += override.replace("'", "").split(" ", 1) if "=" not in override else [override.replace("'", "")]
    result = run("-m", "dynamo.sdk.inspect", *fits, cwd=tmp_path)
    assert result.returncode == 0, result.stderr

    text = (tmp_path / "config.yaml").read_text()
    lines = blocks("configuration.md", "")[0].splitlines()
    (tmp_path / "wroker").mkdir()
    (tmp_path / "wroker" / "config.yaml").write_text(text.replace("Worker:", "Wroker:"))
    (tmp_path / "wokers").mkdir()
    (tmp_path / "wokers" / "config.yaml").write_text(text.replace("workers:", "wokers:"))
    for line, arguments in (
        (lines[0], ["-f", "wroker/config.yaml"]),
        (lines[1], ["-f", "wokers/config.yaml"]),
        (lines[2], ["--Worker.max-batch"]),
    ):
        result = run("-m", "dynamo.sdk.inspect", "graph:Web", *arguments, cwd=tmp_path)
        assert result.returncode == 2
        assert result.stderr.endswith(f"{line}\n"), result.stderr
    result = run("-m", "dynamo.sdk.replica", "graph:Web", "--service-name", "Worker", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.endswith(f"{lines[3]}\n"), result.stderr
