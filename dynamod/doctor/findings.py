"""How a check says what it found. Texts lose whatever looks like a secret: a report is made to be passed on."""

from __future__ import annotations

from dynamod.schema.doctor import Finding, Verdict
from dynamod.schema.secrecy import redact_text


def ok(name: str, what: str) -> Finding:
    return Finding(name=name, verdict=Verdict.OK, what=redact_text(what))


def warn(name: str, what: str, remedy: str) -> Finding:
    return Finding(name=name, verdict=Verdict.WARN, what=redact_text(what), remedy=redact_text(remedy))


def fail(name: str, what: str, remedy: str) -> Finding:
    return Finding(name=name, verdict=Verdict.FAIL, what=redact_text(what), remedy=redact_text(remedy))
