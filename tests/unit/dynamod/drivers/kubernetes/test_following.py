"""What a picture says beside the replicas: what hinders all of them, and what is not as it was told."""

from __future__ import annotations

from typing import Any

from dynamod.drivers.base import Wanted
from dynamod.drivers.kubernetes.comparing import stamped
from dynamod.drivers.kubernetes.following import astray, hindrance, warnings_of
from dynamod.drivers.kubernetes.placing import made_of
from dynamod.schema import Reason
from tests.unit.dynamod.drivers.kubernetes.specs import example

WANTED = Wanted("default", "hello", 1, example("hello_world"), {}, None, {"image": "i:1"}, {"Backend": 1})


def live() -> dict[tuple[str, str], Any]:
    """The workloads as the server has them: stamped, in an order of its own, with a generation."""
    found = {}
    for one in made_of(WANTED).objects:
        if one["kind"] == "Deployment":
            there = stamped(one)
            there["metadata"]["generation"] = 4
            found[one["kind"], one["metadata"]["name"]] = there
    return found


def test_what_is_as_it_was_told_is_not_astray() -> None:
    assert astray(WANTED, live(), {}) == ""


def test_what_is_missing_differs_or_is_too_much_is_named() -> None:
    backend = ("Deployment", "hello-backend")
    missing = live()
    del missing[backend]
    assert astray(WANTED, missing, {}) == "deployment/hello-backend is not there"
    scaled = live()
    scaled[backend]["spec"]["replicas"] = 5
    assert astray(WANTED, scaled, {}) == "deployment/hello-backend: spec.replicas is not as it was applied"
    more = live() | {("Deployment", "hello-other"): {}}
    assert astray(WANTED, more, {}) == "deployment/hello-other is not wanted"


def test_what_a_webhook_makes_of_it_is_as_good_as_it_gets() -> None:
    backend = ("Deployment", "hello-backend")
    mutated = live()
    mutated[backend]["spec"]["template"]["spec"]["containers"][0]["image"] = "mirror/i:1"
    assert astray(WANTED, mutated, {backend: 4}) == ""
    mutated[backend]["metadata"]["generation"] = 5
    assert "image is not as it was applied" in astray(WANTED, mutated, {backend: 4})


def test_replicas_that_cannot_be_made_hinder() -> None:
    quota = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
    one = {"kind": "Deployment", "metadata": {"name": "d"}, "status": {"conditions": [quota]}}
    found = hindrance([one], [])
    assert found is not None
    assert (found.reason, found.words, found.needs_change) == (Reason.FORBIDDEN, "deployment/d: exceeded quota", True)


def test_a_server_of_the_graphs_own_that_does_not_start_hinders() -> None:
    waiting = {"reason": "ErrImagePull", "message": "no such image"}
    pod = {
        "metadata": {"name": "hello-etcd-1"},
        "status": {"phase": "Pending", "containerStatuses": [{"name": "etcd", "state": {"waiting": waiting}}]},
    }
    found = hindrance([], [pod])
    assert found is not None
    assert (found.reason, found.words) == (Reason.IMAGE_UNAVAILABLE, "hello-etcd-1: no such image")
    assert not found.needs_change


def test_the_last_warning_about_a_pod_counts() -> None:
    def event(at: str, words: str, uid: str = "u") -> dict[str, Any]:
        return {"involvedObject": {"uid": uid}, "lastTimestamp": at, "reason": "FailedMount", "message": words}

    found = warnings_of(
        [
            event("2026-01-01T00:00:02Z", "second\nline"),
            event("2026-01-01T00:00:01Z", "first"),
            event("2026-01-01T00:00:01Z", "other", "v"),
        ]
    )
    assert found == {"u": "FailedMount: second line", "v": "FailedMount: other"}
