from __future__ import annotations

import fcntl
import os
from pathlib import Path

from dynamod.schema.flocks import PROC_LOCKS, flock_holders


def holders(path: Path) -> list[int]:
    return flock_holders(Path(PROC_LOCKS).read_text(), path.stat().st_ino)


def test_who_holds_a_lock_is_seen_without_taking_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    assert holders(path) == []
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        assert holders(path) == [], "a shared lock is no daemon's"
        fcntl.flock(file, fcntl.LOCK_EX)
        assert holders(path) == [os.getpid()]
    assert holders(path) == []


def test_other_kinds_and_those_who_wait_are_left_out() -> None:
    listing = (
        "1: FLOCK  ADVISORY  WRITE 23 fe:00:77 0 EOF\n"
        "1: -> FLOCK  ADVISORY  WRITE 24 fe:00:77 0 EOF\n"
        "2: POSIX  ADVISORY  WRITE 25 fe:00:77 0 EOF\n"
        "3: FLOCK  ADVISORY  WRITE 26 fe:00:177 0 EOF\n"
    )
    assert flock_holders(listing, 77) == [23]
