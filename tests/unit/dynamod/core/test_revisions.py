from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from dynamo.sdk.spec import GraphSpec, RestartSpec, ServiceSpec
from dynamod.core.records import RevisionRecord
from dynamod.core.revisions import changes, submitted_digest, template_digest

SPEC = GraphSpec(
    name="demo",
    target="m:Front",
    entry="Front",
    services=(ServiceSpec(name="Front", target="m:Front"), ServiceSpec(name="Back", target="m:Back")),
    config={"Front": {"x": 1}, "Back": {"y": 2}, "Common": {"z": 3}},
)


def revision(spec: GraphSpec = SPEC, **fields: Any) -> RevisionRecord:
    return RevisionRecord(graph_id="g", number=1, digest=spec.digest(), spec=spec, created_at=0.0, **fields)


def back(**fields: Any) -> GraphSpec:
    return replace(SPEC, services=(SPEC.services[0], replace(SPEC.services[1], **fields)))


@pytest.mark.parametrize(
    ("after", "front", "back"),
    [
        (revision(), False, False),
        (revision(back(workers=4)), False, False),
        (revision(back(restart=RestartSpec(attempts=1))), False, False),
        (revision(back(drain_timeout=3.0)), False, False),
        (revision(back(envs={"A": "1"})), False, True),
        (revision(replace(SPEC, config={**SPEC.config, "Back": {"y": 5}})), False, True),
        (
            revision(replace(back(workers=4), config={**SPEC.config, "Back": {"y": 2, "ServiceArgs": {"workers": 4}}})),
            False,
            False,
        ),
        (revision(replace(SPEC, config={**SPEC.config, "Common": {"z": 5}})), True, True),
        (revision(replace(SPEC, working_dir="/elsewhere")), True, True),
        (revision(envs={"A": "1"}), True, True),
        (revision(build="demo:2"), True, True),
    ],
)
def test_only_what_a_process_is_made_from_replaces_it(after: RevisionRecord, front: bool, back: bool) -> None:
    before = revision()
    assert (template_digest(before, "Front") != template_digest(after, "Front")) is front
    assert (template_digest(before, "Back") != template_digest(after, "Back")) is back


def test_differences_are_told_by_path() -> None:
    after = revision(back(workers=4, envs={"A": "1"}), envs={"TOKEN": "x"})
    assert [(c.path, c.before, c.after) for c in changes(revision(), after)] == [
        ("envs.TOKEN", None, "x"),
        ("services.Back.envs.A", None, "1"),
        ("services.Back.workers", 1, 4),
    ]
    assert [c.path for c in changes(None, revision())] == ["services.Front", "services.Back"]
    assert changes(revision(), revision()) == []


@pytest.mark.parametrize(("part", "key"), [("Back", "y"), ("Common", "z")])
def test_a_changed_configuration_is_told_once(part: str, key: str) -> None:
    def configured(value: int) -> GraphSpec:
        return replace(back(config={key: value}), config={**SPEC.config, part: {key: value}})

    found = changes(revision(configured(1)), revision(configured(2)))
    assert [(c.path, c.before, c.after) for c in found] == [(f"config.{part}.{key}", 1, 2)]


def test_a_service_s_own_configuration_is_told_where_the_graph_s_does_not_say_it() -> None:
    found = changes(revision(back(config={"own": 1})), revision(back(config={"own": 2})))
    assert [(c.path, c.before, c.after) for c in found] == [("services.Back.config.own", 1, 2)]


def test_a_submission_is_known_by_all_it_brings() -> None:
    assert submitted_digest(SPEC, {}, None) == SPEC.digest()
    digests = {
        submitted_digest(SPEC, {}, None),
        submitted_digest(SPEC, {"A": "1"}, None),
        submitted_digest(SPEC, {}, "demo:1"),
        submitted_digest(back(workers=2), {}, None),
    }
    assert len(digests) == 4
