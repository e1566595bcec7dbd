"""/v1/builds over the daemon's socket."""

from __future__ import annotations

import hashlib
from pathlib import Path

import httpx
import pytest

from dynamod.api.rules import GuardRules
from tests.unit.dynamod.builds.making import make_archive

GZIP = {"Content-Type": "application/gzip"}


async def test_a_build_is_uploaded_listed_downloaded_and_removed(tmp_path: Path, client: httpx.AsyncClient) -> None:
    data = make_archive(tmp_path, {"m.py": "A = 1\n"}).read_bytes()
    checksum = hashlib.sha256(data).hexdigest()
    answer = await client.post("/v1/builds", params={"sha256": checksum}, content=data, headers=GZIP)
    assert answer.status_code == 201, answer.text
    build = answer.json()
    assert answer.headers["Location"] == "/v1/builds/g:1"
    again = await client.post("/v1/builds", content=data, headers=GZIP)
    assert (again.status_code, again.json()) == (200, build)
    assert (await client.get("/v1/builds")).json() == {"items": [build], "next": None}
    assert (await client.get(f"/v1/builds/{build['digest'][:10]}")).json() == build
    assert (await client.get("/v1/builds/g:1/archive")).content == data
    assert (await client.delete("/v1/builds/g:1")).status_code == 204
    gone = await client.get("/v1/builds/g:1")
    assert (gone.status_code, gone.json()["type"]) == (404, "urn:dynamod:problem:not-found")


async def test_pages_follow_tags(tmp_path: Path, client: httpx.AsyncClient) -> None:
    for version in "abc":
        data = make_archive(tmp_path, {"m.py": version}, version=version).read_bytes()
        await client.post("/v1/builds", content=data, headers=GZIP)
    first = (await client.get("/v1/builds", params={"limit": 2})).json()
    rest = (await client.get("/v1/builds", params={"limit": 2, "after": first["next"]})).json()
    assert [build["tag"] for build in first["items"] + rest["items"]] == ["g:c", "g:b", "g:a"]
    assert rest["next"] is None


@pytest.mark.parametrize(
    ("content", "headers", "status", "slug"),
    [
        (b"no archive", GZIP, 422, "bad-archive"),
        (b"", GZIP, 422, "bad-archive"),
        (b"{}", {"Content-Type": "application/json"}, 415, "unsupported-media-type"),
    ],
)
async def test_what_is_no_build_is_refused(
    client: httpx.AsyncClient, content: bytes, headers: dict[str, str], status: int, slug: str
) -> None:
    answer = await client.post("/v1/builds", content=content, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:dynamod:problem:{slug}")


async def test_a_submission_names_a_spec_or_a_build_and_not_both(client: httpx.AsyncClient) -> None:
    neither = await client.post("/v1/graphs", json={})
    assert (neither.status_code, neither.json()["field"]) == (422, "spec")
    unknown = await client.post("/v1/graphs", json={"build": "nope:1"})
    assert unknown.status_code == 404


def test_archives_may_be_larger_than_other_bodies() -> None:
    assert GuardRules().max_upload > 10 * GuardRules().max_body
