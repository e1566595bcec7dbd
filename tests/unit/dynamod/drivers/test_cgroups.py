"""Which groups are used, on trees of plain files; what the kernel does with them is tested on real ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynamod.drivers.base import Limits
from dynamod.drivers.cgroups import DAEMON_GROUP, Cgroups, open_cgroups


class Hierarchy:
    """A directory that looks like cgroup v2 with the daemon in one of its groups."""

    def __init__(self, base: Path, group: str = "/", root: str = "/") -> None:
        self.mount = base / "cgroup"
        self.mount.mkdir()
        self.mountinfo = base / "mountinfo"
        self.mountinfo.write_text(f"40 24 0:35 {root} {self.mount} rw,nosuid - cgroup2 cgroup2 rw\n")
        self.membership = base / "membership"
        self.membership.write_text(f"4:memory:/elsewhere\n0::{group}\n")

    def group(self, path: str, *, controllers: str = "cpu memory pids", members: str = "") -> Path:
        group = self.mount / path
        group.mkdir(parents=True, exist_ok=True)
        (group / "cgroup.controllers").write_text(controllers)
        (group / "cgroup.subtree_control").write_text("")
        (group / "cgroup.procs").write_text(members)
        return group

    def open(self, state: str = "state") -> Cgroups:
        return open_cgroups(Path(state), mountinfo=self.mountinfo, membership=self.membership)


def test_without_cgroup_v2_it_says_so_and_runs_without(tmp_path: Path) -> None:
    hierarchy = Hierarchy(tmp_path)
    hierarchy.mountinfo.write_text("29 24 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n")
    groups = hierarchy.open()
    assert groups.make("r", 1, Limits(memory=1)) == (None, "memory not limited: no cgroup v2 file system is mounted")
    assert groups.make("r", 1, Limits()) == (None, "")
    assert "no cgroup v2" in groups.describe()


def test_a_hierarchy_without_controllers_gives_groups_that_limit_nothing(tmp_path: Path) -> None:
    hierarchy = Hierarchy(tmp_path)
    hierarchy.group("", controllers="hugetlb")
    groups = hierarchy.open()
    group, unkept = groups.make("r", 1, Limits(cpu=2, memory=1 << 30))
    assert group is not None
    assert group.is_dir()
    assert group.parent.parent == hierarchy.mount
    assert unkept.startswith("cpu and memory not limited: ")
    assert "no cpu and no memory controller" in unkept


def test_the_same_state_directory_has_the_same_group_and_another_has_another(tmp_path: Path) -> None:
    hierarchy = Hierarchy(tmp_path)
    hierarchy.group("")
    first, again, other = (hierarchy.open(state).parent for state in ("a", "a", "b"))
    assert first == again != other


def test_a_group_of_which_others_are_members_is_left_alone(tmp_path: Path) -> None:
    hierarchy = Hierarchy(tmp_path, group="/user.slice")
    own = hierarchy.group("user.slice", members="1\n2\n")
    (own / "cgroup.subtree_control").unlink()
    (own / "cgroup.subtree_control").mkdir()  # cannot be written
    groups = hierarchy.open()
    assert not (own / DAEMON_GROUP).exists()
    assert groups.limits == frozenset()


def test_a_daemon_in_its_own_child_group_uses_the_parent(tmp_path: Path) -> None:
    hierarchy = Hierarchy(tmp_path, group=f"/service/{DAEMON_GROUP}")
    hierarchy.group("service")
    hierarchy.group(f"service/{DAEMON_GROUP}")
    groups = hierarchy.open()
    assert groups.parent is not None
    assert groups.parent.parent == hierarchy.mount / "service"
    assert groups.home == hierarchy.mount / "service" / DAEMON_GROUP


def test_a_mount_that_shows_a_part_is_understood(tmp_path: Path) -> None:
    """In a container without a namespace of its own the paths in /proc are those of the host."""
    hierarchy = Hierarchy(tmp_path, group="/docker/abc/inner", root="/docker/abc")
    hierarchy.group("inner")
    groups = hierarchy.open()
    assert groups.parent is not None
    assert groups.parent.parent == hierarchy.mount / "inner"
    hierarchy.membership.write_text("0::/elsewhere\n")
    assert "outside" in hierarchy.open().lacking


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(cpu=1.5), {"cpu.max": "150000 100000"}),
        (Limits(cpu=0.001), {"cpu.max": "1000 100000"}),
        (Limits(memory=1 << 20), {"memory.max": "1048576", "memory.swap.max": "0", "memory.oom.group": "1"}),
    ],
)
def test_limits_are_written_as_the_kernel_reads_them(tmp_path: Path, limits: Limits, expected: dict[str, str]) -> None:
    group = tmp_path / "r-1"
    group.mkdir()
    for name in ("cpu.max", "memory.max", "memory.swap.max", "memory.oom.group"):
        (group / name).write_text("")
    groups = Cgroups(tmp_path, tmp_path, frozenset({"cpu", "memory"}))
    assert groups.make("r", 1, limits) == (group, "")
    written = {name: (group / name).read_text() for name in expected}
    assert written == expected
