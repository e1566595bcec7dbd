from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from dynamo.sdk.spec import GraphSpec, ServiceSpec
from dynamod.core.errors import NotFound
from dynamod.core.records import GraphRecord, ReplicaRecord, RevisionRecord
from dynamod.engine.memory import Memory
from dynamod.schema import Graph, ReplicaState
from dynamod.store.queries import Everything

SPEC = GraphSpec(name="g", target="m:S", entry="S", services=(ServiceSpec(name="S", target="m:S"),))


def graph(name: str, project: str = "default") -> GraphRecord:
    return GraphRecord(
        id=f"{project}-{name}", project=project, name=name, driver="process", revision=1, created_at=1.0, updated_at=1.0
    )


def replica(of: GraphRecord, number: int = 0) -> ReplicaRecord:
    return ReplicaRecord(
        id=f"{of.id}-{number}",
        graph_id=of.id,
        project=of.project,
        graph=of.name,
        service="S",
        index=number,
        revision=1,
        driver="process",
        created_at=1.0,
        updated_at=1.0,
    )


def memory_of(*graphs: GraphRecord) -> Memory:
    revisions = [RevisionRecord(graph_id=g.id, number=1, digest="d", spec=SPEC, created_at=1.0) for g in graphs]
    return Memory(Everything(graphs=list(graphs), revisions=revisions, replicas=[], claims=[]))


def shown(memory: Memory, record: GraphRecord) -> Graph:
    """Both forms of a view, which say the same."""
    view = memory.view(record.id)
    assert msgspec.json.decode(memory.encoded_view(record.id), type=Graph) == view
    return view


def test_a_view_is_kept_until_something_of_it_changes() -> None:
    one, other = graph("one"), graph("other")
    memory = memory_of(one, other)
    first, of_other = shown(memory, one), memory.encoded_view(other.id)
    assert memory.view(one.id) is first

    memory.put_replica(replace(replica(one), state=ReplicaState.READY))
    assert shown(memory, one).services[0].ready == 1
    memory.put_graph(replace(one, message="changed", version=2))
    assert (shown(memory, one).message, shown(memory, one).etag) == ("changed", "2")
    memory.drop_replica(replica(one).id)
    assert shown(memory, one).services[0].ready == 0
    assert memory.encoded_view(other.id) is of_other


def test_a_graph_is_found_by_its_name_and_a_later_one_of_that_name_is_another() -> None:
    one = graph("one")
    memory = memory_of(one, graph("one", "elsewhere"))
    assert memory.find("default", "one") is one
    assert shown(memory, one).id == one.id
    memory.forget_graph(one.id)
    assert memory.find("default", "one") is None
    with pytest.raises(NotFound):
        memory.graph("default", "one")
    assert memory.graph("elsewhere", "one").project == "elsewhere"
