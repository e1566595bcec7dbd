"""What the kernel allows one process."""

from __future__ import annotations

import resource

from dynamod.doctor.findings import fail, ok, warn
from dynamod.schema.doctor import Finding

ENOUGH_FILES = 8192
"""A replica holds one descriptor per peer and per open HTTP connection."""
TOO_FEW_FILES = 512


def check_open_files(limits: tuple[int, int] | None = None) -> Finding:
    """`limits`: soft and hard; those of this process unless given."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE) if limits is None else limits
    what = f"{_count(soft)} (at most {_count(hard)})"
    if hard == resource.RLIM_INFINITY or hard >= ENOUGH_FILES:  # the daemon and its replicas take all they may
        return ok("open files", what)
    remedy = "raise the hard limit (limits.conf, or LimitNOFILE= of the unit)"
    return (fail if hard < TOO_FEW_FILES else warn)("open files", f"{what}: each connection takes one", remedy)


def _count(limit: int) -> str:
    return "unlimited" if limit == resource.RLIM_INFINITY else str(limit)
