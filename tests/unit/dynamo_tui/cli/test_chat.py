from __future__ import annotations

import io
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from dynamo_tui.cli.chat import ChatError, ChatOptions, Frontend, Message
from dynamo_tui.cli.demo_traffic import Traffic, document, topic
from dynamod.schema.graphs import Page
from tests.unit.dynamo_tui import sample
from tests.unit.dynamo_tui.cli.conftest import Dynamoctl
from tests.unit.dynamo_tui.standin import Reply, StandIn, standin_on_tcp


def piece(text: str) -> bytes:
    return b"data: %s\n\n" % json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}).encode()


DONE = b"data: [DONE]\n\n"


@pytest.fixture
def openai() -> Iterator[tuple[StandIn, str]]:
    with standin_on_tcp() as (state, url):
        state.answer("GET /v1/models", {"object": "list", "data": [{"id": "sim", "object": "model"}]})
        state.routes["POST /v1/chat/completions"] = lambda _: Reply(chunks=[piece("Hel"), piece("lo"), DONE])
        yield state, url


def test_an_answer_comes_piece_by_piece(openai: tuple[StandIn, str]) -> None:
    state, url = openai
    frontend = Frontend(url)
    assert frontend.models() == ["sim"]
    assert list(frontend.stream("sim", [Message("user", "hi")], ChatOptions(max_tokens=5))) == ["Hel", "lo"]
    assert json.loads(state.asked[-1].body) == {
        "model": "sim", "messages": [{"role": "user", "content": "hi"}], "stream": True, "max_tokens": 5
    }  # fmt: skip


def test_what_goes_wrong_is_one_clear_error(openai: tuple[StandIn, str]) -> None:
    state, url = openai
    ask = lambda: list(Frontend(url).stream("sim", [Message("user", "hi")], ChatOptions()))  # noqa: E731
    state.routes["POST /v1/chat/completions"] = lambda _: Reply(chunks=[piece("Hel")])
    with pytest.raises(ChatError, match=r"broke off before its end|no frontend answers"):
        ask()
    state.routes["POST /v1/chat/completions"] = lambda _: Reply(
        chunks=[piece("Hel"), b'data: {"error": {"message": "the worker died"}}\n\n']
    )
    with pytest.raises(ChatError, match="the worker died"):
        ask()
    state.answer("POST /v1/chat/completions", {"error": {"message": "no such model"}}, status=404)
    with pytest.raises(ChatError, match="answered 404: no such model"):
        ask()
    with pytest.raises(ChatError, match="no frontend answers"):
        Frontend("http://127.0.0.1:1").models()
    with pytest.raises(ChatError, match="not a URL"):
        Frontend("nonsense")


@pytest.mark.parametrize("where", ["llm", "sim", "URL"])
def test_run_asks_once_from_a_pipe_by_graph_model_or_url(
    dynamoctl: Dynamoctl,
    local: StandIn,
    openai: tuple[StandIn, str],
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    state, url = openai
    local.answer("GET /v1/graphs", Page(items=[sample.graph("quiet", address=None), sample.graph("llm", address=url)]))
    monkeypatch.setattr(sys, "stdin", io.StringIO("what is it?\n"))
    outcome = dynamoctl("run", url if where == "URL" else where, "--system", "be brief")
    assert (outcome.code, outcome.stdout) == (0, "Hello\n")
    assert [m["role"] for m in json.loads(state.asked[-1].body)["messages"]] == ["system", "user"]


def test_a_chat_outlives_a_question_that_is_refused(
    dynamoctl: Dynamoctl, openai: tuple[StandIn, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    state, url = openai
    good = state.routes["POST /v1/chat/completions"]
    typed = iter(["first", "too long", "second", ""])

    def read(_prompt: str) -> str:
        question = next(typed)
        if question == "too long":
            state.answer("POST /v1/chat/completions", {"error": {"message": "too many tokens"}}, status=400)
        else:
            state.routes["POST /v1/chat/completions"] = good
        return question

    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    monkeypatch.setattr("builtins.input", read)
    outcome = dynamoctl("run", url)
    assert (outcome.code, outcome.stdout) == (0, "Hello\nHello\n")
    assert "error: " in outcome.stderr
    assert "answered 400: too many tokens" in outcome.stderr
    said = [m["content"] for m in json.loads(state.asked[-1].body)["messages"]]
    assert said == ["first", "Hello", "second"], "what was refused is no part of the conversation"


def test_run_says_what_there_is_when_nothing_fits(
    dynamoctl: Dynamoctl, local: StandIn, openai: tuple[StandIn, str]
) -> None:
    local.answer("GET /v1/graphs", Page(items=[sample.graph("llm", address=openai[1])]))
    assert dynamoctl("run", "nope").stderr.endswith("graphs: llm\n")
    del openai[0].routes["GET /v1/models"]
    assert "is no OpenAI frontend; name a graph that serves a model" in dynamoctl("run", "llm").stderr


def test_run_takes_only_models_that_are_served(
    dynamoctl: Dynamoctl, local: StandIn, openai: tuple[StandIn, str]
) -> None:
    local.answer("GET /v1/graphs", Page(items=[sample.graph("llm", address=openai[1])]))
    assert "serves no model 'big'; it serves sim" in dynamoctl("run", "llm", "--model", "big").stderr


def test_the_demos_documents_come_and_go() -> None:
    source = random.Random(1)
    first, later = ({topic(source, elapsed) for _ in range(500)} for elapsed in (0.0, 200.0))
    assert first == set(range(8))
    assert max(later) == 47, "ten times four new ones"
    counts = Counter(topic(source, 200.0) for _ in range(500))
    assert counts[47] > counts[20] > 0, "the newest most, older ones now and then"
    assert document(3) == document(3) != document(4)


def test_the_demos_traffic_shares_prefixes_and_counts_what_became_of_it(openai: tuple[StandIn, str]) -> None:
    state, url = openai
    with Traffic(url, "sim", rate=200.0) as traffic:
        traffic.wait_for(100, timeout=30)
    chats = [json.loads(a.body)["messages"] for a in state.asked if a.method == "POST"]
    prompts = [messages[0]["content"] for messages in chats]
    assert len(prompts) > 5 * len(set(prompts)), "few documents, asked about again and again"
    assert max(map(len, chats)) >= 4, "conversations grow"
    assert {m["role"] for messages in chats for m in messages[1::2]} == {"user"}
    assert {m["role"] for messages in chats for m in messages[2::2]} == {"assistant"}
    state.answer("POST /v1/chat/completions", {"detail": "overloaded"}, status=503)
    with Traffic(url, "sim", rate=200.0) as traffic, pytest.raises(Exception, match="overloaded"):
        traffic.wait_for(5, timeout=30)
