"""Streamed HTTP answers: the media type, the framing, and an error event instead of a silent end.

- `Accept: text/event-stream`: server-sent events, one `data:` per item (text as it is, anything else as
  JSON); text that is framed as an event already passes untouched.
- otherwise text and bytes are sent as they come (`text/plain`), anything else as JSON lines
  (`application/x-ndjson`).

Format of events: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from dynamo.runtime.errors import RequestError

logger = logging.getLogger(__name__)

EVENT_STREAM = "text/event-stream"
PLAIN = "text/plain; charset=utf-8"
JSON_LINES = "application/x-ndjson"

_FIELDS = ("data:", "event:", "id:", "retry:", ":")


def _to_builtin(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(f"a {type(value).__qualname__} has no JSON form")
    return dump(mode="json")


encode_json = msgspec.json.Encoder(enc_hook=_to_builtin).encode


def error_fields(error: BaseException) -> dict[str, str]:
    """What an HTTP caller is told of an error."""
    kind = error.error_type if isinstance(error, RequestError) else type(error).__name__
    return {"type": kind, "message": str(error)}


def error_event(error: BaseException, media_type: str) -> bytes:
    """The last thing on a stream that failed, in the stream's own framing."""
    body = encode_json({"error": error_fields(error)})
    if media_type.startswith(JSON_LINES):
        return body + b"\n"
    return b"\n\nevent: error\ndata: " + body + b"\n\n" if media_type.startswith("text/") else b"\n" + body + b"\n"


def media_type_for(first: Any, accept: str, asked: str | None) -> str:
    """The media type of a stream, from what its author asked for, its reader accepts, and its first item."""
    if asked is not None:
        return asked
    if EVENT_STREAM in accept or (isinstance(first, str) and first.startswith(_FIELDS[:2])):
        return EVENT_STREAM
    return PLAIN if isinstance(first, str | bytes) or first is None else JSON_LINES


def framing(media_type: str) -> Callable[[Any], bytes]:
    """How an item becomes bytes on a stream of that type."""
    if media_type.startswith(EVENT_STREAM):
        return _event
    if media_type.startswith(JSON_LINES):
        return lambda item: encode_json(item) + b"\n"
    return _raw


def _raw(item: Any) -> bytes:
    if isinstance(item, str):
        return item.encode()
    return item if isinstance(item, bytes) else encode_json(item)


def _event(item: Any) -> bytes:
    if isinstance(item, bytes):
        item = item.decode(errors="replace")
    if not isinstance(item, str):
        return b"data: " + encode_json(item) + b"\n\n"
    if item.startswith(_FIELDS) and item.endswith("\n"):
        return item.encode()
    return "".join(f"data: {line}\n" for line in item.split("\n")).encode() + b"\n"


async def framed(first: Any, rest: AsyncIterator[Any], media_type: str) -> AsyncIterator[bytes]:
    """An item that is there already and all that follow, as bytes; ends with an error event if `rest` fails."""
    frame = framing(media_type)
    try:
        yield frame(first)
        async for item in rest:
            yield frame(item)
    except Exception as error:
        logger.warning("a streamed answer failed: %s: %s", type(error).__name__, error, exc_info=error)
        yield error_event(error, media_type)
    finally:
        await close(rest)


async def guarded(chunks: AsyncIterator[Any], media_type: str) -> AsyncIterator[Any]:
    """The chunks of an author's own `StreamingResponse`, with an error event if they fail."""
    try:
        async for chunk in chunks:
            yield chunk
    except Exception as error:
        logger.warning("a streamed answer failed: %s: %s", type(error).__name__, error, exc_info=error)
        yield error_event(error, media_type)
    finally:
        await close(chunks)


async def close(items: Any) -> None:
    """Tell a producer that nobody reads on, if it can be told."""
    aclose = getattr(items, "aclose", None)
    if aclose is not None:
        await aclose()
