from __future__ import annotations

import logging

import msgspec

from dynamo.sdk.spec import GraphSpec, ServiceSpec
from dynamod.api.examples import EXAMPLES
from dynamod.redaction import RedactingFormatter, redact_plan, redact_revision, redact_tree
from dynamod.schema import FieldChange, Plan, Revision


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


def test_plain_data_loses_its_secrets_at_every_depth() -> None:
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
