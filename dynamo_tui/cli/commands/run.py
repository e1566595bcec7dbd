"""`run`: chat with a model that a graph serves, or ask once from stdin."""

from __future__ import annotations

import sys

import click

from dynamo_tui.cli.chat import ChatError, ChatOptions, Frontend, Message
from dynamo_tui.cli.exits import UserError, one_line
from dynamo_tui.cli.output import print_json
from dynamo_tui.cli.session import Session, SessionCommand, complete_graphs, say
from dynamo_tui.client import calls
from dynamod.schema.graphs import Graph

PROBE_TIMEOUT_S = 5.0


@click.command("run", cls=SessionCommand)
@click.argument("where", metavar="GRAPH|MODEL|URL", shell_complete=complete_graphs)
@click.option("--model", metavar="NAME", help="The model, when the graph serves several.")
@click.option("--system", metavar="TEXT", help="The system message.")
@click.option("--max-tokens", type=click.IntRange(1), help="At most so many tokens an answer.")
@click.option("--temperature", type=click.FloatRange(0), help="Sampling temperature.")
@click.pass_obj
def command(
    session: Session,
    where: str,
    model: str | None,
    system: str | None,
    max_tokens: int | None,
    temperature: float | None,
) -> None:
    """Chat with a model in the terminal; with input from a pipe, ask once and print the answer.

    The model is found by the graph that serves it, by its own name, or at the URL of any OpenAI frontend.
    """
    frontend, served = _find(session, where)
    chosen = model or (where if where in served else served[0])
    if chosen not in served:
        raise UserError(f"{frontend.url} serves no model {chosen!r}; it serves {', '.join(served)}")
    options = ChatOptions(max_tokens=max_tokens, temperature=temperature)
    messages = [Message("system", system)] if system else []
    if sys.stdin.isatty():
        _chat(frontend, chosen, messages, options)
    else:
        _once(session, frontend, chosen, [*messages, Message("user", sys.stdin.read())], options)


def _find(session: Session, where: str) -> tuple[Frontend, list[str]]:
    """The frontend that is meant and the models it serves."""
    if where.startswith(("http://", "https://")):
        return _serving(Frontend(where))
    graphs = session.client.send(calls.graphs(project=session.project, limit=500)).items
    named = next((g for g in graphs if g.name == where), None)
    if named is not None:
        if not named.address:
            raise UserError(f"graph {where!r} has no HTTP address yet", remedy=f"wait: `dynamoctl wait {where}`")
        return _serving(Frontend(named.address))
    if found := _with_model(graphs, where):
        return found
    names = ", ".join(g.name for g in graphs) or "none"
    raise UserError(f"no graph is called {where!r} or serves a model of that name; graphs: {names}")


def _serving(frontend: Frontend) -> tuple[Frontend, list[str]]:
    models = frontend.models()
    if not models:
        raise UserError(f"{frontend.url} serves no model yet", remedy="wait for its workers: `dynamoctl ps`")
    return frontend, models


def _with_model(graphs: list[Graph], model: str) -> tuple[Frontend, list[str]] | None:
    for graph in graphs:
        if not graph.address:
            continue
        try:
            models = Frontend(graph.address, timeout=PROBE_TIMEOUT_S).models()
        except ChatError:
            continue  # not every graph has an OpenAI face
        if model in models:
            return Frontend(graph.address), models
    return None


def _once(session: Session, frontend: Frontend, model: str, messages: list[Message], options: ChatOptions) -> None:
    if not messages[-1].content.strip():
        raise UserError("there is no question on stdin")
    pieces = frontend.stream(model, messages, options)
    if session.json:
        print_json({"model": model, "content": "".join(pieces)})
        return
    for piece in pieces:
        click.echo(piece, nl=False)
        sys.stdout.flush()
    click.echo()


def _chat(frontend: Frontend, model: str, messages: list[Message], options: ChatOptions) -> None:
    import readline  # noqa: F401 - gives input() a history and keys

    say(f"{model} at {frontend.url}; empty line or Ctrl-D ends, Ctrl-C breaks an answer off")
    while True:
        try:
            question = input("> ")
        except EOFError:
            say("")
            return
        if not question.strip():
            return
        messages.append(Message("user", question))
        answer: list[str] = []
        try:
            for piece in frontend.stream(model, messages, options):
                answer.append(piece)
                click.echo(piece, nl=False)
                sys.stdout.flush()
        except KeyboardInterrupt:
            say(" …")
        except ChatError as error:  # the next question may fare better, and what was said is worth keeping
            if answer:
                click.echo()
            say(one_line(error))
            if not answer:
                messages.pop()
                continue
        click.echo()
        messages.append(Message("assistant", "".join(answer)))
