"""The shim: one tiny process per local replica, which outlives the daemon.

    python -I -S -c <BOOT> <root> <replica dir> <run> [tied] [cgroup=<group of the run> home=<group of the shim>]

It owns the replica's log (see `logfile`), and leaves on disk who runs and how it ended, so that a daemon
that comes back can tell. In the replica directory:

    lock            held (flock) while a shim lives: there is never a second copy of a replica
    launch-<run>    read once: working directory and argument vector, NUL-separated; the shim runs nothing
                    without it, so whoever deletes it under the lock knows that this run will never start
    run-<run>.json  identity: pids, their start times in clock ticks (/proc/<pid>/stat), the boot id
    exit-<run>.json how the main process ended

Both records are written to a temporary name and renamed; the room for the second is taken at the start, so that a
disk that fills meanwhile loses no exit code, and a replica whose start cannot be recorded is ended. The replica gets
the shim's own environment, /dev/null as stdin, one pipe as stdout and stderr, and a process group of its own, whose
leftovers are killed when the main process ends; with `cgroup`, it is born in that control group (see `cgroups`), and
whatever is left in there is killed too, whichever process group it has moved to. Signals to the shim: the first TERM
or INT is passed on to the main process as TERM (a second would cut its drain short), USR2 kills both groups. File
descriptor 3, if open, is a pipe that gets one line: `ok` once the run record is there, or what went wrong. With
`tied`, descriptor 4 is a pipe whose other end the engine holds: when that is gone (a `serve` that was killed), the
replica is told to end, and killed if it does not within ORPHAN_SECONDS.

Standard library only, few modules of it, and no polling: it sleeps in poll(2) until there is output or a signal.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import sys
import time

from dynamod.drivers.logfile import log_dir
from dynamod.drivers.logwriter import LogWriter

BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from dynamod.drivers.shim import main; main()"
NOTIFY_FD = 3
LIFE_FD = 4
TIED = "tied"
CGROUP = "cgroup="
HOME = "home="
ORPHAN_SECONDS = 10.0

EXIT_BUSY = 75  # another shim holds this replica
EXIT_CANCELLED = 76  # the launch file is gone
CODE_NOT_FOUND = 127  # as shells say it
CODE_NOT_EXECUTABLE = 126

_READ_BYTES = 65536
_PIPE_BYTES = 1024 * 1024
_BUSY_SECONDS = 0.002
_COALESCE_SECONDS = 0.005
_DRAIN_SECONDS = 2.0
_LEAVE_TRIES = 100
_LEAVE_SECONDS = 0.01
_RECORD_BYTES = 256
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2, signal.SIGCHLD)


def main() -> None:
    """Run one replica once; ends with 0 when an exit record was left."""
    replica_dir, run, options = sys.argv[2], int(sys.argv[3]), sys.argv[4:]
    tied = TIED in options
    if tied:
        os.set_inheritable(LIFE_FD, False)
    try:
        os.setsid()
    except PermissionError:
        pass  # already a session leader
    lock = os.open(f"{replica_dir}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _notify("busy: another copy of this replica runs")
        sys.exit(EXIT_BUSY)
    try:
        with open(f"{replica_dir}/launch-{run}", "rb") as file:
            directory, *argv = file.read().split(b"\0")
    except FileNotFoundError:
        _notify("cancelled: the launch file is gone")
        sys.exit(EXIT_CANCELLED)
    _run(replica_dir, run, directory, argv, _option(options, CGROUP), _option(options, HOME), tied)


def _option(options: list[str], name: str) -> str:
    return next((option[len(name) :] for option in options if option.startswith(name)), "")


def _run(replica_dir: str, run: int, directory: bytes, argv: list[bytes], group: str, home: str, tied: bool) -> None:
    wake, wake_in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(wake_in, warn_on_full_buffer=False)
    for number in _SIGNALS:
        signal.signal(number, lambda *_: None)
    output, output_in = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(output, False)
    try:
        fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError:
        pass  # over the user's limit: the default size will do
    log = LogWriter(log_dir(replica_dir))
    kills_before = _oom_kills(group)
    try:
        if directory:
            os.chdir(directory)
        pid = _spawn(argv, output_in, group, home)
    except OSError as error:
        code = CODE_NOT_FOUND if isinstance(error, FileNotFoundError) else CODE_NOT_EXECUTABLE
        text = f"cannot start {os.fsdecode(argv[0])} in {os.fsdecode(directory)}: {error.strerror}"
        log.write(f"{text}\n".encode())
        log.close()
        _record(f"{replica_dir}/exit-{run}.json", f'"code": {code}, "signal": 0, "spawned": false, "oom_kills": 0')
        _notify(text)
        return
    os.close(output_in)
    try:
        _reserve(f"{replica_dir}/exit-{run}.json")
        _record(f"{replica_dir}/run-{run}.json", _identity(run, pid, group, log.next_line))
        os.unlink(f"{replica_dir}/launch-{run}")
    except OSError as error:  # nobody could ever prove what runs here, so nothing does
        _kill_all(pid, group)
        os.waitpid(pid, 0)
        _notify(f"cannot record what runs in {replica_dir}: {error.strerror}")
        return
    _notify("ok")
    _follow(pid, output, wake, log, group, tied)
    _kill_all(pid, group)
    _, status = os.waitpid(pid, 0)
    _drain(output, log)
    log.finish()
    log.close()
    code = os.waitstatus_to_exitcode(status)
    _record(
        f"{replica_dir}/exit-{run}.json",
        f'"code": {code if code >= 0 else "null"}, "signal": {max(-code, 0)}, "spawned": true, '
        f'"oom_kills": {max(_oom_kills(group) - kills_before, 0)}',
    )
    _remove(group)


def _spawn(argv: list[bytes], output: int, group: str, home: str) -> int:
    """Start the replica. A child is born in its parent's control group: the shim goes there for as long as it takes."""
    if not group:
        return _spawn_here(argv, output)
    _enter(group)
    try:
        pid = _spawn_here(argv, output)
    except OSError:
        _enter(home)
        raise
    try:
        _enter(home)
    except OSError:
        os.kill(pid, signal.SIGKILL)  # it would be counted, and killed, together with us
        os.waitpid(pid, 0)
        raise
    return pid


def _enter(group: str) -> None:
    with open(f"{group}/cgroup.procs", "w") as file:
        file.write("0")


def _spawn_here(argv: list[bytes], output: int) -> int:
    null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]
    try:
        return os.posix_spawnp(
            argv[0],
            argv,
            os.environ,
            file_actions=actions,
            setpgroup=0,
            setsigmask=(),
            setsigdef=(signal.SIGPIPE, signal.SIGXFSZ, *_SIGNALS),
        )
    finally:
        os.close(null)


def _follow(pid: int, output: int, wake: int, log: LogWriter, group: str, tied: bool) -> None:
    """Store output and pass signals on until the main process has ended (it is left unreaped: its group stays ours)."""
    poll = select.poll()
    poll.register(wake, select.POLLIN)
    poll.register(output, select.POLLIN)
    if tied:
        poll.register(LIFE_FD, 0)  # a hang-up is reported unasked
    last_read = 0.0
    told = False
    orphaned = None
    while True:
        ready = poll.poll(None if orphaned is None else max(0.0, orphaned - time.monotonic()) * 1000)
        if orphaned is not None and not ready:
            _kill_all(pid, group)
            orphaned = None
        for fd, _ in ready:
            if fd == LIFE_FD:
                poll.unregister(LIFE_FD)
                orphaned = time.monotonic() + ORPHAN_SECONDS
                if not told:
                    os.kill(pid, signal.SIGTERM)
                    told = True
                continue
            if fd == wake:
                numbers = os.read(wake, 512)
                if signal.SIGUSR2 in numbers:
                    _kill_all(pid, group)
                if not told and (signal.SIGTERM in numbers or signal.SIGINT in numbers):
                    os.kill(pid, signal.SIGTERM)
                    told = True
                if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                    return
                continue
            now = time.monotonic()
            if now - last_read < _BUSY_SECONDS:
                time.sleep(_COALESCE_SECONDS)  # a talkative replica: fewer, larger chunks
            last_read = time.monotonic()
            if not _read(output, log):
                poll.unregister(output)  # closed by the replica, which may live on


def _read(output: int, log: LogWriter) -> bool:
    """Move what the pipe holds to the log; False at its end."""
    for _ in range(32):
        try:
            data = os.read(output, _READ_BYTES)
        except BlockingIOError:
            return True
        if not data:
            return False
        log.write(data)
    return True


def _drain(output: int, log: LogWriter) -> None:
    """Take the last words. A descendant that left the group may keep the pipe open: it is not waited for."""
    poll = select.poll()
    poll.register(output, select.POLLIN)
    deadline = time.monotonic() + _DRAIN_SECONDS
    while time.monotonic() < deadline and poll.poll(0) and _read(output, log):
        pass


def _kill_all(pid: int, group: str) -> None:
    """Kill the process group and everything in the control group."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    if group:
        try:
            with open(f"{group}/cgroup.kill", "w") as file:
                file.write("1")
        except OSError:
            pass  # a kernel before 5.14, or the group is gone: the engine looks for what is left


def _remove(group: str) -> None:
    """Remove the control group as soon as those that were killed have left it, and the engine's when it was the last:
    there may be no engine any more to do it."""
    for _ in range(_LEAVE_TRIES if group else 0):
        try:
            os.rmdir(group)
            os.rmdir(os.path.dirname(group))
        except OSError:
            if os.path.isdir(group):
                time.sleep(_LEAVE_SECONDS)
                continue
        return


def _identity(run: int, pid: int, group: str, line: int) -> str:
    return (
        f'"run": {run}, "line": {line}, "shim_pid": {os.getpid()}, "shim_start": {_start_time(os.getpid())}, '
        f'"pid": {pid}, "start": {_start_time(pid)}, "boot_id": "{_boot_id()}", '
        f'"cgroup": {_quoted(group)}'
    )


def _quoted(text: str) -> str:
    """As JSON; the json module would double what a shim takes."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _start_time(pid: int) -> int:
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])


def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def _oom_kills(group: str) -> int:
    """The kernel's count of out-of-memory kills, in the narrowest place that has one: the run's own group, the one that
    we are in, the machine."""
    places = ["/proc/vmstat"]
    try:
        with open("/proc/self/cgroup") as file:
            ours = next((line[3:].strip() for line in file if line.startswith("0::")), "/")
        places = [f"/sys/fs/cgroup{ours}/memory.events", *places]
    except OSError:
        pass
    for path in ([f"{group}/memory.events"] if group else []) + places:
        try:
            with open(path) as file:
                return next((int(line.split()[1]) for line in file if line.split()[0] == "oom_kill"), 0)
        except OSError:
            continue
    return 0


def _record(path: str, fields: str) -> None:
    """Written over what `_reserve` has left, if it has: blanks may follow a record."""
    _put(f"{path}.tmp", f'{{{fields}, "at": {time.time():.6f}}}\n'.encode())
    os.rename(f"{path}.tmp", path)


def _reserve(path: str) -> None:
    """Take the room of a record while there is some: the disk may be full when it is to be written."""
    _put(f"{path}.tmp", b" " * _RECORD_BYTES)


def _put(path: str, data: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.write(file, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(file)


def _notify(text: str) -> None:
    try:
        os.write(NOTIFY_FD, f"{text}\n".encode())
        os.close(NOTIFY_FD)
    except OSError:
        pass  # nobody listens: started by hand, or the daemon is gone
