from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from dynamo.llm.engines.base import BlocksCleared, BlocksRemoved, BlocksStored, StoredBlock
from dynamo.llm.kv.hashing import chain, root_hash
from dynamo.llm.kv.mirror import BlockMirror, Emptied, Gone, Held


def stored(parent: int | None, *names: int, dp_rank: int = 0, lora: str | None = None) -> BlocksStored:
    """Engine blocks named `names`, whose content is told by the last digit of the name."""
    blocks = tuple(StoredBlock(block_hash=name, tokens_hash=name % 10) for name in names)
    return BlocksStored(parent_hash=parent, blocks=blocks, dp_rank=dp_rank, lora=lora)


def prefixes(*contents: int, root: int = 0) -> list[int]:
    return chain(root, 0, contents)


def test_parent_chains() -> None:
    mirror = BlockMirror()
    assert mirror.apply(stored(None, 11, 12)) == Held(0, prefixes(1, 2))
    assert mirror.apply(stored(12, 13)) == Held(0, prefixes(1, 2, 3)[2:])
    assert mirror.apply(stored(11, 25)) == Held(0, prefixes(1, 5)[1:])
    assert mirror.apply(stored(None, 31, lora="x")) == Held(0, prefixes(1, root=root_hash("x")))


def test_an_unknown_parent_cannot_be_placed() -> None:
    mirror = BlockMirror()
    assert mirror.apply(stored(77, 13, 14)) is None
    assert mirror.orphans == 2


def test_a_block_lives_as_long_as_one_copy() -> None:
    mirror = BlockMirror()
    mirror.apply(stored(None, 11))
    assert mirror.apply(stored(None, 11)) is None
    assert mirror.apply(BlocksRemoved(block_hashes=(11,))) is None
    assert mirror.apply(BlocksRemoved(block_hashes=(11,))) == Gone(0, prefixes(1))
    assert mirror.apply(BlocksRemoved(block_hashes=(11,))) is None


def test_eviction_in_mid_sequence_hides_what_follows() -> None:
    mirror = BlockMirror()
    mirror.apply(stored(None, 11, 12, 13, 14))
    gone = mirror.apply(BlocksRemoved(block_hashes=(12,)))
    assert isinstance(gone, Gone)
    assert set(gone.hashes) == set(prefixes(1, 2, 3, 4)[1:])
    back = mirror.apply(stored(11, 12))
    assert back == Held(0, prefixes(1, 2, 3, 4)[1:])
    mirror.apply(BlocksRemoved(block_hashes=(12,)))
    assert mirror.apply(BlocksRemoved(block_hashes=(14, 13))) is None
    assert mirror.snapshot() == [Held(0, prefixes(1))]


def test_clearing_and_ranks() -> None:
    mirror = BlockMirror()
    mirror.apply(stored(None, 11))
    mirror.apply(stored(None, 11, 12, dp_rank=1))
    assert mirror.apply(BlocksCleared()) == Emptied(0)
    assert mirror.apply(BlocksCleared()) is None
    assert mirror.snapshot() == [Held(1, prefixes(1, 2))]


TREE = {1: None, 2: 1, 3: 2, 4: 3, 5: 1, 6: 5, 7: None, 8: 7}  # name -> parent; content = name


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["store", "remove", "remove", "clear"]), st.sampled_from(sorted(TREE)))))
def test_what_is_reported_is_what_can_be_reached(steps: list[tuple[str, int]]) -> None:
    """After any history, the changes add up to the blocks whose every ancestor is held, and so does the snapshot."""
    mirror, copies, reported = BlockMirror(), dict.fromkeys(TREE, 0), set()
    sequence: dict[int, int] = {}
    for name, parent in TREE.items():
        depth = 0
        above = parent
        while above is not None:
            depth, above = depth + 1, TREE[above]
        sequence[name] = chain(sequence[parent] if parent is not None else 0, depth, [name])[0]
    for action, name in steps:
        parent = TREE[name]
        if action == "store" and (parent is None or copies[parent]):
            event = BlocksStored(parent_hash=parent, blocks=(StoredBlock(name, name),))
            copies[name] += 1
        elif action == "remove" and copies[name]:
            event = BlocksRemoved(block_hashes=(name,))
            copies[name] -= 1
        elif action == "clear":
            event = BlocksCleared()
            copies = dict.fromkeys(TREE, 0)
        else:
            continue
        change = mirror.apply(event)
        if isinstance(change, Held):
            assert not reported & set(change.hashes)
            reported |= set(change.hashes)
        elif isinstance(change, Gone):
            assert reported >= set(change.hashes)
            reported -= set(change.hashes)
        elif isinstance(change, Emptied):
            reported.clear()
        reachable = set()
        for block, above in TREE.items():
            line = [block]
            while above is not None:
                line.append(above)
                above = TREE[above]
            if all(copies[b] for b in line):
                reachable.add(sequence[block])
        assert reported == reachable
        snapshot = mirror.snapshot()
        assert {h for change in snapshot if isinstance(change, Held) for h in change.hashes} == reachable
