"""A replica's state machine, as pure functions: record and observation in, record out.

    pending ── launched ──► starting ── ready ──► ready ◄──► unready
       ▲                       │                    │           │
       │                       └───── doomed ───► stopping ◄────┘
       │                                             │
       └──── ended, within the restart budget ◄──────┴──► exited (asked for) · failed (budget spent)

`lost` stands beside them: a run that can neither be reached nor be proved dead. Nothing is started in its place.
"""

from __future__ import annotations

import signal as signals
from dataclasses import dataclass
from datetime import UTC, datetime

from msgspec.structs import replace

from dynamo.sdk.spec import RestartSpec
from dynamod.core.records import Doom, ReplicaRecord, Then
from dynamod.core.restarts import CONFIGURATION_ERROR, judge, patience
from dynamod.schema.graphs import ExitInfo, GpuShare
from dynamod.schema.states import Reason, ReplicaState


@dataclass(frozen=True)
class End:
    """How a run ended, as far as anyone knows. `code` and `signal` are None when no record was left."""

    code: int | None = None
    signal: int | None = None
    oom_kills: int = 0
    at: float | None = None
    detail: str = ""


def launching(
    record: ReplicaRecord, gpus: tuple[GpuShare, ...], placement: tuple[str, ...], now: float
) -> ReplicaRecord:
    """It is about to be started. Written down before anything is done, so that a crash between leaves a trace."""
    return replace(
        record,
        state=ReplicaState.STARTING,
        reason=Reason.SCHEDULED,
        message="",
        progress="",
        probe="",
        run=record.run + 1,
        pid=None,
        container=None,
        address=None,
        gpus=gpus,
        placement=placement,
        next_retry_at=None,
        started_at=now,
        ready_at=None,
        updated_at=now,
    )


def launched(record: ReplicaRecord, pid: int | None, container: str | None, host: str, now: float) -> ReplicaRecord:
    """Its process runs. A status that was faster than this news is kept."""
    if record.state is not ReplicaState.STARTING or record.reason is not Reason.SCHEDULED:
        return replace(record, pid=pid, container=container, host=host, updated_at=now)
    return replace(record, reason=Reason.SPAWNED, pid=pid, container=container, host=host, updated_at=now)


def adopted(record: ReplicaRecord, pid: int | None, container: str | None, now: float) -> ReplicaRecord:
    """A restarted engine has proved that it runs. Its state stays what it was; a lost one is found."""
    state = ReplicaState.UNREADY if record.state is ReplicaState.LOST else record.state
    if record.doom is not None:
        state = ReplicaState.STOPPING
    reason = record.reason if state is ReplicaState.STOPPING else Reason.ADOPTED
    return replace(record, state=state, reason=reason, message="", pid=pid, container=container, updated_at=now)


def lost(record: ReplicaRecord, reason: Reason, detail: str, now: float) -> ReplicaRecord:
    return replace(record, state=ReplicaState.LOST, reason=reason, message=detail, probe=detail, updated_at=now)


def progressed(record: ReplicaRecord, text: str, now: float) -> ReplicaRecord:
    if record.state is not ReplicaState.STARTING or text == record.progress:
        return record
    return replace(record, reason=Reason.STARTING_UP, progress=text, updated_at=now)


def became_ready(record: ReplicaRecord, text: str, now: float) -> ReplicaRecord:
    if record.state not in (ReplicaState.STARTING, ReplicaState.UNREADY):
        return record
    return replace(
        record,
        state=ReplicaState.READY,
        reason=Reason.PROBE_SUCCEEDED,
        message="",
        progress="",
        probe=text,
        ready_at=record.ready_at or now,
        updated_at=now,
    )


def became_unready(record: ReplicaRecord, reason: Reason, text: str, now: float) -> ReplicaRecord:
    """A ready replica's probe fails, or it is out of contact; one that is starting only has its probe text noted."""
    if record.state is ReplicaState.STARTING:
        return record if text == record.probe else replace(record, probe=text, updated_at=now)
    if record.state not in (ReplicaState.READY, ReplicaState.UNREADY):
        return record
    if record.state is ReplicaState.UNREADY and (record.reason, record.message) == (reason, text):
        return record
    return replace(
        record, state=ReplicaState.UNREADY, reason=reason, message=text, probe=text or record.probe, updated_at=now
    )


def doomed(record: ReplicaRecord, doom: Doom, now: float) -> ReplicaRecord:
    """It is to end. Without a process it has ended already; of two dooms the later word on what follows counts."""
    if record.state.holds_process:
        if record.doom is not None:
            doom = replace(doom, deadline=min(doom.deadline, record.doom.deadline), killed=record.doom.killed)
        state = record.state if record.state is ReplicaState.LOST else ReplicaState.STOPPING
        return replace(record, state=state, reason=doom.reason, message=doom.message, doom=doom, updated_at=now)
    return _after_doom(replace(record, doom=doom), doom, record.last_exit, now)


def kill_sent(record: ReplicaRecord, now: float) -> ReplicaRecord:
    doom = record.doom and replace(record.doom, killed=True)
    message = "it did not end within its drain timeout and is killed"
    return replace(record, doom=doom, message=message, updated_at=now)


def revived(record: ReplicaRecord, reason: Reason, revision: int, now: float) -> ReplicaRecord:
    """An ended replica is wanted again, with a fresh budget."""
    return replace(
        record,
        state=ReplicaState.PENDING,
        reason=reason,
        message="",
        revision=revision,
        failures=(),
        next_retry_at=None,
        updated_at=now,
    )


def ended(record: ReplicaRecord, end: End, policy: RestartSpec, now: float, chance: float) -> ReplicaRecord:
    """Its run is over. `chance` in [0, 1) jitters the next start."""
    info = exit_info(end, asked=record.doom is not None, now=now)
    gone = replace(record, pid=None, container=None, address=None, progress="", updated_at=now)
    doom = record.doom
    if doom is not None and doom.then is not Then.RETRY:
        return _after_doom(gone, doom, info, now)
    reason = doom.reason if doom is not None else info.reason or Reason.EXIT_UNKNOWN
    text = doom.message if doom is not None and doom.message else describe(info, end.detail)
    if doom is None and info.code == CONFIGURATION_ERROR:
        message = f"{text}: a configuration error, which a restart does not mend"
        return replace(gone, state=ReplicaState.FAILED, reason=reason, message=message, last_exit=info, failures=(now,))
    return _retry(replace(gone, doom=None, last_exit=info), policy, text, now, chance)


def launch_failed(record: ReplicaRecord, text: str, policy: RestartSpec, now: float, chance: float) -> ReplicaRecord:
    """It could not even be started; a doom that arrived meanwhile is fulfilled."""
    info = ExitInfo(at=_moment(now), reason=Reason.SPAWN_FAILED)
    if record.doom is not None and record.doom.then is not Then.RETRY:
        return _after_doom(record, record.doom, info, now)
    return _retry(replace(record, pid=None, doom=None, last_exit=info, updated_at=now), policy, text, now, chance)


def obstructed(record: ReplicaRecord, reason: Reason, text: str, now: float, chance: float) -> ReplicaRecord:
    """It could not be started because of something that is none of its doing, and may go: it is tried again until it
    has, at growing intervals, and nothing of it counts against the restart budget."""
    doom, last = record.doom, record.last_exit
    info = last if last is not None and last.reason is reason else ExitInfo(at=_moment(now), reason=reason)
    if doom is not None:
        return _after_doom(record, doom, info, now)
    since = info.at.timestamp() if info.at is not None else now
    delay = patience(now - since, chance)
    return replace(
        record,
        state=ReplicaState.PENDING,
        reason=reason,
        message=f"{text}; tried again in {delay:.0f} s",
        pid=None,
        last_exit=info,
        next_retry_at=now + delay,
        updated_at=now,
    )


def _retry(record: ReplicaRecord, policy: RestartSpec, text: str, now: float, chance: float) -> ReplicaRecord:
    verdict = judge(policy, record.failures, now, chance)
    if verdict.retry_at is None:
        message = f"{text}; {policy.attempts} restarts within {policy.window:g} s did not help"
        state, reason = ReplicaState.FAILED, Reason.RESTART_BUDGET_SPENT
    else:
        message = f"{text}; restart {len(verdict.failures)} of {policy.attempts} in {verdict.delay:.1f} s"
        state, reason = ReplicaState.PENDING, Reason.BACKING_OFF
    return replace(
        record,
        state=state,
        reason=reason,
        message=message,
        failures=verdict.failures,
        next_retry_at=verdict.retry_at,
        updated_at=now,
    )


def _after_doom(record: ReplicaRecord, doom: Doom, info: ExitInfo | None, now: float) -> ReplicaRecord:
    if doom.then in (Then.RESTART, Then.RETRY):
        again = revived(record, doom.reason, record.revision, now)
        return replace(again, doom=None, last_exit=info, message=doom.message)
    keep = doom if doom.then is Then.REMOVE else None  # tells that its row is to go
    return replace(
        record,
        state=ReplicaState.EXITED,
        reason=doom.reason,
        message=doom.message,
        doom=keep,
        last_exit=info,
        next_retry_at=None,
        updated_at=now,
    )


def exit_info(end: End, *, asked: bool, now: float) -> ExitInfo:
    """Exit code, signal and out-of-memory kill told apart. A kill that we did not send, while the kernel counted an
    out-of-memory kill in the replica's group, was the kernel's."""
    name = signals.Signals(end.signal).name if end.signal in {s.value for s in signals.Signals} else None
    if end.signal is not None and name is None:
        name = f"signal {end.signal}"
    oom = not asked and end.signal == signals.SIGKILL and end.oom_kills > 0
    if oom:
        reason = Reason.OUT_OF_MEMORY
    elif end.signal is not None:
        reason = Reason.KILLED_BY_SIGNAL
    elif end.code is None:
        reason = Reason.EXIT_UNKNOWN
    else:
        reason = Reason.EXITED_CLEANLY if end.code == 0 else Reason.EXITED_WITH_ERROR
    return ExitInfo(
        code=end.code, signal=name, oom_killed=oom, at=_moment(now if end.at is None else end.at), reason=reason
    )


def describe(info: ExitInfo, detail: str = "") -> str:
    """One line for people."""
    if info.oom_killed:
        return "killed by the kernel: out of memory"
    if info.signal is not None:
        return f"killed by {info.signal}"
    if info.code is None:
        return f"ended, and left no exit code: {detail}" if detail else "ended, and left no exit code"
    return f"exited with code {info.code}"


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
