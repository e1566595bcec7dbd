"""Everything of a list, and a replica by any name that people use for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from dynamo_tui.cli.exits import CliError, ExitCode, UserError
from dynamo_tui.client import calls
from dynamo_tui.client.errors import NotFound
from dynamo_tui.client.exchange import Call
from dynamo_tui.client.sync import Client
from dynamod.schema.graphs import Page, Replica

T = TypeVar("T")

PAGE = 500


class UnknownReplica(CliError):
    """No replica is called that."""

    code = ExitCode.NOT_FOUND


def every(client: Client, page: Callable[[str | None], Call[Page[T]]]) -> Iterator[T]:
    """All items of a list, page by page; `page` makes the call for a cursor."""
    cursor: str | None = None
    while True:
        answer = client.send(page(cursor))
        yield from answer.items
        cursor = answer.next
        if cursor is None:
            return


def replicas(client: Client, project: str, graph: str | None = None, service: str | None = None) -> list[Replica]:
    """All replicas of a graph, or of all graphs."""
    return list(
        every(
            client,
            lambda cursor: calls.replicas(graph=graph, service=service, project=project, after=cursor, limit=PAGE),
        )
    )


def find_replica(client: Client, project: str, text: str) -> Replica:
    """The replica with that id, or with that unambiguous beginning of one, or `[GRAPH/]SERVICE[/INDEX]`.

    Raises:
        UnknownReplica: there is none.
        UserError: there are several.
    """
    try:
        return client.send(calls.replica(text))
    except NotFound:
        pass
    found = [r for r in replicas(client, project) if r.id.startswith(text) or _is_called(r, text)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UnknownReplica(f"there is no replica {text!r} in project {project}", remedy="list them: `dynamoctl ps`")
    raise UserError(f"{text!r} may be any of {', '.join(r.id for r in found)}", remedy="name one of them")


def _is_called(replica: Replica, text: str) -> bool:
    parts = text.split("/")
    service, index = replica.service, str(replica.index)
    return parts in ([service], [service, index], [replica.graph, service], [replica.graph, service, index])
