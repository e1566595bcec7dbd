"""Exit codes, and the errors of the command line itself.

CliError
├── UserError        what was asked for cannot be: bad input, a target that does not load
├── WaitTimeout      the state waited for did not come in time
└── GraphFailed      the graph waited for cannot reach it
"""

from __future__ import annotations

from enum import IntEnum

from dynamo_tui.client.errors import ClientError, Conflict, NotFound, StreamLost, Unauthorised, Unreachable


class ExitCode(IntEnum):
    """What `dynamoctl` exits with; `docs/cli.md` has the same table."""

    OK = 0
    CHANGES = 1
    """`plan`: applying it would change something."""
    ERROR = 2
    """Wrong usage, wrong input, and every error without a code of its own; `plan`: any error."""
    NOT_FOUND = 3
    """There is no such graph, service, replica, revision or plan."""
    CONFLICT = 4
    """The world changed in between, or its state does not allow it."""
    UNREACHABLE = 5
    """No daemon answers."""
    TIMEOUT = 6
    """What was waited for did not happen in time."""
    DENIED = 7
    """No token, a wrong one, or one that may only read."""
    FAILED = 8
    """The graph that was waited for has failed."""
    INTERRUPTED = 130
    """Ctrl-C."""


class CliError(Exception):
    """The root. Reads as one line; `remedy` says what to do."""

    code = ExitCode.ERROR

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class UserError(CliError):
    """What was asked for cannot be."""


class WaitTimeout(CliError):
    """The state waited for did not come in time."""

    code = ExitCode.TIMEOUT


class GraphFailed(CliError):
    """The graph waited for cannot reach the state."""

    code = ExitCode.FAILED


def exit_code(error: ClientError | CliError) -> ExitCode:
    """The exit code that an error calls for."""
    if isinstance(error, CliError):
        return error.code
    if isinstance(error, NotFound):
        return ExitCode.NOT_FOUND
    if isinstance(error, Conflict):
        return ExitCode.CONFLICT
    if isinstance(error, (Unreachable, StreamLost)):
        return ExitCode.UNREACHABLE
    if isinstance(error, Unauthorised):
        return ExitCode.DENIED
    return ExitCode.ERROR


def one_line(error: ClientError | CliError) -> str:
    """The error as the user reads it: what failed, and what to do."""
    text = " ".join(str(error).split())
    return f"error: {text}; {error.remedy}" if error.remedy else f"error: {text}"
