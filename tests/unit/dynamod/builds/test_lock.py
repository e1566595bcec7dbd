"""What a build asks to be locked, and how a lock file reads."""

from __future__ import annotations

import re
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from dynamod.builds import lock, own_wheel
from dynamod.builds.errors import BadSources


def test_requirements_come_from_the_project_and_from_this_package(tmp_path: Path) -> None:
    bare = lock.wanted(tmp_path).splitlines()
    assert any(line.startswith("msgspec") for line in bare)
    assert not any(line.startswith(("dynamod", "aiohttp")) for line in bare)
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["numpy<3", "dynamod[etcd]"]\n')
    wanted = lock.wanted(tmp_path).splitlines()
    assert wanted[0] == "numpy<3"
    assert any(line.startswith("aiohttp") for line in wanted)
    (tmp_path / "requirements.txt").write_text("ai-dynamo[all]==0.3.2\nrequests  # why\n\n")
    wanted = lock.wanted(tmp_path).splitlines()
    assert wanted[0] == "requests  # why"
    assert not any("ai-dynamo" in line for line in wanted)


def test_a_replica_does_not_pay_for_the_control_plane(tmp_path: Path) -> None:
    def names(*, llm: bool) -> set[str]:
        return {line.split(">")[0].lower() for line in lock.wanted(tmp_path, llm=llm).splitlines()}

    assert {"msgspec", "pydantic", "fastapi"} <= names(llm=False) < names(llm=True)
    assert names(llm=True) - names(llm=False) == own_wheel.LLM
    assert not names(llm=True) & own_wheel.CONTROL_PLANE
    sdk = Path(own_wheel.__file__).parents[2] / "sdk" / "dynamo"
    imports = {
        found.lower()
        for path in sdk.rglob("*.py")
        for found in re.findall(r"^\s*(?:import|from) (\w+)", path.read_text(), re.MULTILINE)
    }
    assert not imports & own_wheel.CONTROL_PLANE
    lean = {
        found.lower()
        for path in sdk.rglob("*.py")
        if "llm" not in path.relative_to(sdk).parts
        for found in re.findall(r"^\s*(?:import|from) (\w+)", path.read_text(), re.MULTILINE)
    }
    assert not lean & own_wheel.LLM


def test_an_unreadable_project_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project")
    with pytest.raises(BadSources, match="cannot read the requirements"):
        lock.wanted(tmp_path)


def test_a_lock_file_is_read_as_packages() -> None:
    text = (
        "B_pkg[x]==2.0 ; python_version < '4' \\\n"
        f"    --hash=sha256:{'b' * 64} \\\n"
        f"    --hash=sha256:{'a' * 64}\n"
        "# note\n"
        "a==1 --hash=sha256:" + "c" * 64 + "\n"
    )
    first, second = lock.parse(text)
    assert (first.name, first.version, first.hashes) == ("a", "1", ["sha256:" + "c" * 64])
    assert (second.name, second.version) == ("b_pkg", "2.0")
    assert second.hashes == ["sha256:" + "a" * 64, "sha256:" + "b" * 64]


def test_this_package_packs_itself_reproducibly_and_whole() -> None:
    packed = own_wheel.wheel()
    assert packed == own_wheel.wheel()
    with zipfile.ZipFile(BytesIO(packed)) as wheel:
        names = set(wheel.namelist())
    assert {"dynamo/sdk/__init__.py", "dynamod/__main__.py", "dynamo_tui/cli/__main__.py"} <= names
    assert any(name.startswith("dynamod/migrations/versions/") for name in names)
    assert any(name.endswith(".dist-info/RECORD") for name in names)
    assert not any("__pycache__" in name for name in names)
