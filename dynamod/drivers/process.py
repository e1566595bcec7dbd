"""The process driver: replicas as processes of this machine, each under a shim (see `shim`)."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import select
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import dynamod
from dynamod.drivers import cgroups, shim
from dynamod.drivers.base import Ended, Launch, LaunchError, NeverStarted, Observed, Obstacle, OnEnd, Running, Unproved
from dynamod.drivers.cgroups import NO_CGROUPS, Cgroups
from dynamod.drivers.identity import RunRecord, kill_descendants, open_process, read_exit, read_run
from dynamod.schema.locations import Locations
from dynamod.schema.states import Reason
from dynamod.tasks import OwnedTasks

log = logging.getLogger(__name__)

SPAWN_TIMEOUT = 60.0
"""Seconds for a shim to report: it takes milliseconds, but a machine may be very busy."""

ORPHAN_GRACE = 5.0
"""Seconds that a replica whose shim was killed gets to end: nobody stores its output any more."""

REMOVED = ".removed-"
"""How the directory of a replica that is being forgotten begins."""

_LIBRARY = str(Path(dynamod.__file__).parent.parent)


@dataclass
class _Watched:
    """A shim that runs: its pidfd, and the main process of its replica."""

    run: int
    shim_pid: int
    fd: int
    pid: int


class ProcessDriver:
    name = "process"

    def __init__(self, where: Locations, on_end: OnEnd, *, tied: bool = False, groups: Cgroups = NO_CGROUPS) -> None:
        """`tied`: replicas end with this process, however it ends (an engine in the foreground)."""
        self._where = where
        self._groups = groups
        self._on_end = on_end
        self._life = os.pipe2(os.O_CLOEXEC) if tied else None
        self._watched: dict[str, _Watched] = {}
        self._tasks = OwnedTasks()

    @property
    def watched(self) -> int:
        """How many runs are proved to go on, and watched."""
        return len(self._watched)

    async def start(self, launch: Launch) -> Running:
        notice_out, notice_in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            try:
                shim_pid, lacking = await asyncio.to_thread(self._spawn, launch, notice_in)
            finally:
                os.close(notice_in)
            notice = await _first_line(notice_out)
        except OSError as error:
            text = f"cannot start replica {launch.replica_id}: {error.strerror or error}"
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise Obstacle(text, Reason.DISK_FULL) from None
            raise LaunchError(text) from None
        finally:
            os.close(notice_out)
        directory = self._where.replica_dir(launch.replica_id)
        record = read_run(directory, launch.run)
        if notice != "ok" or record is None:
            await self._abandon(shim_pid, directory, launch.run)
            raise LaunchError(notice or "its shim ended before it had started the replica")
        self._watch(launch.replica_id, launch.run, shim_pid, os.pidfd_open(shim_pid), record.pid)
        return Running(run=launch.run, pid=record.pid, lacking=lacking)

    async def recover(self, replica_id: str, run: int) -> Observed:
        observed = await asyncio.to_thread(self._prove, replica_id, run)
        if observed is None:
            observed = await self._recover_running(replica_id, run)
        if isinstance(observed, Ended):
            await asyncio.to_thread(self._clear, replica_id, run)
        return observed

    async def execute(self, launch: Launch, argv: Sequence[str]) -> tuple[int, bytes]:
        process = await asyncio.create_subprocess_exec(
            *argv,
            cwd=launch.directory or None,
            env=launch.env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await process.communicate()
        except BaseException:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
        return process.returncode or 0, output

    def host_of(self, _replica_id: str) -> str:
        return "127.0.0.1"

    def first_line(self, replica_id: str, run: int) -> int | None:
        """Where a run's output begins in its replica's log; None as long as its shim has not said so."""
        record = read_run(self._where.replica_dir(replica_id), run)
        return None if record is None else record.line

    def doubt(self, _replica_id: str) -> str:
        return ""

    def terminate(self, replica_id: str) -> None:
        self._signal(replica_id, signal.SIGTERM)

    def kill(self, replica_id: str) -> None:
        self._signal(replica_id, signal.SIGUSR2)

    async def remove(self, replica_id: str, *, keep_output: bool = False) -> None:
        """Under another name first: whoever is killed in the middle leaves no half of a replica's records."""
        if keep_output:
            return  # there is nothing but records beside it, which go with it
        directory = self._where.replica_dir(replica_id)
        removed = directory.with_name(f"{REMOVED}{replica_id}")
        with suppress(OSError):
            directory.rename(removed)
        await asyncio.to_thread(shutil.rmtree, removed, ignore_errors=True)

    async def close(self) -> None:
        for watched in self._watched.values():
            asyncio.get_running_loop().remove_reader(watched.fd)
            os.close(watched.fd)
        self._watched.clear()
        await self._tasks.close()
        for end in self._life or ():
            os.close(end)
        self._life = None
        await asyncio.to_thread(self._groups.tidy)

    def _spawn(self, launch: Launch, notice: int) -> tuple[int, str]:
        """The pid of the shim, and which limits are not kept."""
        directory = self._where.replica_dir(launch.replica_id)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        words = [launch.directory, *launch.argv]
        (directory / f"launch-{launch.run}").write_bytes(b"\0".join(os.fsencode(word) for word in words))
        errors = os.open(directory / "shim.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        command = [sys.executable, "-I", "-S", "-c", shim.BOOT, _LIBRARY, str(directory), str(launch.run)]
        files = [(notice, shim.NOTIFY_FD), (null, 0), (null, 1), (errors, 2)]
        if self._life is not None:
            command.append(shim.TIED)
            files.append((self._life[0], shim.LIFE_FD))
        group, lacking = self._groups.make(launch.replica_id, launch.run, launch.limits)
        if group is not None:
            command += [f"{shim.CGROUP}{group}", f"{shim.HOME}{self._groups.home}"]
        try:
            pid = os.posix_spawn(
                sys.executable,
                command,
                launch.env,
                file_actions=[(os.POSIX_SPAWN_DUP2, ours, theirs) for ours, theirs in files],
                setsigmask=(),
            )
            return pid, lacking
        finally:
            os.close(errors)
            os.close(null)

    def _prove(self, replica_id: str, run: int) -> Observed | None:
        """What the records prove about a run that nobody watches; None when its shim runs."""
        directory = self._where.replica_dir(replica_id)
        if (ended := _ended(directory, run)) is not None:
            return ended
        if (record := read_run(directory, run)) is not None:
            fd = open_process(record.shim_pid, record.shim_start, record.boot_id)
            if fd is None:
                ended = _ended(directory, run)  # it may have written its last record between the two looks
                return ended if ended is not None else self._without_shim(directory, run)
            os.close(fd)
            return None
        return _cancel_launch(directory, run)

    def _without_shim(self, directory: Path, run: int) -> Observed:
        """The shim is dead and left no exit record. Its replica is killed, if it lives, before it counts as ended."""
        record = read_run(directory, run)
        if record is None:
            return NeverStarted(run)
        fd = open_process(record.pid, record.start, record.boot_id)
        if fd is None:
            return Ended(run=run, detail="its shim was killed and left no exit record")
        try:
            signal.pidfd_send_signal(fd, signal.SIGTERM)
            if not _wait(fd, ORPHAN_GRACE):
                _kill(record)
            if not _wait(fd, ORPHAN_GRACE):
                return Unproved(run, f"process {record.pid} does not end, even when killed")
        finally:
            os.close(fd)
        return Ended(run=run, detail="its shim was killed; it was ended because nobody stored its output")

    async def _recover_running(self, replica_id: str, run: int) -> Observed:
        directory = self._where.replica_dir(replica_id)
        record = read_run(directory, run)
        fd = open_process(record.shim_pid, record.shim_start, record.boot_id) if record else None
        if record is None or fd is None:
            ended = _ended(directory, run)
            return ended if ended is not None else await asyncio.to_thread(self._without_shim, directory, run)
        self._watch(replica_id, run, record.shim_pid, fd, record.pid)
        return Running(run=run, pid=record.pid)

    def _watch(self, replica_id: str, run: int, shim_pid: int, fd: int, pid: int) -> None:
        self._watched[replica_id] = _Watched(run, shim_pid, fd, pid)
        asyncio.get_running_loop().add_reader(fd, self._shim_ended, replica_id)

    def _shim_ended(self, replica_id: str) -> None:
        watched = self._watched.pop(replica_id)
        asyncio.get_running_loop().remove_reader(watched.fd)
        os.close(watched.fd)
        _reap(watched.shim_pid)
        self._tasks.start(self._finish(replica_id, watched.run), f"finish {replica_id}")

    async def _finish(self, replica_id: str, run: int) -> None:
        """Tell of an end once nothing of the run is left: no process whose shim was killed, and no descendant."""
        directory = self._where.replica_dir(replica_id)
        observed: Observed | None = await asyncio.to_thread(_ended, directory, run)
        while observed is None or isinstance(observed, Unproved):
            observed = await asyncio.to_thread(self._without_shim, directory, run)
            if isinstance(observed, Unproved):
                log.warning("replica %s: %s", replica_id, observed.detail)
        await asyncio.to_thread(self._clear, replica_id, run)
        self._on_end(replica_id, observed if isinstance(observed, Ended) else Ended(run=run))

    def _clear(self, replica_id: str, run: int) -> None:
        """Leave nothing of a run that has ended: its control group, or what left its process group."""
        record = read_run(self._where.replica_dir(replica_id), run)
        if record is None or not record.cgroup:
            kill_descendants(replica_id)
        elif not cgroups.remove(Path(record.cgroup)):
            log.warning("replica %s: processes of it in %s do not end", replica_id, record.cgroup)

    async def _abandon(self, shim_pid: int, directory: Path, run: int) -> None:
        """End a shim that did not start its replica."""
        (directory / f"launch-{run}").unlink(missing_ok=True)
        with suppress(ProcessLookupError):
            os.kill(shim_pid, signal.SIGUSR2)
            fd = os.pidfd_open(shim_pid)
            try:
                if not await asyncio.to_thread(_wait, fd, ORPHAN_GRACE):
                    os.kill(shim_pid, signal.SIGKILL)
                    await asyncio.to_thread(_wait, fd, ORPHAN_GRACE)
            finally:
                os.close(fd)
        _reap(shim_pid)

    def _signal(self, replica_id: str, number: signal.Signals) -> None:
        if watched := self._watched.get(replica_id):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(watched.fd, number)


def _kill(record: RunRecord) -> None:
    """Kill a replica whose shim is gone."""
    with suppress(ProcessLookupError):
        os.killpg(record.pid, signal.SIGKILL)
    if record.cgroup:
        with suppress(OSError):
            cgroups.kill(Path(record.cgroup))


def _ended(directory: Path, run: int) -> Ended | None:
    record = read_exit(directory, run)
    if record is None:
        return None
    return Ended(
        run=run,
        code=record.code,
        signal=record.signal or None,
        oom_kills=record.oom_kills,
        at=record.at,
        spawned=record.spawned,
    )


def _cancel_launch(directory: Path, run: int) -> Observed | None:
    """Make sure that a launch without any record cannot happen any more; None when a shim is just doing it."""
    if not directory.is_dir():
        return NeverStarted(run)
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (directory / f"launch-{run}").unlink(missing_ok=True)
    except BlockingIOError:
        return Unproved(run, "a shim holds its lock and has not said yet what it runs")
    finally:
        os.close(lock)
    return NeverStarted(run)


def _wait(fd: int, seconds: float) -> bool:
    """Wait for a pidfd; whether the process ended in time."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _resolve(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


async def _first_line(fd: int) -> str:
    """What a shim says of its start; empty when it ended without a word or took too long."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    loop.add_reader(fd, _resolve, done)
    try:
        async with asyncio.timeout(SPAWN_TIMEOUT):
            await done
        return os.read(fd, 4096).decode(errors="replace").strip()
    except TimeoutError:
        return f"its shim did not start it within {SPAWN_TIMEOUT:.0f} s"
    finally:
        loop.remove_reader(fd)
