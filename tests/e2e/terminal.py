"""A real terminal: a program in a tmux session of its own, its keys and its screen."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.commands import until

needs_tmux = pytest.mark.skipif(
    shutil.which("tmux") is None, reason="NOT TESTED: the dashboard in a real terminal needs tmux (apt install tmux)"
)


class Terminal:
    """One tmux server with one window. The window goes when its program ends."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def _tmux(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            ["tmux", "-S", str(self._socket), "-f", "/dev/null", *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert not check or done.returncode == 0, f"tmux {arguments}: {done.stderr}"
        return done.stdout

    def start(self, command: list[str], environ: Mapping[str, str], *, size: tuple[int, int]) -> None:
        """Run a command; its exit code is written beside the socket."""
        settings = [f"{k}={v}" for k, v in environ.items() if k not in ("TMUX", "TERM")]
        line = shlex.join(["env", "-i", *settings, "TERM=tmux-256color", *command])
        code = shlex.quote(str(self._socket.with_suffix(".code")))
        self._tmux(
            "new-session",
            "-d",
            "-x",
            str(size[0]),
            "-y",
            str(size[1]),
            f"{line}; echo $? > {code}.new; mv {code}.new {code}",
        )

    def press(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    @property
    def screen(self) -> str:
        return self._tmux("capture-pane", "-p", check=False)

    def shows(self, condition: str | Callable[[str], bool], *, timeout: float = 30.0) -> str:
        """Wait until a text, or what a function looks for, is on screen. Returns the screen."""
        seen = ""

        def there() -> bool:
            nonlocal seen
            seen = self.screen
            return condition in seen if isinstance(condition, str) else condition(seen)

        try:
            until(there, timeout=timeout, what=f"{condition!r} on screen")
        except AssertionError as error:
            raise AssertionError(f"{error}; it shows:\n{seen}") from None
        return seen

    def exit_code(self, *, timeout: float = 60.0) -> int:
        """Wait for the program to end."""
        path = self._socket.with_suffix(".code")
        until(path.exists, timeout=timeout, what="the end of the program")
        return int(path.read_text())

    def close(self) -> None:
        self._tmux("kill-server", check=False)


@contextmanager
def terminal() -> Iterator[Terminal]:
    directory = Path(tempfile.mkdtemp(prefix="dyn-tty-"))
    one = Terminal(directory / "tmux")
    try:
        yield one
    finally:
        one.close()
        shutil.rmtree(directory, ignore_errors=True)


def dashboard_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "dynamo_tui.tui", *arguments]
