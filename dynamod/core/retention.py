"""Which of the builds that nothing runs from are kept: a pure function of what there is and what is wanted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from dynamod.schema.builds import Build, PruneRequest


def superfluous(builds: Sequence[Build], wanted: PruneRequest, now: float) -> list[Build]:
    """Those that may go, the oldest first.

    Never one that a revision names, nor the `keep` newest of a name; only those that were stored more than
    `older_than` seconds ago; and with `size` only as many as it takes to bring all archives within so many bytes.
    """
    by_name: dict[str, list[Build]] = defaultdict(list)
    for build in sorted(builds, key=lambda one: one.stored_at, reverse=True):
        by_name[build.name].append(build)
    newest = {build.tag for of_name in by_name.values() for build in of_name[: wanted.keep]}
    total = sum(build.size for build in builds)
    chosen = []
    for build in sorted(builds, key=lambda one: one.stored_at):
        if build.used_by or build.tag in newest:
            continue
        if wanted.older_than is not None and build.stored_at.timestamp() > now - wanted.older_than:
            continue
        if wanted.size is not None and total <= wanted.size:
            break
        total -= build.size
        chosen.append(build)
    return chosen
