"""The dashboard ends with its terminal.

A terminal that goes away without SIGHUP (a dropped connection, a killed multiplexer) leaves a program that
reads nothing for ever, at the cost of a core. `poll` reports the hang-up without being asked for input.
"""

from __future__ import annotations

import os
import select
import sys
import threading

EXIT_CODE = 129
"""128 + SIGHUP, as a shell would report it."""


def leave_with_terminal() -> None:
    """End the process at once when its terminal hangs up: nobody is left to restore a screen for."""
    try:
        descriptor = sys.__stdin__.fileno() if sys.__stdin__ is not None else -1
    except ValueError:
        return
    if descriptor >= 0 and os.isatty(descriptor):
        threading.Thread(target=_wait, args=(descriptor,), name="hangup", daemon=True).start()


def _wait(descriptor: int) -> None:
    watcher = select.poll()
    watcher.register(descriptor, 0)  # hang-up and error are reported unasked
    while True:
        for _, event in watcher.poll():
            if event & (select.POLLHUP | select.POLLERR | select.POLLNVAL):
                os._exit(EXIT_CODE)
