"""The REST face over a real engine: graphs, revisions, problems, pages and entity tags."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.unit.dynamod.api.graph import spec, submission


def problem(response: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["dynamod-api-version"] == "1"
    found: dict[str, Any] = response.json()
    assert found["type"] == f"urn:dynamod:problem:{slug}", found
    return found


async def test_creating_is_idempotent_by_name_and_spec(client: httpx.AsyncClient) -> None:
    first = await client.post("/v1/graphs", json=submission())
    assert first.status_code == 201
    assert first.headers["location"] == "/v1/graphs/hello?project=default"
    assert first.json()["revision"] == 1
    again = await client.post("/v1/graphs", json=submission())
    assert again.status_code == 200
    assert again.json()["revision"] == 1
    changed = await client.post("/v1/graphs", json=submission(envs={"A": "b"}))
    assert changed.status_code == 201
    assert changed.json()["revision"] == 2
    revisions = (await client.get("/v1/graphs/hello/revisions")).json()["items"]
    assert [revision["number"] for revision in revisions] == [2, 1]


async def test_secrets_of_a_spec_are_not_shown(client: httpx.AsyncClient) -> None:
    await client.post("/v1/graphs", json=submission(envs={"HF_TOKEN": "hf_abc", "A": "b"}))
    shown = await client.get("/v1/graphs/hello/revisions/1")
    assert shown.json()["spec"]["services"][0]["envs"] == {"HF_TOKEN": "***", "A": "b"}
    events = await client.get("/v1/events", params={"after": 0})
    assert "hf_abc" not in events.text


async def test_an_update_of_what_was_seen_goes_through_and_one_of_something_older_does_not(
    client: httpx.AsyncClient,
) -> None:
    seen = (await client.post("/v1/graphs", json=submission())).headers["etag"]
    path = "/v1/graphs/hello/services/Worker/scale"
    problem(await client.post(path, json={"replicas": 0}, headers={"If-Match": '"x"'}), 412, "precondition-failed")
    for action in ("stop", "start", "restart", "rollback"):
        refused = await client.post(f"/v1/graphs/hello/{action}", headers={"If-Match": '"x"'})
        problem(refused, 412, "precondition-failed")
    problem(await client.delete("/v1/graphs/hello", headers={"If-Match": '"x"'}), 412, "precondition-failed")
    assert seen.startswith('"')
    now = (await client.get("/v1/graphs/hello")).headers["etag"]
    assert (await client.post(path, json={"replicas": 0}, headers={"If-Match": now})).status_code == 200
    assert (await client.post(path, json={"replicas": 0}, headers={"If-Match": "*"})).status_code == 200


async def test_an_unchanged_graph_costs_no_body(client: httpx.AsyncClient) -> None:
    await client.post("/v1/graphs", json=submission())
    shown = await client.get("/v1/graphs/hello")
    again = await client.get("/v1/graphs/hello", headers={"If-None-Match": shown.headers["etag"]})
    assert again.status_code in (200, 304)
    if again.status_code == 304:
        assert again.content == b""


async def test_lists_are_paged_by_cursor(client: httpx.AsyncClient) -> None:
    for n in range(5):
        await client.post("/v1/graphs", json=submission(f"g{n}"))
    names, after = [], None
    while True:
        params = {"limit": 2, **({"after": after} if after else {})}
        page = (await client.get("/v1/graphs", params=params)).json()
        names += [graph["name"] for graph in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert names == [f"g{n}" for n in range(5)]


async def test_pages_over_all_projects_skip_and_repeat_nothing(client: httpx.AsyncClient) -> None:
    """A project's name may sort before the separator of the cursor."""
    for project in ("a", "a-b", "a.c", "ab"):
        assert (await client.post("/v1/graphs", json={**submission(), "project": project})).status_code == 201
    seen, params = [], {"project": "*", "limit": "1"}
    while True:
        page = (await client.get("/v1/graphs", params=params)).json()
        seen += [graph["project"] for graph in page["items"]]
        if page["next"] is None:
            break
        params["after"] = page["next"]
    assert sorted(seen) == ["a", "a-b", "a.c", "ab"]


async def test_a_list_shows_each_graph_as_it_is_now(client: httpx.AsyncClient) -> None:
    for name in ("one", "two"):
        await client.post("/v1/graphs", json=submission(name))
    for replicas in (0, 2, 1):
        await client.post("/v1/graphs/one/services/Worker/scale", json={"replicas": replicas})
        listed = (await client.get("/v1/graphs")).json()["items"]
        assert [graph["services"][0]["desired"] for graph in listed] == [replicas, 0]
    await client.delete("/v1/graphs/two")
    async with asyncio.timeout(20):
        while len((await client.get("/v1/graphs")).json()["items"]) == 2:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("body", "status", "slug", "field"),
    [
        (b"", 400, "malformed", None),
        (b"{", 400, "malformed", None),
        (b"\xff", 400, "malformed", None),
        (b"[]", 422, "invalid", None),
        (b"{}", 422, "invalid", "spec"),
        (b'{"spec": {}, "colour": 1}', 422, "invalid", "spec.name"),
        (b'{"spec": 7}', 422, "invalid", "spec"),
    ],
)
async def test_a_body_that_cannot_be_read_says_where(
    client: httpx.AsyncClient, body: bytes, status: int, slug: str, field: str | None
) -> None:
    found = problem(await client.post("/v1/graphs", content=body), status, slug)
    assert found.get("field") == field
    assert (await client.get("/v1/graphs")).json()["items"] == []


async def test_a_spec_that_contradicts_itself_is_refused_and_changes_nothing(client: httpx.AsyncClient) -> None:
    bad = spec()
    bad["entry"] = "Nobody"
    found = problem(await client.post("/v1/graphs", json={"spec": bad}), 422, "invalid")
    assert "Nobody" in found["detail"]
    assert (await client.get("/v1/graphs")).json()["items"] == []


async def test_a_body_of_another_type_is_refused(client: httpx.AsyncClient) -> None:
    refused = await client.post("/v1/graphs", content=b"{}", headers={"Content-Type": "text/yaml"})
    problem(refused, 415, "unsupported-media-type")


@pytest.mark.parametrize(
    ("method", "path", "status", "slug"),
    [
        ("GET", "/v1/graphs/nobody", 404, "not-found"),
        ("GET", "/v1/graphs/nobody/revisions", 404, "not-found"),
        ("GET", "/v1/graphs/nobody/logs", 404, "not-found"),
        ("GET", "/v1/graphs/nobody/logs/stream", 404, "not-found"),
        ("GET", "/v1/graphs/nobody/rates", 404, "not-found"),
        ("GET", "/v1/graphs/nobody/kv", 404, "not-found"),
        ("GET", "/v1/graphs/nobody/kv/stream", 404, "not-found"),
        ("GET", "/v1/graphs/nobody/metrics?name=x", 404, "not-found"),
        ("GET", "/v1/replicas/nobody", 404, "not-found"),
        ("GET", "/v1/replicas/nobody/why", 404, "not-found"),
        ("GET", "/v1/plans/nobody", 404, "not-found"),
        ("DELETE", "/v1/graphs/nobody", 404, "not-found"),
        ("GET", "/v2/graphs", 404, "no-such-route"),
        ("PUT", "/v1/graphs", 405, "method-not-allowed"),
        ("GET", "/v1/graphs?limit=0", 422, "invalid"),
        ("GET", "/v1/graphs?limit=x", 422, "invalid"),
        ("GET", "/v1/events?after=-1", 422, "invalid"),
        ("GET", "/v1/events?action=no.such", 422, "invalid"),
    ],
)
async def test_every_refusal_is_a_problem_document(
    client: httpx.AsyncClient, method: str, path: str, status: int, slug: str
) -> None:
    problem(await client.request(method, path), status, slug)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/v1/graphs", "GET, POST"), ("/v1/graphs/hello", "DELETE, GET"), ("/v1/builds/prune", "POST")],
)
async def test_a_method_that_does_not_fit_is_told_which_do(client: httpx.AsyncClient, path: str, allowed: str) -> None:
    refused = await client.request("PATCH", path)
    problem(refused, 405, "method-not-allowed")
    assert refused.headers["allow"] == allowed


async def test_a_refused_parameter_is_named(client: httpx.AsyncClient) -> None:
    await client.post("/v1/graphs", json=submission())
    for path, field in (
        ("/v1/graphs?limit=0", "limit"),
        ("/v1/graphs/hello/logs?regex=(", "regex"),
        ("/v1/graphs/hello/logs?level=loud", "level"),
        ("/v1/graphs/hello/kv?window=0", "window"),
        ("/v1/graphs/hello/revisions?after=x", "after"),
    ):
        assert problem(await client.get(path), 422, "invalid")["field"] == field


async def test_a_plan_is_made_shown_applied_and_refused_once_stale(client: httpx.AsyncClient) -> None:
    plan = await client.post("/v1/plans", json={"submit": submission(envs={"API_KEY": "k1"})})
    assert plan.status_code == 201
    assert (await client.get("/v1/graphs")).json()["items"] == []
    assert (await client.get(plan.headers["location"])).json() == plan.json()
    applied = await client.post(f"{plan.headers['location']}/apply")
    assert applied.json()["revision"] == 1
    update = await client.post("/v1/plans", json={"submit": submission(envs={"API_KEY": "k2"})})
    assert "k2" not in update.text
    await client.post("/v1/graphs", json=submission(envs={"B": "c"}))
    problem(await client.post(f"{update.headers['location']}/apply"), 409, "stale-plan")


async def test_the_daemon_tells_about_itself(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).text == "ok\n"
    info = (await client.get("/v1/info")).json()
    assert info["api_version"] == "1"
    assert info["last_seq"] >= 1
    await client.post("/v1/graphs", json=submission())
    text = (await client.get("/metrics")).text
    assert 'dynamod_graphs{state="' in text
    assert "process_resident_memory_bytes" in text
