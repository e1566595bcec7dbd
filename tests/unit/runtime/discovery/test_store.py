from __future__ import annotations

import pytest

from dynamo.runtime.discovery.base import Change
from dynamo.runtime.discovery.store import Store
from dynamo.runtime.errors import LeaseLost


def test_revisions_grow_over_the_whole_store_and_watches_see_every_change_below_their_prefix() -> None:
    store = Store()
    store.put("/a/1", b"one")
    seen: list[Change] = []
    number, snapshot = store.watch("/a/", seen.append)
    assert [(item.key, item.value) for item in snapshot.items] == [("/a/1", b"one")]
    store.put("/b/1", b"elsewhere")
    store.put("/a/2", b"two")
    store.delete("/a/1")
    assert not store.delete("/a/1")
    assert [(change.kind, change.key, change.value) for change in seen] == [
        ("put", "/a/2", b"two"),
        ("delete", "/a/1", None),
    ]
    assert snapshot.revision < seen[0].revision < seen[1].revision == store.revision
    store.unwatch(number)
    store.put("/a/3", b"")
    assert len(seen) == 2


def test_keys_vanish_with_their_lease_and_only_they() -> None:
    store = Store()
    lease, other = store.grant(), store.grant()
    assert lease != other
    store.put("/mine", b"", lease)
    store.put("/moved", b"", lease)
    store.put("/moved", b"again", other)
    store.put("/forever", b"")
    assert store.revoke(lease)
    assert [item.key for item in store.get_prefix("/").items] == ["/forever", "/moved"]
    with pytest.raises(LeaseLost):
        store.put("/late", b"", lease)
    assert store.grant(lease) == lease
    store.put("/late", b"", lease)


def test_create_only_if_absent() -> None:
    store = Store()
    assert store.create("/k", b"first")
    assert not store.create("/k", b"second")
    item = store.get("/k")
    assert item is not None
    assert item.value == b"first"
    assert store.delete_prefix("/") == 1
