"""Every parser that eats bytes which others have made: an example of its input, and the errors that it may raise."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from dynamo.llm.errors import RequestError
from dynamo.llm.kv.events import load_from_wire
from dynamo.llm.kv.options import RouterOptions
from dynamo.llm.kv.router import KvRouter
from dynamo.llm.kv.wire import MalformedChange, decode_changes
from dynamo.llm.openai.requests import ChatRequest, CompletionRequest, EmbeddingRequest
from dynamo.llm.openai.requests import decode as decode_openai
from dynamo.runtime.status import decode_instance, decode_status
from dynamo.runtime.transport import frames
from dynamo.runtime.transport.nats_carrier import CarrierError, unpack
from dynamo.runtime.transport.nats_carrier import pack as pack_nats
from dynamo.sdk.spec import SpecError
from dynamo.sdk.spec import decode as decode_spec
from dynamo.sdk.spec import encode as encode_spec
from dynamo_tui.client import calls, streams
from dynamo_tui.client.contexts import load_contexts
from dynamo_tui.client.errors import ApiError, ClientError
from dynamo_tui.client.exchange import read_answer
from dynamo_tui.client.recording import RecordingError, read_recording
from dynamo_tui.client.sse import EventParser
from dynamod.api.tokens import TokenFileError, hash_token, load_tokens
from dynamod.builds.archive import Archive
from dynamod.builds.errors import BadArchive
from dynamod.builds.manifest import from_yaml, to_yaml
from dynamod.core.errors import Invalid
from dynamod.drivers import logfile
from dynamod.drivers.identity import read_exit, read_run
from dynamod.observe.kv.picture import KvPicture
from dynamod.observe.logs import segments
from dynamod.observe.logs.query import LogFilter, LogSource, read_page
from dynamod.observe.metrics.samples import ReplicaSamples
from dynamod.schema import Page
from tests.fuzz.mutation import as_json, as_msgpack
from tests.unit.dynamo_tui import sample
from tests.unit.dynamod.builds.making import SPEC, make_archive

RECORDING = Path(__file__).parents[1] / "unit" / "dynamo_tui" / "client" / "recordings" / "version-1.dynrec"


@dataclass
class Target:
    """`eat` takes one input; `refuses` are the errors that say no. With `tree` and `encode` values are changed, too."""

    name: str
    example: bytes
    eat: Callable[[bytes], object]
    refuses: tuple[type[Exception], ...]
    tree: Any = None
    encode: Callable[[Any], bytes] | None = None


def targets(directory: Path) -> Iterator[Target]:
    """All of them; files that parsers read are made in `directory`."""
    yield from _between_replicas()
    yield from _openai()
    yield from _of_files(directory)
    yield from _builds(directory)
    yield from _of_the_api()


def _json(name: str, tree: Any, eat: Callable[[bytes], object], *refuses: type[Exception]) -> Target:
    return Target(name, as_json(tree), eat, refuses, tree, as_json)


def _msgpack(name: str, tree: Any, eat: Callable[[Any], object], *refuses: type[Exception]) -> Target:
    """A body that has been decoded already: what is not msgpack never comes so far."""

    def whole(data: bytes) -> object:
        try:
            body = msgspec.msgpack.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, TypeError, RecursionError):
            return None
        return eat(body)

    return Target(name, msgspec.msgpack.encode(tree), whole, refuses, tree, as_msgpack)


def _between_replicas() -> Iterator[Target]:
    frame = bytearray(frames.PREFIX)
    frame += msgspec.msgpack.encode(frames.HELLO) + msgspec.msgpack.encode({"version": 1, "connection": "x"})
    frames.seal(frame, 1)

    def read_frames(data: bytes) -> None:
        reader = frames.FrameReader(1 << 20)
        rest = memoryview(data)
        while rest:
            room = reader.buffer()
            count = min(len(room), len(rest))
            room[:count] = rest[:count]
            reader.received(count)
            rest = rest[count:]

    yield Target("transport frames", bytes(frame) * 3, read_frames, (frames.ProtocolError,))
    yield Target("NATS carrier", pack_nats(1, b"0" * 8, 7, b"data"), unpack, (CarrierError,))

    changes = [["s", 0, bytes(8)], ["r", 0, bytes(range(16))], ["c", 0]]

    def cache_events(body: Any) -> None:
        router = KvRouter(RouterOptions(block_size=16))
        for change in decode_changes(body):
            router.apply(1, change)

    yield Target(
        "KV cache events",
        msgspec.msgpack.encode(changes),
        _of_msgpack(cache_events),
        (MalformedChange, msgspec.ValidationError),
        changes,
        msgspec.msgpack.encode,
    )
    load = {"running_requests": 1, "waiting_requests": 0, "kv_blocks_total": 100, "kv_blocks_active": 7}
    yield _msgpack("KV load", load, load_from_wire, msgspec.ValidationError)
    decision = {
        "kind": "decision", "seq": 1, "t": 1.0, "request_id": "r", "worker": "a1", "mode": "kv", "prompt_blocks": 10,
        "overlap_blocks": 3, "best_overlap_blocks": 3,
        "candidates": [{"worker": "a1", "overlap_blocks": 3, "active_blocks": 0, "cost": 1.0}],
    }  # fmt: skip

    def feed(body: Any) -> None:
        picture = KvPicture("g", lambda _worker: None)
        if isinstance(body, dict):
            picture.apply(body, 2.0)
            picture.snapshot(3.0)

    yield _msgpack("KV router feed", decision, feed, ValueError)
    samples = {
        "t": 1.0,
        "full": True,
        "samples": [["x_total", {"a": "b"}, 1.0, "counter"], ["h_bucket", {"le": "0.5"}, 2.0, "histogram"]],
    }
    yield _msgpack("metrics stream", samples, lambda body: ReplicaSamples().apply(body), ValueError)
    instance = {
        "instance_id": 5,
        "namespace": "n",
        "component": "c",
        "endpoint": "e",
        "address": {"unix": "/x", "tcp": "h:1"},
    }
    yield _json("discovery: instance", instance, decode_instance, msgspec.MsgspecError)
    status = {"replica_id": "r", "service": "S", "pid": 1, "host": "h", "state": "ready", "address": {}}
    yield _json("discovery: status", status, decode_status, msgspec.MsgspecError)


def _of_msgpack(eat: Callable[[Any], object]) -> Callable[[bytes], object]:
    return _msgpack("", None, eat).eat


def _openai() -> Iterator[Target]:
    chat = {
        "model": "m",
        "messages": [{"role": "user", "content": "x"}, {"role": "user", "content": [{"type": "text", "text": "y"}]}],
        "max_tokens": 5, "temperature": 0.5, "stream": True, "stream_options": {"include_usage": True}, "stop": ["a"],
        "logit_bias": {"5": 1.0}, "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "tool_choice": "auto", "response_format": {"type": "json_object"}, "n": 1, "seed": 1,
    }  # fmt: skip
    yield _json("OpenAI chat", chat, lambda data: decode_openai(data, ChatRequest), RequestError)
    completion = {"model": "m", "prompt": ["a", "b"], "max_tokens": 5, "logprobs": 2, "suffix": None}
    yield _json("OpenAI completion", completion, lambda data: decode_openai(data, CompletionRequest), RequestError)
    embedding = {"model": "m", "input": ["a", "b"], "encoding_format": "base64", "dimensions": 4}
    yield _json("OpenAI embedding", embedding, lambda data: decode_openai(data, EmbeddingRequest), RequestError)


def _of_files(directory: Path) -> Iterator[Target]:
    file = directory / "file"

    def reading(read: Callable[[Path], object]) -> Callable[[bytes], object]:
        def eat(data: bytes) -> object:
            file.write_bytes(data)
            return read(file)

        return eat

    yield Target("recording", RECORDING.read_bytes(), reading(read_recording), (RecordingError,))
    packed = directory / "packed.gz"

    def read_packed(data: bytes) -> object:
        packed.write_bytes(data)
        return read_recording(packed)

    yield Target("recording, packed", gzip.compress(RECORDING.read_bytes()), read_packed, (RecordingError,))
    contexts = {"current": "a", "contexts": {"a": {"name": "a", "url": "http://x", "token": "t"}}}
    yield _json("contexts", contexts, reading(load_contexts), ClientError)
    tokens = f"# who\nme read-write {hash_token('x')}\nit read-only {hash_token('y')}\n".encode()
    yield Target("token file", tokens, reading(load_tokens), (TokenFileError,))
    file.touch(mode=0o600)

    def records(data: bytes) -> None:
        for name in ("run-1.json", "exit-1.json"):
            (directory / name).write_bytes(data)
        read_run(directory, 1)
        read_exit(directory, 1)

    run = {"run": 1, "shim_pid": 2, "shim_start": 3, "pid": 4, "start": 5, "boot_id": "b", "at": 1.0, "code": 0}
    yield _json("shim's records", run | {"signal": 0, "spawned": True, "oom_kills": 0}, records)

    log = directory / "log"
    log.mkdir()
    lines = b"".join(b"line %d\n" % n for n in range(100))
    (log / logfile.segment_name(0)).write_bytes(lines)
    index = b"".join(logfile.pack(float(n), lines.index(b"line %d\n" % n), n) for n in range(0, 100, 10))

    def log_index(data: bytes) -> None:
        (log / logfile.index_name(0)).write_bytes(data)
        source = LogSource("r", "S", str(log))
        for tail in (True, False):
            read_page([source], LogFilter(), limit=50, tail=tail)
        read_page([source], LogFilter(since=3.0, until=50.0), limit=50, tail=False)
        for where in (
            segments.next_line(str(log)),
            segments.line_at(str(log), 5.0),
            segments.line_near_end(str(log), 99),
        ):
            segments.bytes_after(str(log), where)

    yield Target("log index", index, log_index, (Invalid,))


def _builds(directory: Path) -> Iterator[Target]:
    made = make_archive(directory, {"m.py": "A = 1\n", "pkg/__init__.py": ""})
    plain = gzip.decompress(made.read_bytes())
    file, count = directory / "upload.tar.gz", iter(range(1 << 60))

    def unpack_archive(data: bytes) -> None:
        file.write_bytes(gzip.compress(data, 1))
        with tempfile.TemporaryDirectory(dir=directory, prefix=str(next(count))) as target:
            archive = Archive.open(file)
            archive.verify()
            archive.extract(Path(target) / "tree")

    def open_archive(data: bytes) -> None:
        file.write_bytes(data)
        Archive.open(file).verify()

    yield Target("archive", plain, unpack_archive, (BadArchive,))
    yield Target("archive, packed", made.read_bytes(), open_archive, (BadArchive,))
    yield Target("build manifest", to_yaml(Archive.open(made).manifest), from_yaml, (BadArchive,))
    spec = json.loads(encode_spec(SPEC))
    spec["services"][0] |= {"resources": {"gpu": 0.5}, "probes": {"readiness": {"kind": "http", "target": "/x"}}}
    yield _json("graph spec", spec, decode_spec, SpecError)


def _of_the_api() -> Iterator[Target]:
    graphs = msgspec.to_builtins(Page(items=[sample.graph()], next=None))
    yield _json("API answer", graphs, lambda data: read_answer(calls.graphs(), 200, {}, data), ClientError)

    def refusal(data: bytes) -> None:
        with suppress(ApiError):
            read_answer(calls.graphs(), 404, {}, data)

    yield _json("API problem", {"type": "t", "title": "T", "status": 404, "detail": "d"}, refusal)
    line = {"t": 1.0, "replica": "r", "service": "s", "line": 1, "text": "x"}
    stream = b"id: 1\nevent: line\ndata: " + as_json(line) + b'\n\nevent: gap\ndata: {"type":"gap","skipped":1}\n\n'

    def events(data: bytes) -> None:
        parser, call = EventParser(), streams.logs("g")
        for begin in range(0, len(data), 50):
            for event in parser.feed(data[begin : begin + 50]):
                call.decode(event)

    yield Target("server-sent events", stream, events, (ClientError, ValueError))
