from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from dynamo_tui.cli.app import SECTIONS, application
from dynamo_tui.cli.exits import ExitCode
from tests.unit.dynamo_tui.cli.conftest import Dynamoctl
from tests.unit.dynamo_tui.standin import StandIn

HEAVY = ("textual", "fastapi", "sqlalchemy", "httpx", "rich", "pydantic", "numpy", "asyncio", "alembic", "uvicorn")

NAMES = [name for section in SECTIONS.values() for name in section]


@pytest.mark.parametrize("name", NAMES)
def test_every_command_loads_under_its_name_and_explains_itself(name: str) -> None:
    context = click.Context(application)
    command = application.get_command(context, name)
    assert command is not None
    assert command.name == name
    assert command.help


def test_help_lists_every_command_and_imports_none(dynamoctl: Dynamoctl) -> None:
    outcome = dynamoctl("--help")
    assert outcome.code == 0
    assert all(f"  {name} " in outcome.stdout for name in NAMES)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("sumbit",), "error: there is no command 'sumbit'; did you mean 'submit'?"),
        (("ps", "--nope"), "error: No such option '--nope'; see `dynamoctl ps --help`"),
        (("logs",), "error: Missing argument 'GRAPH'; see `dynamoctl logs --help`"),
        (("submit", "m:C", "--S.k"), "error: --S.k needs a value: --S.k=VALUE"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(dynamoctl: Dynamoctl, arguments: tuple[str, ...], line: str) -> None:
    outcome = dynamoctl(*arguments)
    assert outcome.code == 2
    assert outcome.stdout == ""
    assert outcome.stderr.startswith(line)
    assert outcome.stderr.count("\n") == 1


def test_no_daemon_is_one_line_with_the_remedy(dynamoctl: Dynamoctl) -> None:
    outcome = dynamoctl("ps")
    assert outcome.code == 5
    assert outcome.stdout == ""
    assert outcome.stderr.count("\n") == 1
    assert outcome.stderr.endswith("start it: `dynamoctl daemon start`\n")


def test_ps_imports_nothing_heavy(local: StandIn) -> None:
    """Start-up is what people feel: a one-shot command pays for no web framework, database or dashboard."""
    local.answer("GET /v1/replicas", {"items": []})
    code = (
        "import sys\nfrom dynamo_tui.cli.__main__ import run\ncode = run(['ps'])\n"
        f"print(code, sorted(m for m in {HEAVY!r} if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, env=dict(os.environ)
    )
    assert done.stdout == "0 []\n", done.stderr


def test_a_reader_that_leaves_is_no_error(local: StandIn, home: Path) -> None:
    local.answer("GET /v1/replicas", {"items": []})
    command = f"{sys.executable} -m dynamo_tui.cli ps --json | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert done.stderr == ""


def test_a_daemon_of_another_api_version_is_told_in_one_line(dynamoctl: Dynamoctl, local: StandIn) -> None:
    local.version = "99"
    done = dynamoctl("ps")
    assert (done.code, done.stdout) == (ExitCode.ERROR, "")
    (line, *rest) = done.stderr.splitlines()
    assert "API version 1" in line
    assert "version 99" in line
    assert "upgrade the older side" in "\n".join([line, *rest])
