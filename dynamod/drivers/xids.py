"""Xid errors that were seen on devices, kept over restarts of the daemon: a broken GPU is not mended by forgetting.

They are forgotten when the machine boots, and when the file is deleted while the daemon is down (after a reset).
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from dynamod.drivers.identity import boot_id

log = logging.getLogger(__name__)


class _Kept(msgspec.Struct):
    boot_id: str
    xids: dict[str, list[int]] = {}


class XidMemory:
    """Xid numbers by the UUID of their device. `path` None: in memory alone."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._kept = _Kept(boot_id())
        if path is not None:
            try:
                kept = msgspec.json.decode(path.read_bytes(), type=_Kept)
            except FileNotFoundError:
                return
            except (OSError, msgspec.DecodeError) as error:
                log.warning("earlier Xid errors cannot be read from %s: %s", path, error)
                return
            if kept.boot_id == boot_id():
                self._kept = kept

    def of(self, uuid: str) -> tuple[int, ...]:
        return tuple(self._kept.xids.get(uuid, ()))

    def add(self, uuid: str, xid: int) -> None:
        known = self._kept.xids.setdefault(uuid, [])
        if xid in known:
            return
        known.append(xid)
        if self._path is not None:
            try:
                self._path.write_bytes(msgspec.json.encode(self._kept))
            except OSError as error:
                log.warning("an Xid error cannot be kept in %s: %s", self._path, error)
