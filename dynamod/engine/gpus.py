"""The GPU ledgers of an engine: what is there (inventory) and what is claimed (database)."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from dynamod.core.allocation import Claimed, Device
from dynamod.core.records import ClaimRecord
from dynamod.engine.memory import Memory
from dynamod.engine.turn import Turn
from dynamod.schema.graphs import GpuShare


class GpuLedger:
    """`devices` is None until the inventory has been read."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.devices: Sequence[Device] | None = ()

    def claimed(self) -> list[Claimed]:
        """Everything that is taken, claims being released included."""
        return self._memory.claimed()

    def reserve(self, turn: Turn, replica_id: str, shares: Sequence[GpuShare], slots: Sequence[int]) -> None:
        """Claim devices for a replica in this turn, in place of what it held before."""
        for old in self._memory.claims_of(replica_id):
            turn.release(old)
        for share, slot in zip(shares, slots, strict=True):
            turn.claim(
                ClaimRecord(
                    uuid=share.uuid,
                    slot=slot,
                    index=share.index,
                    share=share.share,
                    replica_id=replica_id,
                    created_at=turn.now,
                )
            )

    def release(self, turn: Turn, replica_id: str) -> None:
        """Mark a replica's claims for release; they go once the devices' memory is seen free."""
        for claim in self._memory.claims_of(replica_id):
            turn.claim(replace(claim, releasing=True))
