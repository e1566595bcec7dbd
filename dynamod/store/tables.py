"""The tables. Columns carry the names of the records' fields (`dynamod.core.records`), so rows and records map 1:1.

Lists, maps and structs are JSON text in one column: they are read and written whole, and never searched.
Times are seconds since the epoch.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

from dynamo.sdk.spec import GraphSpec
from dynamod.core.records import Doom, Goal
from dynamod.schema.builds import Build
from dynamod.schema.graphs import ExitInfo, GpuShare
from dynamod.schema.states import Action, GraphState, Reason, ReplicaState

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Json(TypeDecorator[Any]):
    """A value of one type, as JSON text. None is NULL."""

    impl = Text
    cache_ok = True

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002
        return None if value is None else msgspec.json.decode(value, type=self.kind)


class Word(TypeDecorator[Any]):
    """A member of a closed vocabulary, stored as its text so that the database can be read by people."""

    impl = String(40)
    cache_ok = True

    def __init__(self, kind: type[Enum]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002
        return None if value is None else self.kind(value)


projects = Table(
    "projects",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("created_at", Float, nullable=False),
)

graphs = Table(
    "graphs",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("project", String(63), ForeignKey("projects.name"), nullable=False),
    Column("name", String(63), nullable=False),
    Column("driver", String(20), nullable=False),
    Column("goal", Word(Goal), nullable=False),
    Column("state", Word(GraphState), nullable=False),
    Column("reason", Word(Reason), nullable=False),
    Column("message", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("stable", Integer, nullable=False),
    Column("scale", Json(dict[str, int]), nullable=False),
    Column("stop_timeout", Float),
    Column("version", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("underway", Word(Reason)),
    Column("restarted", Json(dict[str, float]), nullable=False, server_default="{}"),
    UniqueConstraint("project", "name"),
)

revisions = Table(
    "revisions",
    metadata,
    Column("graph_id", String(40), ForeignKey("graphs.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("digest", String(64), nullable=False),
    Column("spec", Json(GraphSpec), nullable=False),
    Column("envs", Json(dict[str, str]), nullable=False),
    Column("build", String(200)),
    Column("cause", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("kubernetes", Json(dict[str, Any]), nullable=False, server_default="{}"),
)

replicas = Table(
    "replicas",
    metadata,
    Column("id", String(200), primary_key=True),
    Column("graph_id", String(40), ForeignKey("graphs.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("project", String(63), nullable=False),
    Column("graph", String(63), nullable=False),
    Column("service", String(200), nullable=False),
    Column("index", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("driver", String(20), nullable=False),
    Column("state", Word(ReplicaState), nullable=False),
    Column("reason", Word(Reason), nullable=False),
    Column("message", Text, nullable=False),
    Column("progress", Text, nullable=False),
    Column("run", Integer, nullable=False),
    Column("pid", Integer),
    Column("container", String(200)),
    Column("host", String(255), nullable=False),
    Column("address", String(255)),
    Column("gpus", Json(tuple[GpuShare, ...]), nullable=False),
    Column("placement", Json(tuple[str, ...]), nullable=False),
    Column("failures", Json(tuple[float, ...]), nullable=False),
    Column("next_retry_at", Float),
    Column("doom", Json(Doom)),
    Column("last_exit", Json(ExitInfo)),
    Column("probe", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("ready_at", Float),
    Column("updated_at", Float, nullable=False),
)

gpu_claims = Table(
    "gpu_claims",
    metadata,
    Column("uuid", String(96), primary_key=True),
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("index", Integer, nullable=False),
    Column("share", Float, nullable=False),
    Column("replica_id", String(200), nullable=False, index=True),
    Column("releasing", Boolean, nullable=False),
    Column("created_at", Float, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    Column("actor", String(100), nullable=False),
    Column("action", Word(Action), nullable=False),
    Column("project", String(63)),
    Column("graph", String(63)),
    Column("service", String(200)),
    Column("replica", String(200)),
    Column("reason", Word(Reason)),
    Column("message", Text, nullable=False),
    Column("data", Json(dict[str, Any]), nullable=False),
    Index("ix_events_graph", "project", "graph", "seq"),
    Index("ix_events_replica", "replica", "seq"),
)

tokens = Table(
    "tokens",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("hash", String(64), nullable=False, unique=True),
    Column("read_only", Boolean, nullable=False),
    Column("created_at", Float, nullable=False),
)

builds = Table(
    "builds",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("version", String(128), primary_key=True),
    Column("digest", String(64), nullable=False, index=True),
    Column("build", Json(Build), nullable=False),
    Column("stored_at", Float, nullable=False),
)

plans = Table(
    "plans",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("project", String(63), nullable=False),
    Column("graph", String(63), nullable=False),
    Column("body", Json(dict[str, Any]), nullable=False),
    Column("request", Json(dict[str, Any]), nullable=False),
    Column("created_at", Float, nullable=False),
)
