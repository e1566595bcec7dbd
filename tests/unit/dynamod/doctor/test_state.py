"""State directories that cannot be used, full disks, clocks that are off: real ones where that can be had."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from dynamod.doctor import state
from dynamod.doctor.state import check_clock, check_directory, check_disk
from dynamod.schema import Verdict, locations


def test_a_directory_that_is_not_there_yet_can_be_made(tmp_path: Path) -> None:
    found = check_directory(locations(tmp_path / "a" / "b"))
    assert (found.verdict, "can be made" in found.what) == (Verdict.OK, True)
    assert not (tmp_path / "a").exists(), "looking changes nothing"


def test_a_private_directory_is_fine_and_one_that_others_write_is_told(tmp_path: Path) -> None:
    place = tmp_path / "state"
    place.mkdir(mode=0o700)
    assert check_directory(locations(place)).verdict is Verdict.OK
    place.chmod(0o777)
    found = check_directory(locations(place))
    assert (found.verdict, found.remedy) == (Verdict.WARN, f"chmod 700 {place}")


def test_a_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    assert check_directory(locations(tmp_path / "state")).verdict is Verdict.FAIL
    assert check_directory(locations(tmp_path / "state" / "below")).verdict is Verdict.FAIL


AS_NOBODY = """
import os, sys
from pathlib import Path
from dynamod.doctor.state import check_directory
from dynamod.schema import locations
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
for place in sys.argv[1:]:
    found = check_directory(locations(Path(place)))
    print(found.verdict.value, found.what, sep=": ")
"""


def test_a_directory_without_permission() -> None:
    with tempfile.TemporaryDirectory(prefix="dyn-") as made:
        closed = Path(made)
        closed.chmod(0o555)
        command = [sys.executable, "-c", AS_NOBODY, str(closed / "state"), str(closed)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        closed.chmod(0o700)
    to_be_made, there = done.stdout.splitlines()
    assert to_be_made == f"fail: {closed}/state does not exist and cannot be made in {closed}"
    assert there.startswith("fail: ")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_directory_of_another_user(tmp_path: Path) -> None:
    place = tmp_path / "state"
    place.mkdir()
    os.chown(place, 65534, 65534)
    found = check_directory(locations(place))
    assert (found.verdict, "belongs to user 65534" in found.what) == (Verdict.FAIL, True)


def test_disk_space(tmp_path: Path) -> None:
    where = locations(tmp_path / "not" / "there")
    assert check_disk(where, little=0, too_little=0).verdict is Verdict.OK
    assert check_disk(where, little=1 << 60, too_little=0).verdict is Verdict.WARN
    found = check_disk(where, too_little=1 << 60)
    assert found.verdict is Verdict.FAIL
    assert str(tmp_path) in found.what


def test_a_clock_that_agrees_with_the_file_system(tmp_path: Path) -> None:
    assert check_clock(locations(tmp_path)).verdict is Verdict.OK
    assert list(tmp_path.iterdir()) == []


def test_a_clock_that_differs_and_one_that_jumps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    monkeypatch.setattr(state.time, "time", lambda: real() - 3600)
    found = check_clock(locations(tmp_path))
    assert (found.verdict, "3600" in found.what) == (Verdict.WARN, True)
    jumps = iter((real(), real() + 500))
    monkeypatch.setattr(state.time, "time", lambda: next(jumps))
    assert check_clock(locations(tmp_path)).verdict is Verdict.FAIL


def test_the_command_reports_and_exits_with_1_when_something_is_to_be_mended(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    secret = "hunter2-hunter2"
    environ = os.environ | {"DYN_DISCOVERY": f"etcd://root:{secret}@127.0.0.1:1", "HF_TOKEN": secret}

    def doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "dynamod", "doctor", "--state-dir", str(tmp_path / "state"), *arguments]
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)

    text = doctor()
    assert text.returncode == 1
    assert "fail  state directory" in text.stdout
    assert "fail  etcd" in text.stdout
    assert secret not in text.stdout + text.stderr
    told = doctor("--json")
    assert told.returncode == 1
    assert '"verdict": "fail"' in told.stdout
    assert secret not in told.stdout
