"""Control groups (cgroup v2): what a local replica may use, and an end that none of its processes escapes.

One group for each run, under a group of this daemon's:

    <base>/dynamod-<hash of the state directory>/<replica id>-<run>     a run: limits, members, the kernel's counts
    <base>/dynamod-daemon                                               the daemon and its shims, where they must move

The base is the daemon's own group, when it was delegated (systemd: `Delegate=yes`), or the root of the hierarchy, for
root. A group with members cannot limit its children ("no internal processes"), so the daemon moves itself out of its
own group into a child. Where nothing of this is allowed, or the controllers are not there, `lacking` says why, and
replicas run in process groups alone.

The format of the files is that of the kernel's Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dynamod.drivers.base import Limits

DAEMON_GROUP = "dynamod-daemon"
CPU_PERIOD_US = 100_000
WANTED = ("cpu", "memory")
_EMPTY_S = 2.0
"""How long a group may take to become empty after its members were killed."""


@dataclass(frozen=True)
class Cgroups:
    """Where runs get their groups. `home` is the group that the daemon and its shims are in.

    `limits` are the controllers that work there. `lacking` says why some do not, or, without `parent`, why there are no
    groups at all; it is empty when everything is there.
    """

    parent: Path | None = None
    home: Path | None = None
    limits: frozenset[str] = frozenset()
    lacking: str = ""

    def make(self, replica_id: str, run: int, limits: Limits) -> tuple[Path | None, str]:
        """Make a run's group with its limits, and say which of them are not kept, and why ("" when all are).

        The group is None where there can be none.
        """
        if self.parent is None:
            return None, self.unkept(limits)
        group = self.parent / f"{replica_id}-{run}"
        try:
            self._make(self.parent, group)
            for name, value in _settings(limits, self.limits).items():
                if value is not None and (group / name).exists():
                    (group / name).write_text(value)
        except OSError as error:
            remove(group)
            return None, f"{group}: {error.strerror}"
        return group, self.unkept(limits)

    def _make(self, parent: Path, group: Path) -> None:
        """The parent goes with its last run; so it may have to be made again, even twice."""
        for last in (False, False, True):
            try:
                if not parent.is_dir():
                    parent.mkdir(exist_ok=True)
                    _enable(parent, sorted(self.limits))
                group.mkdir(exist_ok=True)
            except FileNotFoundError:
                if last:
                    raise
            else:
                return

    def tidy(self) -> None:
        """Remove groups that have no member left."""
        if self.parent is not None:
            _rmdir(self.parent)

    def describe(self) -> str:
        """One line for people."""
        kept = [name for name in WANTED if name in self.limits]
        said = [f"{' and '.join(kept)} of local replicas are limited in {self.parent}"] if kept else []
        if self.lacking:
            said.append(f"{' and '.join(name for name in WANTED if name not in kept)} are not limited: {self.lacking}")
        return "; ".join(said)

    def unkept(self, limits: Limits) -> str:
        """Which of these limits cannot be kept, and why; empty when all can."""
        asked = {"cpu": limits.cpu, "memory": limits.memory}
        unkept = [name for name, value in asked.items() if value is not None and name not in self.limits]
        return f"{' and '.join(unkept)} not limited: {self.lacking}" if unkept else ""


NO_CGROUPS = Cgroups(lacking="control groups are not used")


def open_cgroups(
    state_dir: Path, *, mountinfo: Path = Path("/proc/self/mountinfo"), membership: Path = Path("/proc/self/cgroup")
) -> Cgroups:
    """Find out what is allowed here, and prepare it. The daemon may be moved into a group of its own by this."""
    found = _own_group(mountinfo.read_text(), membership.read_text())
    if isinstance(found, str):
        return Cgroups(lacking=found)
    mount, own = found
    name = f"dynamod-{hashlib.sha256(os.fsencode(state_dir)).hexdigest()[:12]}"
    bases = [own.parent] if own.name == DAEMON_GROUP else [own, mount]
    tried = [_prepare(base, own, name) for base in dict.fromkeys(bases)]
    best = max(tried, key=lambda one: (len(one.limits), one.parent is not None))
    for other in tried:
        if other is not best:
            other.tidy()
    return best


def kill(group: Path) -> None:
    """Kill every process in a group and below, those that are being forked included."""
    try:
        (group / "cgroup.kill").write_text("1")
    except FileNotFoundError:  # the group is gone, or the kernel older than 5.14
        for _ in range(10):
            pids = members(group)
            if not pids:
                return
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise


def members(group: Path) -> list[int]:
    """The processes in a group, without those below it; none when it is gone."""
    try:
        return [int(line) for line in (group / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def oom_kills(group: Path) -> int:
    """How many processes of the group the kernel has killed for want of memory."""
    try:
        lines = (group / "memory.events").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.split()[0] == "oom_kill"), 0)


def remove(group: Path) -> bool:
    """Kill what is left in a group and remove it and those below; whether it is gone."""
    deadline = time.monotonic() + _EMPTY_S
    while group.is_dir():
        with suppress(OSError):
            kill(group)
        if _rmdir(group) or time.monotonic() > deadline:
            break
        time.sleep(0.01)
    return not group.is_dir()


def _rmdir(group: Path) -> bool:
    """Remove empty groups, from below; False when some process is left."""
    try:
        for child in group.iterdir():
            if child.is_dir() and not child.is_symlink():
                _rmdir(child)
        group.rmdir()
    except OSError:
        return not group.exists()
    return True


def _own_group(mountinfo: str, membership: str) -> tuple[Path, Path] | str:
    """(where cgroup v2 is mounted, the daemon's group), or why there is none. Formats: proc(5), cgroups(7)."""
    mounts = [line.split() for line in mountinfo.splitlines()]
    found = [words for words in mounts if "-" in words and words[words.index("-") + 1] == "cgroup2"]
    if not found:
        return "no cgroup v2 file system is mounted"
    root, mount = found[0][3], Path(found[0][4])
    path = next((line.removeprefix("0::") for line in membership.splitlines() if line.startswith("0::")), None)
    if path is None:
        return "the kernel runs without cgroup v2"
    inside = os.path.relpath(path, root)
    if inside.startswith(".."):
        return f"the daemon's own group {path} is outside of what is mounted at {mount}"
    return mount, mount / inside if inside != "." else mount


def _prepare(base: Path, own: Path, name: str) -> Cgroups:
    """Groups below `base`, with as many controllers as can be had."""
    parent = base / name
    try:
        parent.mkdir(exist_ok=True)
    except OSError as error:
        return Cgroups(lacking=f"no groups can be made in {base}: {error.strerror}")
    home, lacking = own, ""
    available = _words(base / "cgroup.controllers")
    wanted = [controller for controller in WANTED if controller in available]
    if missing := [controller for controller in WANTED if controller not in available]:
        lacking = f"{base} has no {' and no '.join(missing)} controller in cgroup v2"
    try:
        if not _enable(base, wanted) and base == own and set(members(own)) <= {os.getpid()}:
            home = base / DAEMON_GROUP
            home.mkdir(exist_ok=True)
            (home / "cgroup.procs").write_text(str(os.getpid()))
            _enable(base, wanted)
        _enable(parent, wanted)
    except OSError as error:
        lacking = f"{base}: {error.strerror}"
    enabled = _words(parent / "cgroup.subtree_control")
    limits = frozenset(controller for controller in wanted if controller in enabled)
    if wanted and not limits and not lacking:
        lacking = f"other processes share the daemon's group {base}: start it in one of its own"
    return Cgroups(parent, home, limits, lacking)


def _enable(group: Path, controllers: list[str]) -> bool:
    """Let a group's children be limited; False when it has members, which rules that out."""
    control = group / "cgroup.subtree_control"
    missing = [controller for controller in controllers if controller not in _words(control)]
    if not missing:
        return True
    try:
        control.write_text(" ".join(f"+{controller}" for controller in missing))
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.EOPNOTSUPP):
            raise
        return False
    return True


def _settings(limits: Limits, controllers: frozenset[str]) -> dict[str, str | None]:
    """Files and their values. Memory is a hard limit without swap, and one that overruns it ends as a whole: a replica
    that has lost one of its processes is no replica."""
    settings: dict[str, str | None] = {}
    if "memory" in controllers:
        settings["memory.max"] = None if limits.memory is None else str(limits.memory)
        settings["memory.swap.max"] = None if limits.memory is None else "0"
        settings["memory.oom.group"] = "1"
    if "cpu" in controllers and limits.cpu is not None:
        settings["cpu.max"] = f"{max(int(limits.cpu * CPU_PERIOD_US), 1000)} {CPU_PERIOD_US}"
    return settings


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
