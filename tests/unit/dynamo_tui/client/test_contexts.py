from __future__ import annotations

import stat
from pathlib import Path

import msgspec
import pytest

from dynamo_tui.client.contexts import (
    Context,
    ContextFile,
    choose,
    contexts_file,
    load_contexts,
    local_context,
    save_contexts,
)
from dynamo_tui.client.errors import ContextError
from dynamod.schema.serve import ServeRegistration
from tests.unit.dynamo_tui import sample
from tests.unit.dynamo_tui.standin import standin


@pytest.fixture
def environ(short_dir: Path) -> dict[str, str]:
    return {"HOME": str(short_dir), "DYN_LOCAL_STATE_DIR": str(short_dir / "state")}


def register(environ: dict[str, str], pid: int, socket: Path, graph: str) -> None:
    folder = Path(environ["DYN_LOCAL_STATE_DIR"]) / "serve"
    folder.mkdir(parents=True, exist_ok=True)
    record = ServeRegistration(
        pid=pid, socket=str(socket), project="default", graph=graph, target="m:C", started_at=sample.AT
    )
    (folder / f"{pid}.json").write_bytes(msgspec.json.encode(record))


def test_nothing_configured_means_the_local_daemon(environ: dict[str, str]) -> None:
    choice = choose(environ)
    assert choice.context == local_context(environ)
    assert choice.may_start


def test_contexts_are_kept_privately_and_chosen_in_order(environ: dict[str, str]) -> None:
    path = contexts_file(environ)
    box = Context(name="box", url="http://box:7000", token="secret", project="team")
    save_contexts(path, ContextFile(current="box", contexts={"box": box}))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_contexts(path).contexts == {"box": box}
    assert choose(environ).context == box
    assert not choose(environ).may_start
    environ["DYNAMOD_URL"] = "http://other:1"
    assert choose(environ).context.url == "http://other:1"
    environ["DYNAMOD_CONTEXT"] = "local"
    assert choose(environ).context == local_context(environ)
    assert choose(environ, "box").context == box


def test_an_unknown_context_lists_what_there_is(environ: dict[str, str]) -> None:
    with pytest.raises(ContextError, match=r"no context 'nope'; there are local"):
        choose(environ, "nope")
    environ["DYNAMOD_URL"] = "box:7000"
    with pytest.raises(ContextError, match="not a URL"):
        choose(environ)


def test_a_broken_file_is_one_clear_error(environ: dict[str, str]) -> None:
    path = contexts_file(environ)
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(ContextError, match=r"contexts\.json"):
        choose(environ)


def test_a_single_serve_is_attached_to_when_no_daemon_runs(environ: dict[str, str], short_dir: Path) -> None:
    register(environ, 1, short_dir / "dead.sock", "gone")
    with standin(short_dir / "a.sock") as a:
        register(environ, 2, a.socket, "hello")
        choice = choose(environ)
        assert choice.attached is not None
        assert choice.context.socket == str(a.socket)
        assert not choice.may_start
        with standin(short_dir / "b.sock") as b:
            register(environ, 3, b.socket, "other")
            assert choose(environ).context == local_context(environ), "two: the choice is the user's"
            assert choose(environ, "serve:other").context.socket == str(b.socket)
            assert choose(environ, "serve:2").context.socket == str(a.socket)
        with pytest.raises(ContextError, match=r"running: serve:2 \(hello\)"):
            choose(environ, "serve:9")
        local = Path(local_context(environ).socket or "")
        local.parent.mkdir(parents=True)
        with standin(local):
            assert choose(environ).attached is None, "a daemon goes first"
