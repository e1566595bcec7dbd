"""Bad input of every kind gets a problem document that names it, and changes nothing: no graph, replica, build, claim
or event more than before."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from dynamod.api.rules import GuardRules, guard_rules
from dynamod.engine import EngineOptions
from dynamod.schema import Locations
from dynamod.serving import Serving, serving
from tests.unit.dynamod.api.graph import spec, submission

MAX_BODY = GuardRules().max_body


@dataclass(frozen=True)
class Bad:
    """A request and how it is refused. `field` None: the problem names none."""

    name: str
    method: str
    path: str
    status: int
    slug: str
    field: str | None = None
    says: str = ""
    body: Any = None
    content: bytes | None = None
    kind: str = "application/json"


def wanting(gpu: Any) -> dict[str, Any]:
    made = spec("wanting", workers=1)
    made["services"][0]["resources"] = {"gpu": gpu}
    return {"spec": made}


def changed(**fields: Any) -> dict[str, Any]:
    return {"spec": {**spec("changed"), **fields}}


def in_docker(name: str) -> dict[str, Any]:
    made = spec(name)
    made["services"][0]["image"] = "example/image:1"
    return {"spec": made, "driver": "docker"}


def archive(name: str, *, link: str | None = None) -> bytes:
    """A tar archive with one member of that name."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        member = tarfile.TarInfo(name)
        if link is not None:
            member.type, member.linkname = tarfile.SYMTYPE, link
        tar.addfile(member, io.BytesIO(b""))
    return gzip.compress(raw.getvalue())


GZIP = "application/gzip"
NAMED = "/v1/graphs/there"
BAD = [
    Bad("an unknown graph", "GET", "/v1/graphs/nobody", 404, "not-found", says="nobody"),
    Bad("an unknown graph to stop", "POST", "/v1/graphs/nobody/stop", 404, "not-found", says="nobody"),
    Bad("an unknown service", "POST", f"{NAMED}/services/No/scale", 404, "not-found", says="No", body={"replicas": 1}),
    Bad("an unknown replica", "POST", f"{NAMED}/restart", 404, "not-found", says="nobody", body={"replica": "nobody"}),
    Bad("an unknown revision", "POST", f"{NAMED}/rollback", 404, "not-found", says="77", body={"to": 77}),
    Bad("an unknown plan", "POST", "/v1/plans/p-nobody/apply", 404, "not-found", says="p-nobody"),
    Bad("an unknown build", "POST", "/v1/graphs", 404, "not-found", says="nothing:1", body={"build": "nothing:1"}),
    Bad("no JSON", "POST", "/v1/graphs", 400, "malformed", content=b'{"spec": '),
    Bad("no text", "POST", "/v1/graphs", 400, "malformed", content=b"\xff\xfe"),
    Bad("another media type", "POST", "/v1/graphs", 415, "unsupported-media-type", content=b"a: b", kind="text/yaml"),
    Bad("a spec of the wrong type", "POST", "/v1/graphs", 422, "invalid", "spec", body={"spec": []}),
    Bad("a field that means nothing", "POST", "/v1/graphs", 422, "invalid", "spec.colour", body=changed(colour=1)),
    Bad("an entry that is no service", "POST", "/v1/graphs", 422, "invalid", says="Ghost", body=changed(entry="Ghost")),
    Bad(
        *("a directory that is not there", "POST", "/v1/graphs", 422, "invalid", "spec.working_dir", "/no/such"),
        body=changed(working_dir="/no/such"),
    ),
    Bad(
        *("an interpreter that is not there", "POST", "/v1/graphs", 422, "invalid", "spec.interpreter", "/no/such"),
        body=changed(interpreter="/no/such"),
    ),
    Bad(
        "a name with a path in it", "POST", "/v1/graphs", 422, "invalid", "name", body={**submission(), "name": "../x"}
    ),
    Bad(
        "a project with a path in it",
        "POST",
        "/v1/graphs",
        422,
        "invalid",
        "project",
        body={**submission(), "project": "a/b"},
    ),
    Bad(
        "a GPU of a kind", "POST", "/v1/graphs", 422, "invalid", "spec.services[0].resources.gpu", body=wanting("H100")
    ),
    Bad("fewer GPUs than none", "POST", "/v1/graphs", 422, "invalid", says="gpu", body=wanting(-1)),
    Bad("one and a half GPUs", "POST", "/v1/graphs", 422, "invalid", says="gpu", body=wanting(1.5)),
    Bad(
        "more GPUs than there are",
        "POST",
        "/v1/graphs",
        409,
        "gpu-shortage",
        "resources.gpu",
        "0 of 0 free",
        body=wanting(8),
    ),
    Bad(
        "a plan for more GPUs than there are",
        "POST",
        "/v1/plans",
        409,
        "gpu-shortage",
        "resources.gpu",
        body={"submit": wanting(8)},
    ),
    Bad(
        "too many replicas",
        "POST",
        f"{NAMED}/services/Worker/scale",
        422,
        "invalid",
        "replicas",
        body={"replicas": 10**6},
    ),
    Bad(
        "fewer replicas than none",
        "POST",
        f"{NAMED}/services/Worker/scale",
        422,
        "invalid",
        "replicas",
        body={"replicas": -1},
    ),
    Bad("an endless stop", "POST", f"{NAMED}/stop", 422, "invalid", "timeout", body={"timeout": 1e9}),
    Bad(
        "a name that another driver runs", "POST", "/v1/graphs", 409, "conflict", says="there", body=in_docker("there")
    ),
    Bad("an unknown driver", "POST", "/v1/graphs", 422, "invalid", "driver", body={**submission(), "driver": "ssh"}),
    Bad("nothing to go back to", "POST", f"{NAMED}/rollback", 409, "conflict", says="no earlier revision"),
    Bad(
        "an archive that leaves its directory",
        "POST",
        "/v1/builds",
        422,
        "bad-archive",
        says="../",
        content=archive("../../etc/passwd"),
        kind=GZIP,
    ),
    Bad(
        "an archive with an absolute path",
        "POST",
        "/v1/builds",
        422,
        "bad-archive",
        says="/etc",
        content=archive("/etc/passwd"),
        kind=GZIP,
    ),
    Bad(
        "an archive with a link out of it",
        "POST",
        "/v1/builds",
        422,
        "bad-archive",
        content=archive("a", link="/etc/passwd"),
        kind=GZIP,
    ),
    Bad("no archive", "POST", "/v1/builds", 422, "bad-archive", content=b"no archive", kind=GZIP),
    Bad(
        "an oversized body",
        "POST",
        "/v1/graphs",
        413,
        "body-too-large",
        says=str(MAX_BODY),
        content=b" " * (MAX_BODY + 1),
    ),
    Bad("a number that is none", "GET", "/v1/graphs?limit=many", 422, "invalid", "limit"),
    Bad("events that are yet to come", "GET", "/v1/events?after=1000000", 410, "gone", says="1000000"),
    Bad("a path out of the API", "GET", "/v1/replicas/..%2f..%2fetc", 404, "no-such-route"),
]


@pytest.fixture
async def daemon(where: Locations) -> AsyncIterator[Serving]:
    """With an inventory of no GPU at all, so that asking for one is impossible."""
    inventory = where.state_dir.parent / "gpus.json"
    inventory.write_text("[]")
    options = EngineOptions(environ={"PATH": "/usr/bin:/bin", "DYNAMOD_GPUS": str(inventory)})
    async with serving(where, options, guard_rules(None), on_shutdown=lambda _: None) as running:
        await running.open_face()
        yield running


async def state(client: httpx.AsyncClient, where: Locations) -> dict[str, Any]:
    """Everything that bad input could have changed."""
    builds = sorted(str(path) for path in Path(where.builds_dir).rglob("*") if path.is_file())
    lists = {path: (await client.get(path)).json() for path in ("/v1/graphs", "/v1/replicas", "/v1/builds", "/v1/gpus")}
    return {**lists, "files": builds, "last": (await client.get("/v1/info")).json()["last_seq"]}


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
async def test_bad_input_is_explained_and_changes_nothing(
    client: httpx.AsyncClient, daemon: Serving, where: Locations, bad: Bad
) -> None:
    assert (await client.post("/v1/graphs", json=submission("there"))).status_code == 201
    async with daemon.engine.subscribe(0) as events:  # the graph has settled before we look
        async for event in events:
            if event.action == "rollout.finished":
                break
    before = await state(client, where)
    content = (
        bad.content if bad.content is not None else json.dumps(bad.body).encode() if bad.body is not None else None
    )
    headers = {"Content-Type": bad.kind} if content is not None else {}
    answer = await client.request(bad.method, bad.path, content=content, headers=headers)
    assert answer.status_code == bad.status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == f"urn:dynamod:problem:{bad.slug}"
    assert problem["detail"]
    assert bad.says in answer.text
    if bad.field is not None:
        assert problem["field"] == bad.field
    assert await state(client, where) == before
