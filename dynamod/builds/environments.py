"""Virtual environments of builds: made once, named by the lock file's digest, shared by all that have the same."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dynamod.builds import archive
from dynamod.builds.errors import LockFailed
from dynamod.builds.lock import find_uv

TIMEOUT_S = 1800.0
_DONE = ".complete"

Say = Callable[[str], None]


def name_of(extracted: Path, python_version: str) -> str:
    """The name of an extracted build's environment: its lock file, the SDK that it carries, and the Python version."""
    whole = hashlib.sha256(python_version.encode())
    for path in [extracted / archive.LOCK, *sorted((extracted / archive.WHEELS).glob("*.whl"))]:
        whole.update(path.read_bytes())
    return whole.hexdigest()[:32]


def interpreter_of(home: Path, name: str) -> Path:
    return home / name / "bin" / "python"


def ensure(home: Path, extracted: Path, python_version: str, say: Say, *, extra: Sequence[str] = ()) -> Path:
    """The interpreter of a build's environment, which is made if it is not there. Two makers wait for each other.

    Args:
        home: the directory of all environments.
        extra: further options of the installer, e.g. `--find-links DIR`.

    Raises:
        LockFailed: it cannot be made; nothing half-made is left.
    """
    name = name_of(extracted, python_version)
    place = home / name
    home.mkdir(parents=True, exist_ok=True)
    with _locked(home / f"{name}.lock"):
        if not (place / _DONE).is_file():
            say(f"making environment {name[:12]}")
            shutil.rmtree(place, ignore_errors=True)
            try:
                _make(place, extracted, python_version, say, extra)
            except BaseException:
                shutil.rmtree(place, ignore_errors=True)
                raise
            (place / _DONE).touch()
    return interpreter_of(home, name)


def _make(place: Path, extracted: Path, python_version: str, say: Say, extra: Sequence[str]) -> None:
    wheels = [str(path) for path in sorted((extracted / archive.WHEELS).glob("*.whl"))]
    lock, python = str(extracted / archive.LOCK), str(place / "bin" / "python")
    uv = find_uv()
    if uv is not None:
        _run([uv, "venv", "--quiet", "--python", _base_interpreter(python_version), str(place)])
        install = [uv, "pip", "install", "--quiet", "--python", python, "--compile-bytecode", *extra]
    else:
        _run([_base_interpreter(python_version), "-m", "venv", str(place)])
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *extra]
    say("installing the locked packages")
    _run([*install, "--require-hashes", "-r", lock])
    if wheels:
        _run([*install, "--no-deps", *wheels])


def _base_interpreter(python_version: str) -> str:
    """An interpreter of that version.

    Raises:
        LockFailed: there is none here.
    """
    if python_version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return str(Path(sys.base_prefix) / "bin" / "python3") if os.name == "posix" else sys.executable
    if found := shutil.which(f"python{python_version}"):
        return found
    raise LockFailed(
        f"this build needs Python {python_version}, and there is none here",
        field="python_version",
        remedy=f"install python{python_version}, or build again with the version that is here",
    )


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise LockFailed(f"{Path(command[0]).name} did not end within {TIMEOUT_S:.0f} s") from None
    except OSError as error:
        raise LockFailed(f"cannot run {command[0]}: {error.strerror}") from None
    if done.returncode != 0:
        raise LockFailed(f"the environment cannot be made: {' '.join(done.stderr.split())[-600:]}")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
