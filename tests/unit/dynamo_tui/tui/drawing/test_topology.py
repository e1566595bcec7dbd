from __future__ import annotations

from dynamo_tui.tui.drawing.topology import tree


def test_tree_shows_each_service_once_below_its_first_caller() -> None:
    edges = {"F": ["P"], "P": ["R", "W"], "R": ["W"], "W": []}
    lines = [(b.prefix + b.service, b.again) for b in tree(edges, "F")]
    assert lines == [("F", False), ("└─ P", False), ("   ├─ R", False), ("   │  └─ W", False), ("   └─ W", True)]


def test_services_out_of_reach_are_roots() -> None:
    assert [b.prefix + b.service for b in tree({"A": [], "B": ["C"], "C": []}, "A")] == ["A", "B", "└─ C"]


def test_cycles_and_unknown_targets_end() -> None:
    assert [b.service for b in tree({"A": ["B"], "B": ["A", "gone"]}, "A")] == ["A", "B", "A"]
