from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamo.sdk.config import Source, merged, read_environment, read_file
from dynamo.sdk.errors import ConfigError
from dynamo.sdk.lib.config import ServiceConfig
from dynamo.sdk.options import merge
from dynamo.sdk.overrides import parse_overrides, split_overrides


def in_environment(monkeypatch: pytest.MonkeyPatch, config: Any) -> ServiceConfig:
    monkeypatch.setenv("DYNAMO_SERVICE_CONFIG", json.dumps(config))
    return ServiceConfig.get_instance()


def test_common_keys_come_first_and_the_services_own_win(monkeypatch: pytest.MonkeyPatch) -> None:
    config = in_environment(
        monkeypatch,
        {
            "Common": {"model": "m", "block-size": 64, "unused": 1},
            "W": {"enforce-eager": True, "block-size": 128, "common-configs": ["model", "block-size", "absent"]},
        },
    )
    assert config.as_args("W") == ["--model", "m", "--block-size", "128", "--enforce-eager"]
    assert ServiceConfig.get_parsed_config("W") == {"model": "m", "block-size": 128, "enforce-eager": True}
    assert ServiceConfig.get_instance() is config


def test_without_common_configs_nothing_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert in_environment(monkeypatch, {"Common": {"model": "m"}, "W": {"a": 1}}).as_args("W") == ["--a", "1"]


def test_flags_mappings_and_service_args(monkeypatch: pytest.MonkeyPatch) -> None:
    config = in_environment(
        monkeypatch,
        {
            "W": {
                "enable-prefix-caching": False,
                "use_tqdm_on_load": False,
                "multi-step-stream-outputs": False,
                "other": False,
                "kv": {"a": 1},
                "none": None,
                "ServiceArgs": {"workers": 2},
            }
        },
    )
    assert config.as_args("W") == [
        "--no-enable-prefix-caching",
        "--no-use-tqdm-on-load",
        "--no-multi-step-stream-outputs",
        "--kv",
        '{"a": 1}',
    ]


def test_a_prefix_selects_and_is_stripped(monkeypatch: pytest.MonkeyPatch) -> None:
    config = in_environment(monkeypatch, {"W": {"vllm-a": 1, "other": 2}})
    assert config.as_args("W", prefix="vllm-") == ["--a", "1"]
    assert config.as_args("Nobody") == []


def test_require(monkeypatch: pytest.MonkeyPatch) -> None:
    config = in_environment(monkeypatch, {"Common": {"m": 2}, "S": {"k": 1, "common-configs": ["m"]}})
    assert (config.require("S", "k"), config.require("S", "m"), config.get("S", {})["k"]) == (1, 2, 1)
    with pytest.raises(ValueError, match=r"^S\.x must be specified in configuration$"):
        config.require("S", "x")
    with pytest.raises(ValueError, match=r"^T\.k must be specified in configuration$"):
        config.require("T", "k")


@pytest.mark.parametrize("text", ["{", "[]", '{"S": 3}'])
def test_a_broken_environment_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("DYNAMO_SERVICE_CONFIG", text)
    with pytest.raises(ValueError, match=r"^DYNAMO_SERVICE_CONFIG: "):
        ServiceConfig.get_instance()


def test_no_environment_is_an_empty_configuration() -> None:
    assert ServiceConfig.get_instance() == {}


def test_sources_merge_at_every_depth(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "S:\n  a: {b: 1, c: {d: 1, e: 2}}\n  l: [1, 2]\n  ServiceArgs: {workers: 2, envs: [{name: A, value: 1}]}\n"
    )
    over = {"DYN_DEPLOYMENT_CONFIG": '{"S": {"a": {"c": {"d": 5}}, "ServiceArgs": {"envs": {"B": true}}}}'}
    deployment = read_environment(over)
    assert deployment is not None
    result = merged([read_file(file), deployment, parse_overrides(["--S.a.c.e=9", "--S.l=[3]", "--T.x=1"])])
    assert result == {
        "S": {
            "a": {"b": 1, "c": {"d": 5, "e": 9}},
            "l": [3],
            "ServiceArgs": {"workers": 2, "envs": {"A": "1", "B": "true"}},
        },
        "T": {"x": 1},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("S: [1", r"c\.yaml: line \d: not YAML: "),
        ("- a", r"c\.yaml: must map service names to their keys, not list"),
        ("S: 3", r"c\.yaml: S: must be a mapping of keys, not 3"),
        ("S: {ServiceArgs: 1}", r"c\.yaml: S\.ServiceArgs: must be a mapping of keys, not 1"),
        ("S: {ServiceArgs: {envs: 1}}", r"c\.yaml: S\.ServiceArgs\.envs: must be a list"),
    ],
)
def test_a_broken_file_is_one_line_that_names_it(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_file(file)
    assert "\n" not in str(caught.value)


def test_a_missing_and_an_empty_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file"):
        read_file(tmp_path / "none.yaml")
    (tmp_path / "empty.yaml").write_text("")
    assert read_file(tmp_path / "empty.yaml").config == {}
    assert read_environment({}) is None


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("--S.k=1", 1),
        ("--S.k=1.5", 1.5),
        ("--S.k=.5", 0.5),
        ("--S.k=007", 7),
        ("--S.k=true", True),
        ("--S.k=False", False),
        ("--S.k=null", None),
        ("--S.k=-3", -3),
        ("--S.k=--flag", "--flag"),
        ("--S.k=text", "text"),
        ("--S.k=a=b", "a=b"),
        ("--S.k=", ""),
        ('--S.k="1"', "1"),
        ('--S.k={"a": [1]}', {"a": [1]}),
        ("--S.k=NaN", "NaN"),
        ("--S.k=1_000", "1_000"),
    ],
)
def test_values_are_json_then_numbers_then_booleans_then_text(argument: str, value: Any) -> None:
    assert parse_overrides([argument]) == Source("command line", {"S": {"k": value}})


def test_forms_of_overrides() -> None:
    assert parse_overrides(["--S.a.b=1", "--S.a.c", "2", "--S.d", "=", "3", "--S.a.b=4"]).config == {
        "S": {"a": {"b": 4, "c": 2}, "d": 3}
    }
    assert parse_overrides(["--S.ServiceArgs.workers=2", "--S.ServiceArgs.envs.N=0"]).config == {
        "S": {"ServiceArgs": {"workers": 2, "envs": {"N": "0"}}}
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--S.k"], "'--S.k' has no value; write --S.k=value"),
        (["--S.k", "-1"], "'--S.k' has no value"),
        (["--S=1"], "'--S=1' is not an override; write --Service.key=value"),
        (["--S.=1"], "is not an override"),
        (["word"], "'word' is not an override"),
    ],
)
def test_a_bad_override_is_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_overrides(arguments)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
keys = st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,8}", fullmatch=True).filter(lambda key: key != "ServiceArgs")


@settings(deadline=None)
@given(st.lists(keys, min_size=1, max_size=4), json_values)
def test_an_override_carries_any_json_value_to_any_depth(path: list[str], value: Any) -> None:
    expected: Any = value
    for key in reversed(path):
        expected = {key: expected}
    assert parse_overrides([f"--S.{'.'.join(path)}={json.dumps(value)}"]).config == {"S": expected}


nested = st.recursive(st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner), max_leaves=8)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), nested), st.dictionaries(st.sampled_from("abc"), nested))
def test_merging_keeps_what_only_one_source_says(base: dict[str, Any], over: dict[str, Any]) -> None:
    before = json.dumps([base, over])
    result = merge(base, over)
    assert merge(base, {}) == base
    assert merge(result, over) == result, "laying the same over again changes nothing"
    for key in base.keys() - over.keys():
        assert result[key] == base[key]
    for key, value in over.items():
        if not isinstance(value, dict):
            assert result[key] == value
    assert json.dumps([base, over]) == before, "sources stay as they were"


def test_overrides_are_told_apart_from_the_commands_own_options() -> None:
    assert split_overrides(["m:S", "--S.a", "1", "-f", "x.yaml", "--S.b=2", "--port", "3"]) == (
        ["m:S", "-f", "x.yaml", "--port", "3"],
        ["--S.a", "1", "--S.b=2"],
    )
