from __future__ import annotations

import dynamo_tui.client as client


def test_everything_it_promises_is_there() -> None:
    assert [name for name in client.__all__ if getattr(client, name, None) is None] == []
    assert client.__all__ == sorted(client.__all__, key=lambda n: (n[0].islower(), n))
