"""The peer's environment: NVIDIA Dynamo shares our import names, so it lives in a virtual environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

VERSION = "1.6.1"
_PLACE = Path(__file__).parents[1] / ".venv-peer"


def peer_python(*, extra: tuple[str, ...] = ()) -> str:
    """An interpreter that imports `ai-dynamo-runtime`; made in `.venv-peer` unless PEER_PYTHON names one.

    `extra`: further requirements. Raises subprocess.CalledProcessError when the environment cannot be made.
    """
    if given := os.environ.get("PEER_PYTHON"):
        return given
    python = _PLACE / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(_PLACE)], check=True)
    wanted = [f"ai-dynamo-runtime=={VERSION}", *extra]
    stamp = _PLACE / ".installed"
    if not stamp.exists() or stamp.read_text() != "\n".join(wanted):
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *wanted], check=True)
        stamp.write_text("\n".join(wanted))
    return str(python)
