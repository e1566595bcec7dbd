"""Items as the bindings handed them out: wrapped, with the payload behind `data()`."""

from __future__ import annotations

from typing import Any

from dynamo.runtime.response import ResponseStream


class Annotated:
    """One item of an answer. Only `data` carries something here: failures are raised, not annotated."""

    __slots__ = ("_data",)

    def __init__(self, data: Any) -> None:
        self._data = data

    def data(self) -> Any:
        """The item itself."""
        return self._data

    def event(self) -> str | None:
        return None

    def comments(self) -> list[str]:
        return []

    def id(self) -> str | None:
        return None

    def is_error(self) -> bool:
        return False

    def __repr__(self) -> str:
        return f"Annotated(data={self._data!r})"


class AnnotatedStream:
    """A `ResponseStream` whose items are `Annotated`."""

    def __init__(self, stream: ResponseStream) -> None:
        self._stream = stream

    @property
    def instance_id(self) -> int:
        return self._stream.instance_id

    def __aiter__(self) -> AnnotatedStream:
        return self

    async def __anext__(self) -> Annotated:
        return Annotated(await self._stream.__anext__())

    async def one(self) -> Annotated:
        return Annotated(await self._stream.one())

    def cancel(self) -> None:
        self._stream.cancel()

    async def aclose(self) -> None:
        self._stream.cancel()
