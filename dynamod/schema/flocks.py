"""Who holds a lock, as the kernel lists it. To look is not to lock: a test by `flock` would hold it for a moment."""

from __future__ import annotations

PROC_LOCKS = "/proc/locks"


def flock_holders(listing: str, inode: int) -> list[int]:
    """The pids that hold an exclusive `flock` on the file with that inode; format: proc(5), /proc/locks.

    The device is not compared: where a file system has one of its own making (overlay, btrfs), the kernel lists another
    one than `stat` tells.
    """
    holders = []
    for line in listing.splitlines():
        words = line.split()
        if len(words) >= 8 and words[1:4] == ["FLOCK", "ADVISORY", "WRITE"] and words[5].endswith(f":{inode}"):
            holders.append(int(words[4]))
    return holders
