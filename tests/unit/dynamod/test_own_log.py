from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dynamod.own_log import KEPT

PROGRAM = """
import logging, sys
from pathlib import Path
from dynamod.own_log import OwnLog
logging.basicConfig(level="INFO", handlers=[OwnLog(Path(sys.argv[1]), max_bytes=2000)])
for n in range(int(sys.argv[2])):
    logging.info("line %04d HF_TOKEN=hf_secret", n)
print("the end, on stdout", flush=True)
"""


def run(named: Path, written: Path, lines: int) -> None:
    with written.open("ab") as file:
        subprocess.run([sys.executable, "-c", PROGRAM, str(named), str(lines)], stdout=file, stderr=file, check=True)


def numbers(*paths: Path) -> list[int]:
    lines = "".join(path.read_text() for path in paths).splitlines()
    return [int(line.split("line ")[1][:4]) for line in lines if "line " in line]


def test_the_log_is_bounded_and_no_line_of_what_is_kept_is_lost(tmp_path: Path) -> None:
    log = tmp_path / "dynamod.log"
    run(log, log, 200)
    files = [tmp_path / f"dynamod.log.{number}" for number in range(KEPT, 0, -1)]
    assert sorted(tmp_path.iterdir()) == sorted([log, *files])
    assert all(2000 <= path.stat().st_size < 2200 for path in files)
    kept = numbers(*files, log)
    assert kept == list(range(kept[0], 200))
    assert log.read_text().endswith("the end, on stdout\n")
    assert "hf_secret" not in log.read_text()
    assert log.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("there", [True, False])
def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path, there: bool) -> None:
    if there:
        (tmp_path / "dynamod.log").touch()
    run(tmp_path / "dynamod.log", tmp_path / "journal", 100)
    assert numbers(tmp_path / "journal") == list(range(100))
    assert {path.name for path in tmp_path.iterdir()} == {"journal", *(["dynamod.log"] if there else [])}
    assert (tmp_path / "journal").stat().st_size > 4000
