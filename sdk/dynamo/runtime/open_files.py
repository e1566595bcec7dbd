"""How many files this process may hold open."""

from __future__ import annotations

import resource
from contextlib import suppress


def allow_many_files() -> None:
    """Raise the soft limit to the hard one: every connection takes a file, and shells give 1,024.

    For programs of ours alone, since it concerns the whole process: `select` cannot wait for files above 1,024.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # some kernels allow less than they say
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
