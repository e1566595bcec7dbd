from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dynamod.engine.clock import SteadyClock

HOUR = 3600.0


class Machine:
    """A machine's two clocks, which a test moves."""

    def __init__(self) -> None:
        self.wall, self.steady = 1_000_000.0, 50.0

    def pass_time(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds

    def clock(self) -> SteadyClock:
        return SteadyClock(lambda: self.wall, lambda: self.steady)


def test_it_is_wall_time_while_nobody_sets_the_clock() -> None:
    machine = Machine()
    clock = machine.clock()
    for _ in range(10):
        machine.pass_time(7.25)
        assert clock() == machine.wall


def test_a_clock_that_is_set_moves_no_deadline_at_once() -> None:
    for jump in (HOUR, -HOUR):
        machine = Machine()
        clock = machine.clock()
        before = clock()
        machine.wall += jump
        machine.pass_time(10.0)
        assert abs(clock() - (before + 10.0)) <= 0.5


def test_it_arrives_at_the_new_time() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall -= 60.0
    for _ in range(1300):
        machine.pass_time(1.0)
        clock()
    assert abs(clock() - machine.wall) < 1e-6


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(-2 * HOUR, 2 * HOUR))))
def test_it_never_goes_backwards(moves: list[tuple[float, float]]) -> None:
    machine = Machine()
    clock = machine.clock()
    last = clock()
    for seconds, jump in moves:
        machine.wall += jump
        machine.pass_time(seconds)
        now = clock()
        assert now >= last
        last = now
