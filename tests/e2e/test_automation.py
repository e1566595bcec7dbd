"""The recipes of docs/automation.md, run as they stand: commands, curl, and the Python client."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.commands import EXAMPLES, ROOT, Home

PAGE = ROOT / "docs" / "automation.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.timeout(400)
@pytest.mark.xdist_group("e2e-hello")
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_recipes_work_in_order(home: Home) -> None:
    scripts, http = blocks("bash")
    [python] = blocks("python")
    place = home.path / "hello"
    shutil.copytree(EXAMPLES / "hello_world", place)

    def shell(script: str) -> str:
        path = f"{Path(sys.executable).parent}:{home.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=place, env=home.environ | {"PATH": path}, capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stdout}{done.stderr}{home.log()}"
        return done.stdout

    output = shell(scripts)
    assert re.search(r"'Backend': \d+", output)
    assert "nothing would change" in output
    output = shell(http)
    assert output.startswith("200\n"), "the same spec again"
    assert '"next":' in output
    assert "event: event" in output
    assert "there is no graph 'nope'" in output
    home.run("wait", "hello-world", "--timeout", "150s")
    output = shell(f"python - <<'END'\n{python}\nEND")
    assert output.startswith("ready http://")
    assert "probe_succeeded" in output
