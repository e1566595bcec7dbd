from __future__ import annotations

import logging

import msgspec
import pytest

from dynamo.sdk.spec import GraphSpec, ServiceSpec
from dynamod.api.examples import EXAMPLES
from dynamod.redaction import (
    RedactingFormatter,
    is_secret_name,
    redact_plan,
    redact_revision,
    redact_text,
    redact_tree,
)
from dynamod.schema import FieldChange, Plan, Revision


@pytest.mark.parametrize("name", ["API_KEY", "HF_TOKEN", "token", "db.password", "AWS_SECRET_ACCESS_KEY", "my-secret"])
def test_secret_names(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["MAX_TOKENS", "tokens", "KEYBOARD", "monkey", "tokenizer", "block_size"])
def test_names_that_only_look_like_it(name: str) -> None:
    assert not is_secret_name(name)


def test_a_spec_is_shown_without_its_secrets() -> None:
    service = ServiceSpec(
        name="W", target="m:W", envs={"HF_TOKEN": "hf_abc", "A": "b"}, config={"db": {"password": "x"}, "max_tokens": 5}
    )
    spec = GraphSpec(name="g", target="m:W", entry="W", services=(service,), envs={"API_KEY": "k"})
    revision: Revision = msgspec.structs.replace(EXAMPLES[Revision](), spec=spec)
    shown = msgspec.json.encode(redact_revision(revision)).decode()
    assert "hf_abc" not in shown
    assert '"password":"x"' not in shown
    assert '"API_KEY":"***"' in shown
    assert '"max_tokens":5' in shown
    assert '"A":"b"' in shown


def test_a_plan_is_shown_without_the_secrets_that_change() -> None:
    changes = [
        FieldChange(path="envs.HF_TOKEN", before="old", after="new"),
        FieldChange(path="services.W.config", before=None, after={"api_key": "k", "model": "m"}),
        FieldChange(path="services.W.workers", before=1, after=2),
    ]
    plan = redact_plan(Plan(id="p", graph="g", project="d", basis="1", changes=changes, operations=[]))
    assert plan.changes[0] == FieldChange(path="envs.HF_TOKEN", before="***", after="***")
    assert plan.changes[1].after == {"api_key": "***", "model": "m"}
    assert plan.changes[2] == changes[2]


def test_running_text_loses_its_secrets() -> None:
    text = redact_text(
        "Authorization: Bearer abcdefghijkl; HF_TOKEN=hf_123456 postgresql://me:hunter2@db/x max_tokens=512"
    )
    assert text == "Authorization: Bearer ***; HF_TOKEN=*** postgresql://me:***@db/x max_tokens=512"
    assert redact_tree([{"secret": "s"}]) == [{"secret": "***"}]


def test_our_log_lines_lose_their_secrets_traceback_included() -> None:
    try:
        raise ValueError("password=hunter22")
    except ValueError as error:
        info = (type(error), error, error.__traceback__)
    record = logging.LogRecord("x", logging.ERROR, "f", 1, "env %s", ("API_KEY=abcd1234",), info)
    shown = RedactingFormatter().format(record)
    assert "hunter22" not in shown.splitlines()[-1]
    assert "abcd1234" not in shown
