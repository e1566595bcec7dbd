"""A build from the working tree to an answer: made without a daemon, deployed, updated, handed on."""

from __future__ import annotations

import json
import shutil
import urllib.request
from pathlib import Path

from tests.e2e.commands import EXAMPLES, Home


def answer(address: str) -> str:
    request = urllib.request.Request(
        f"{address}/generate", json.dumps({"text": "test"}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        text: str = response.read().decode()
        return text


def project(home: Home) -> Path:
    path = home.path / "project"
    shutil.copytree(EXAMPLES / "hello_world", path)
    return path


def test_hello_world_is_built_once_and_runs_elsewhere(home: Home) -> None:
    built = home.run("build", "hello_world:Frontend", "-t", "hello:1", cwd=project(home))
    assert built.stdout == "Successfully built hello:1.\n"
    deployed = home.json("deploy", "hello:1", "-n", "hello", "-p", "0", "--Middle.message=top")
    assert deployed["state"] == "ready"
    assert "Backend: test-top-back" in answer(deployed["address"])
    (build,) = home.json("builds", "ls")
    assert build["used_by"] == ["default/hello"]
    assert {"msgspec", "fastapi"} <= {package["name"] for package in build["packages"]}
    assert "used by default/hello" in home.run("builds", "rm", "hello", code=4).stderr
    assert "already" in home.run("deployment", "create", "hello:1", "-n", "hello", code=4).stderr
    file = home.path / "hello.tar.gz"
    home.run("builds", "export", "hello:1", str(file))
    home.run("deployment", "delete", "hello")
    home.run("builds", "rm", "hello:1")
    assert home.json("builds", "ls") == []
    home.run("submit", str(file), "--wait", "-p", "0")
    assert [one["tag"] for one in home.json("builds", "ls")] == ["hello:1"]


def test_a_cluster_that_is_not_there_is_one_line(home: Home) -> None:
    home.run("build", "hello_world:Frontend", "-t", "hello:1", cwd=project(home))
    none = home.run("deploy", "hello:1", "--target", "kubernetes", code=None)
    assert none.returncode != 0
    assert "the kubeconfig cannot be used" in none.stderr
    file = home.path / "kubeconfig"
    user, cluster = {"name": "u", "user": {"token": "t"}}, {"server": "http://127.0.0.1:9"}
    context = {"name": "c", "context": {"cluster": "k", "user": "u"}}
    known = {"clusters": [{"name": "k", "cluster": cluster}], "users": [user], "contexts": [context]}
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": "c", **known}))
    away = home.run("deploy", "hello:1", "--target", "kubernetes", "--kubeconfig", str(file), code=None)
    assert away.returncode != 0
    assert "the cluster at http://127.0.0.1:9 does not answer" in away.stderr
    assert home.json("graphs") == []
