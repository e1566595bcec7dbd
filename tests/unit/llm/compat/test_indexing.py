from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

import dynamo.llm
from dynamo.llm import OverlapScores, RadixTree, compute_block_hash_for_seq_py


def event(data: Any) -> bytes:
    return json.dumps({"event_id": 0, "data": data}).encode()


def stored(parent: int | None, *blocks: tuple[int, int]) -> bytes:
    listed = [{"block_hash": name, "tokens_hash": content} for name, content in blocks]
    return event({"stored": {"parent_hash": parent, "blocks": listed}})


def test_every_old_name_is_there() -> None:
    for name in dynamo.llm.__all__:
        assert getattr(dynamo.llm, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = dynamo.llm.nonsense


def test_importing_the_package_is_cheap() -> None:
    code = "import sys, dynamo.llm; sys.exit(any(m in sys.modules for m in ('numpy', 'msgspec', 'asyncio')))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_block_hashes() -> None:
    tokens = list(range(100))
    hashes = compute_block_hash_for_seq_py(tokens, 32)
    assert len(hashes) == 3
    assert hashes == compute_block_hash_for_seq_py(tokens[:96], 32)
    assert compute_block_hash_for_seq_py(tokens[:31], 32) == []
    with pytest.raises(ValueError, match="kv_block_size cannot be 0"):
        compute_block_hash_for_seq_py(tokens, 0)


def test_tree() -> None:
    tree = RadixTree()
    tree.apply_event(1, stored(None, (11, 111), (12, 112)))
    tree.apply_event(2, stored(None, (21, 111)))
    tree.apply_event(2, stored(21, (22, 113)))
    assert tree.find_matches([111, 112, 999]).scores == {1: 2, 2: 1}
    assert tree.find_matches([111, 113]).scores == {2: 2, 1: 1}
    assert tree.find_matches([5]).scores == {}
    tree.apply_event(1, event({"removed": {"block_hashes": [12]}}))
    assert tree.find_matches([111, 112], early_exit=True).scores == {1: 1, 2: 1}
    tree.clear_all_blocks(1)
    assert tree.find_matches([111]).scores == {2: 1}
    tree.apply_event(2, event("cleared"))
    assert tree.find_matches([111]).scores == {}
    tree.apply_event(1, stored(None, (11, 111)))
    tree.remove_worker(1)
    assert tree.find_matches([111]).scores == {}


def test_frequencies_within_the_window() -> None:
    tree = RadixTree(expiration_duration_secs=60.0)
    tree.apply_event(1, stored(None, (11, 111), (12, 112)))
    assert tree.find_matches([111]).frequencies == []
    assert tree.find_matches([111, 112]).frequencies == [1]
    assert tree.find_matches([111, 112]).frequencies == [2, 1]
    assert RadixTree().find_matches([111]).frequencies == []


@pytest.mark.parametrize("bad", [b"", b"{}", b'{"event_id": 1, "data": 5}', event("gone"), event({"stored": {}})])
def test_what_is_not_an_event(bad: bytes) -> None:
    with pytest.raises(ValueError, match="Failed to deserialize KvCacheEvent"):
        RadixTree().apply_event(1, bad)


def test_scores_print() -> None:
    assert repr(OverlapScores({1: 2})) == "OverlapScores(scores={1: 2}, frequencies=[])"
