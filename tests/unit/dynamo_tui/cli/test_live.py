from __future__ import annotations

import io

from rich.console import Console

from dynamo_tui.cli.live import LiveProgress
from dynamod.schema.states import GraphState, Reason, ReplicaState
from tests.unit.dynamo_tui import sample


def test_a_terminal_sees_which_services_are_ready_and_what_the_others_do() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None)
    waiting = sample.replica(
        "m", service="Middle", state=ReplicaState.STARTING, reason=Reason.STARTING_UP, progress="weights 3/8"
    )
    with LiveProgress(console) as progress:
        progress.graph(sample.graph(state=GraphState.DEPLOYING), [waiting])
    text = screen.getvalue()
    assert "hello: deploying" in text
    assert "✓ Frontend: 1/1 ready" in text
    assert "… Middle: 1/2 ready; starting (starting_up) weights 3/8" in text
