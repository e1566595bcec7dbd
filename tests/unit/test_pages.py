"""The guides lead somewhere: links, named tests and the index."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_to_pages_and_headings(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, heading = target.partition("#")
        place = (page.parent / path) if path else page
        assert place.exists(), f"{target} leads nowhere"
        if heading:
            assert heading in anchors(place), f"{target}: there is no such heading"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_named_tests_exist(page: Path) -> None:
    for name in re.findall(r"`(tests/[\w/.-]+)`", page.read_text()):
        assert (ROOT / name).exists(), name
    for path, function in re.findall(r"`(tests/[\w/.-]+\.py)::(\w+)`", page.read_text()):
        assert re.search(rf"def {function}\(", source(path)), f"{path} has no {function}"


def test_the_index_names_every_page() -> None:
    index = (DOCS / "README.md").read_text()
    missing = [
        name
        for page in DOCS.rglob("*.md")
        if (name := str(page.relative_to(DOCS))) != "README.md" and f"({name}" not in index
    ]
    assert missing == []


@cache
def source(path: str) -> str:
    return (ROOT / path).read_text()


@cache
def anchors(page: Path) -> set[str]:
    """As GitHub makes them: lower case, words joined by '-', other marks dropped."""
    found = set()
    for title in re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", title.lower())
        found.add(plain.replace(" ", "-"))
    return found
