from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamo.runtime import keys

names = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20)
ids = st.integers(min_value=1, max_value=2**64 - 1)


@given(names, names, names, ids)
def test_instance_keys_round_trip(namespace: str, component: str, endpoint: str, instance: int) -> None:
    key = keys.instance_key("p/g", namespace, component, endpoint, instance)
    assert keys.parse_instance_key("p/g", key) == (namespace, component, endpoint, instance)
    assert key.startswith(keys.instances_prefix("p/g", namespace, component, endpoint))


@given(names, names, ids)
def test_event_and_model_keys_round_trip(namespace: str, subject: str, instance: int) -> None:
    assert keys.parse_event_key("p/g", keys.event_key("p/g", namespace, subject, instance)) == (
        namespace,
        subject,
        instance,
    )
    assert keys.parse_model_key("p/g", keys.model_key("p/g", subject, instance)) == (subject, instance)


@given(names)
def test_replica_keys_round_trip(replica: str) -> None:
    assert keys.parse_replica_key("p/g", keys.replica_key("p/g", replica)) == replica


def test_names_that_share_a_beginning_do_not_share_a_prefix() -> None:
    key = keys.instance_key("p/g", "ns", "worker2", "generate", 1)
    assert not key.startswith(keys.instances_prefix("p/g", "ns", "worker"))


@pytest.mark.parametrize("key", ["", "/dynamo/p/g/instances/a/b/c/xyz", "/dynamo/p/other/instances/a/b/c/1"])
def test_other_keys_are_refused(key: str) -> None:
    assert keys.parse_instance_key("p/g", key) is None


def test_layout() -> None:
    assert keys.instance_key("default/hello", "dynamo", "Frontend", "chat/completions", 0x1F) == (
        "/dynamo/default/hello/instances/dynamo/Frontend/chat%2Fcompletions/000000000000001f"
    )
