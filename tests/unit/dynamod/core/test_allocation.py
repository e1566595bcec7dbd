from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from dynamod.core.allocation import Claimed, Device, Granted, Refused, allocate, shortage


def box(count: int, *, linked: bool = False, **blocked: str) -> list[Device]:
    uuids = [f"GPU-{n}" for n in range(count)]
    return [
        Device(
            uuid=uuid,
            index=n,
            numa_node=n // 4,
            links={o: 1 for o in uuids if o != uuid} if linked else {},
            blocked=blocked.get(uuid.replace("-", "_"), ""),
        )
        for n, uuid in enumerate(uuids)
    ]


def granted(outcome: Granted | Refused) -> list[int]:
    assert isinstance(outcome, Granted)
    return [share.index for share in outcome.shares]


def test_several_devices_come_from_one_numa_node() -> None:
    claims = [Claimed("GPU-0", 1.0, holder="x"), Claimed("GPU-1", 1.0, holder="x"), Claimed("GPU-2", 1.0, holder="x")]
    outcome = allocate(box(8), claims, 4)
    assert granted(outcome) == [4, 5, 6, 7]
    assert isinstance(outcome, Granted)
    assert "on NUMA node 1 with the others" in outcome.reasons[0]
    assert "GPU 3: free, left for others" in outcome.reasons
    assert "GPU 0: claimed by x" in outcome.reasons


def test_linked_pairs_are_kept_together() -> None:
    pairs = {0: 3, 3: 0, 1: 2, 2: 1}
    devices = [Device(uuid=f"GPU-{n}", index=n, links={f"GPU-{pairs[n]}": 4}) for n in range(4)]
    assert granted(allocate(devices, [], 2)) == [0, 3]
    assert granted(allocate(devices, [Claimed("GPU-0", 1.0)], 1)) == [3]


def test_a_fraction_goes_where_it_fits_most_tightly() -> None:
    claims = [Claimed("GPU-1", 0.5, 0), Claimed("GPU-2", 0.25, 0)]
    assert granted(allocate(box(3), claims, 0.5)) == [1]
    assert granted(allocate(box(3), claims, 0.6)) == [2]
    assert granted(allocate(box(3), claims, 0.9)) == [0]


def test_slots_are_reused() -> None:
    outcome = allocate(box(1), [Claimed("GPU-0", 0.25, 1)], 0.25)
    assert isinstance(outcome, Granted)
    assert outcome.slots == (0,)


def test_blocked_devices_are_avoided_and_named() -> None:
    outcome = allocate(box(2, GPU_0="foreign: process 7 holds 2.0 GiB"), [], 2)
    assert isinstance(outcome, Refused)
    assert outcome.detail == "2 GPUs wanted, 1 of 2 free"
    assert outcome.available == 1
    assert outcome.reasons == ("GPU 0: foreign: process 7 holds 2.0 GiB",)


def test_none_at_all() -> None:
    assert isinstance(allocate([], [], 0.5), Refused)
    assert isinstance(allocate([], [], 1), Refused)
    assert isinstance(allocate([], [], 0), Granted)


def test_nonsense_is_refused() -> None:
    for wanted in (-1, 1.5, -0.5):
        with pytest.raises(ValueError, match="a whole number"):
            allocate(box(2), [], wanted)


def test_shortage_counts_all_requests_together() -> None:
    assert shortage(box(2), [], [0.5, 1, 0.5]) is None
    refused = shortage(box(2), [], [1, 1, 0.5])
    assert refused is not None
    assert "a share of 0.5 GPU wanted" in refused.detail


class Allocations(RuleBasedStateMachine):
    """Whatever is asked for and given back, no device is oversold, and nothing is refused that would fit."""

    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.devices = box(4, linked=True, GPU_3="foreign")
        self.claims: dict[int, list[Claimed]] = {}
        self.next = 0

    def all_claims(self) -> list[Claimed]:
        return [claim for claims in self.claims.values() for claim in claims]

    @rule(target=held, wanted=st.sampled_from([0.1, 0.25, 0.3, 0.5, 0.9, 1, 2, 3]))
    def ask(self, wanted: float) -> int:
        outcome = allocate(self.devices, self.all_claims(), wanted)
        self.next += 1
        if isinstance(outcome, Granted):
            assert abs(sum(share.share for share in outcome.shares) - wanted) < 1e-9
            self.claims[self.next] = [
                Claimed(share.uuid, share.share, slot, str(self.next))
                for share, slot in zip(outcome.shares, outcome.slots, strict=True)
            ]
        else:
            used = {d.uuid: sum(c.share for c in self.all_claims() if c.uuid == d.uuid) for d in self.devices[:3]}
            if wanted >= 1:
                assert sum(share == 0 for share in used.values()) < wanted
            else:
                assert all(share + wanted > 1 + 1e-9 for share in used.values())
            assert outcome.reasons
        return self.next

    @rule(holder=consumes(held))
    def give_back(self, holder: int) -> None:
        self.claims.pop(holder, None)

    @invariant()
    def nothing_is_oversold(self) -> None:
        claims = self.all_claims()
        assert len({(c.uuid, c.slot) for c in claims}) == len(claims)
        for device in self.devices:
            assert sum(c.share for c in claims if c.uuid == device.uuid) <= 1 + 1e-6
        assert not any(c.uuid == "GPU-3" for c in claims)


TestAllocations = Allocations.TestCase
TestAllocations.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
