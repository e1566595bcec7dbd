"""No program of ours is started through a shell: whatever a user wrote stays one argument."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
THROUGH_A_SHELL = {"create_subprocess_shell", "subprocess_shell", "system", "popen", "getoutput", "getstatusoutput"}


def test_nothing_is_started_through_a_shell() -> None:
    found = []
    for package in ("dynamod", "dynamo_tui", "sdk"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and uses_shell(node):
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []


def uses_shell(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    on_os = isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name)
    if name == "system" and on_os and call.func.value.id != "os":  # platform.system() starts nothing
        return False
    return name in THROUGH_A_SHELL or any(word.arg == "shell" for word in call.keywords)
