"""BuildKit's trace, as an engine sent it, and damaged."""

from __future__ import annotations

import base64

from dynamod.builds.buildkit import Trace


def field(number: int, value: bytes | int) -> bytes:
    """A protobuf field of less than 128 bytes."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    return bytes([number << 3 | 2, len(value)]) + value


def vertex(digest: str, name: str, **more: int | bytes) -> bytes:
    numbers = {"cached": 4, "started": 5}
    rest = b"".join(field(numbers[key], value) for key, value in more.items())
    return field(1, field(1, digest.encode()) + field(3, name.encode()) + rest)


def log(text: str) -> bytes:
    return field(3, field(1, b"sha256:a") + field(3, 1) + field(4, text.encode()))


def read(*parts: bytes) -> tuple[list[str], list[str]]:
    steps: list[str] = []
    trace = Trace(steps.append)
    printed = [line for part in parts for line in trace.read(base64.b64encode(part).decode())]
    return steps, printed


def test_a_step_is_told_once_when_it_begins_and_what_it_prints() -> None:
    steps, printed = read(
        vertex("a", "[internal] load remote build context", started=b""),
        vertex("b", "[1/2] RUN x"),
        vertex("b", "[1/2] RUN x", started=b"\x08\x01"),
        vertex("b", "[1/2] RUN x", started=b"\x08\x01") + log("one\n\n two \n"),
        vertex("c", "[2/2] COPY y", cached=1),
    )
    assert steps == ["[1/2] RUN x", "one", "two", "[2/2] COPY y: known already"]
    assert printed == ["one", "two"]


def test_what_is_cut_off_or_unknown_does_no_harm() -> None:
    whole = vertex("b", "[1/2] RUN x", started=b"")
    for end in range(len(whole)):
        read(whole[:end])
    assert read(bytes([9 << 3 | 5]) + whole) == ([], [])
