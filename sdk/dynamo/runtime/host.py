"""Who this machine is to others, and whether an address is on it."""

from __future__ import annotations

import functools
import os
import socket
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@functools.cache
def host_id() -> str:
    """The boot id of the running kernel: processes with the same one may share Unix sockets.

    `DYN_HOST_ID` overrides it, for containers that share a kernel and no files.
    """
    if given := os.environ.get("DYN_HOST_ID"):
        return given
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return f"host-{socket.gethostname()}"
