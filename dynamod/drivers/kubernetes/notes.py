"""What a spec says that Kubernetes has no word for, and what stands in its place."""

from __future__ import annotations

import msgspec


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """`field` is the spec's path; `reason` why it has no equivalent; `instead` what the manifests do."""

    field: str
    reason: str
    instead: str

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}; {self.instead}"
