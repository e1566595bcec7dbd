"""A dashboard whose terminal has gone ends."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time

from dynamo_tui.tui.hangup import EXIT_CODE

PROGRAM = """
import sys, time
from dynamo_tui.tui.hangup import leave_with_terminal
leave_with_terminal()
print("ready", flush=True)
time.sleep(60)
"""


def test_a_terminal_without_sighup_still_ends_the_program() -> None:
    leader, follower = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=follower, stdout=subprocess.PIPE) as process:
        os.close(follower)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        os.close(leader)
        deadline = time.monotonic() + 20
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        assert process.wait() == EXIT_CODE
