from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamo.sdk.spec import RestartSpec
from dynamod.core.restarts import judge
from dynamod.core.transitions import End, describe, exit_info
from dynamod.schema.states import Reason

KILL = int(signal.SIGKILL)


@pytest.mark.parametrize(
    ("end", "asked", "reason", "text"),
    [
        (End(code=0), False, Reason.EXITED_CLEANLY, "exited with code 0"),
        (End(code=3), False, Reason.EXITED_WITH_ERROR, "exited with code 3"),
        (End(signal=KILL), False, Reason.KILLED_BY_SIGNAL, "killed by SIGKILL"),
        (End(signal=11), False, Reason.KILLED_BY_SIGNAL, "killed by SIGSEGV"),
        (End(signal=KILL, oom_kills=1), False, Reason.OUT_OF_MEMORY, "killed by the kernel: out of memory"),
        (End(signal=KILL, oom_kills=1), True, Reason.KILLED_BY_SIGNAL, "killed by SIGKILL"),
        (End(signal=11, oom_kills=1), False, Reason.KILLED_BY_SIGNAL, "killed by SIGSEGV"),
        (End(signal=63), False, Reason.KILLED_BY_SIGNAL, "killed by signal 63"),
        (End(), False, Reason.EXIT_UNKNOWN, "ended, and left no exit code"),
    ],
)
def test_ends_are_told_apart(end: End, asked: bool, reason: Reason, text: str) -> None:
    info = exit_info(end, asked=asked, now=1.0)
    assert info.reason is reason
    assert info.oom_killed is (reason is Reason.OUT_OF_MEMORY)
    assert describe(info) == text


def test_the_time_of_an_end_is_the_records_own() -> None:
    at = exit_info(End(code=0, at=100.5), asked=False, now=200.0).at
    assert at is not None
    assert at.timestamp() == 100.5


POLICY = RestartSpec(attempts=4, window=60.0, delay=1.0, max_delay=5.0)


def test_the_delay_doubles_to_its_maximum_and_the_budget_ends() -> None:
    failures: tuple[float, ...] = ()
    ceilings = []
    for n in range(4):
        verdict = judge(POLICY, failures, float(n), 1.0)
        assert verdict.retry_at == n + verdict.delay
        ceilings.append(verdict.delay)
        failures = verdict.failures
    assert ceilings == [1.0, 2.0, 4.0, 5.0]
    assert judge(POLICY, failures, 4.0, 0.5).retry_at is None


def test_what_lies_before_the_window_is_forgiven() -> None:
    verdict = judge(POLICY, (0.0, 1.0, 2.0, 3.0), 100.0, 1.0)
    assert verdict.failures == (100.0,)
    assert verdict.delay == 1.0


@given(failures=st.lists(st.floats(0, 1000), max_size=50).map(lambda ts: tuple(sorted(ts))), chance=st.floats(0, 0.999))
def test_jitter_stays_between_half_and_all(failures: tuple[float, ...], chance: float) -> None:
    verdict = judge(POLICY, failures, 1000.0, chance)
    assert len(verdict.failures) <= len(failures) + 1
    if verdict.retry_at is not None:
        assert 0.5 <= verdict.delay <= POLICY.max_delay
        assert verdict.retry_at > 1000.0
    else:
        assert len(verdict.failures) > POLICY.attempts


def test_failures_in_the_future_do_not_count() -> None:
    assert judge(POLICY, (4000.0, 4001.0, 4002.0, 4003.0), 400.0, 1.0).failures == (400.0,)
