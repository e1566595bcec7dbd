"""Which files go into a build: git's rules, the project's own, and nothing from outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynamod.builds import sources
from dynamod.builds.errors import BadSources
from dynamod.builds.sources import SourceRules


def project(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def names(root: Path, rules: SourceRules | None = None) -> list[str]:
    return [one.path for one in sources.select(root, rules or SourceRules())]


def test_the_documented_kinds_are_taken_at_every_depth(tmp_path: Path) -> None:
    taken = ["a.py", "conf/a.yaml", "conf/b.yml", "deep/er/a.json", "a.toml", "README.md", "run.sh", "notes.txt"]
    left = ["weights.bin", "a.ipynb", ".git/config.py", ".venv/lib/x.py", "pkg/__pycache__/a.py", "node_modules/a.json"]
    assert names(project(tmp_path, dict.fromkeys([*taken, *left], ""))) == sorted(taken)


def test_ignore_files_hold_as_in_git(tmp_path: Path) -> None:
    root = project(
        tmp_path,
        {
            ".gitignore": "secret*.py\n/only_top.py\nlogs/\n*.tmp.py\n!keep.tmp.py\n",
            ".dockerignore": "docs\n",
            "secret_a.py": "",
            "pkg/secret_b.py": "",
            "only_top.py": "",
            "pkg/only_top.py": "",
            "logs/a.py": "",
            "a.tmp.py": "",
            "keep.tmp.py": "",
            "docs/a.md": "",
            "pkg/.gitignore": "!secret_b.py\nlocal.py\n",
            "pkg/local.py": "",
            "local.py": "",
        },
    )
    assert names(root) == ["keep.tmp.py", "local.py", "pkg/only_top.py", "pkg/secret_b.py"]


def test_a_project_adds_and_takes_away(tmp_path: Path) -> None:
    text = '[tool.dynamo.build]\ninclude = ["prompts/**/*.jinja"]\nexclude = ["scratch/"]\n'
    root = project(
        tmp_path, {"pyproject.toml": text, "prompts/de/a.jinja": "", "a.jinja": "", "scratch/a.py": "", "a.py": ""}
    )
    assert names(root, sources.read_rules(root)) == ["a.py", "prompts/de/a.jinja", "pyproject.toml"]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("[tool.dynamo.build]\ninclde = []\n", "tool.dynamo.build.inclde"),
        ("[tool.dynamo.build]\ninclude = 'x'\n", "tool.dynamo.build.include"),
        ("[tool", "pyproject.toml"),
    ],
)
def test_wrong_settings_name_their_key(tmp_path: Path, text: str, field: str) -> None:
    project(tmp_path, {"pyproject.toml": text})
    with pytest.raises(BadSources) as caught:
        sources.read_rules(tmp_path)
    assert caught.value.field == field


def test_a_link_out_of_the_project_is_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside.py"
    outside.write_text("x")
    root = project(tmp_path / "project", {"a.py": "1"})
    (root / "inside.py").symlink_to(root / "a.py")
    assert names(root) == ["a.py", "inside.py"]
    (root / "b.py").symlink_to(outside)
    with pytest.raises(BadSources, match=r"b\.py is a link to .*outside\.py, outside of the project"):
        names(root)


def test_an_empty_project_and_a_huge_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSources, match="no file in"):
        names(tmp_path)
    with (tmp_path / "weights.json").open("wb") as file:
        file.truncate(sources.MAX_FILE_BYTES + 1)
    with pytest.raises(BadSources, match=r"weights\.json has 256 MiB"):
        names(tmp_path)
