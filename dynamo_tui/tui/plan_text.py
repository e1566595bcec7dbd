"""A plan in words: what would be done, each operation with its cause, as the daemon says it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from dynamo_tui.tui import figures
from dynamo_tui.tui.tones import Run, Tone
from dynamod.schema import FieldChange, GpuShare, OperationKind, Plan, PlanOperation

_VERBS = {
    OperationKind.START: "starts",
    OperationKind.CREATE: "creates",
    OperationKind.STOP: "drains and stops",
    OperationKind.WAIT: "waits with",
}
_TONES = {
    OperationKind.START: Tone.OK,
    OperationKind.CREATE: Tone.OK,
    OperationKind.STOP: Tone.WARN,
    OperationKind.KILL: Tone.BAD,
    OperationKind.WAIT: Tone.INFO,
}
_STRATEGIES = {
    "none": "nothing to do",
    "create": "new",
    "surge": "surge: the new one is ready before the old one stops",
    "stop_then_start": "stop, then start",
    "scale": "scale",
    "restart": "restart",
    "drain": "drain",
    "stop": "stop",
    "start": "start",
}
_AT_MOST = 8
"""So many groups of operations are told in a confirmation; the page of the plan has them all."""


def verb(kind: OperationKind) -> str:
    return _VERBS.get(kind, f"{kind}s")


def kind_tone(kind: OperationKind) -> Tone:
    return _TONES.get(kind, Tone.TEXT)


def strategy(plan: Plan) -> str:
    return _STRATEGIES.get(plan.strategy, plan.strategy.replace("_", " "))


def subject(operation: PlanOperation) -> str:
    """The replica by service and number."""
    return operation.service if operation.index is None else f"{operation.service}-{operation.index}"


def devices(gpus: Sequence[GpuShare]) -> str:
    """Devices by index, with the share where one is not whole."""
    return ",".join(str(g.index) if g.share >= 1 else f"{g.index}×{g.share:g}" for g in gpus)


def consequences(plan: Plan) -> list[str]:
    """What will happen, in a few lines: operations of one kind, service and cause together."""
    groups: dict[tuple[OperationKind, str, str], list[PlanOperation]] = {}
    for operation in plan.operations:
        groups.setdefault((operation.kind, operation.service, operation.cause), []).append(operation)
    lines = [_group(found) for found in groups.values()]
    if len(lines) > _AT_MOST:
        rest = sum(len(found) for found in list(groups.values())[_AT_MOST:])
        lines = [*lines[:_AT_MOST], f"and {rest} operations more"]
    if plan.is_empty:
        lines.append("changes nothing: everything is as it would be")
    return [*lines, *plan.notes]


def _group(operations: Sequence[PlanOperation]) -> str:
    first = operations[0]
    names = subject(first) if len(operations) == 1 else f"{len(operations)} of {first.service}"
    gpus = [g for o in operations for g in o.gpus]
    where = f" on GPU{'s' if len({g.uuid for g in gpus}) > 1 else ''} {devices(gpus)}" if gpus else ""
    limit = max((o.drain_timeout for o in operations if o.drain_timeout is not None), default=None)
    within = f" within {figures.span(limit)}" if limit is not None else ""
    return f"{verb(first.kind)} {names}{where}{within}: {first.cause}"


def counts(plan: Plan) -> list[Run]:
    """How many operations of each kind there are."""
    runs: list[Run] = []
    for kind in dict.fromkeys(o.kind for o in plan.operations):
        number = sum(o.kind is kind for o in plan.operations)
        runs += [("  ", Tone.MUTED), (f"{number} {kind}", kind_tone(kind))]
    return runs


def operation_lines(operation: PlanOperation) -> Iterator[list[Run]]:
    """All that is known of one operation."""
    yield [(f" {verb(operation.kind)} ", kind_tone(operation.kind)), (subject(operation), Tone.STRONG)]
    yield _fact("because", operation.cause)
    if operation.replica:
        yield _fact("replica", operation.replica)
    if operation.drain_timeout is not None:
        yield _fact("drain", f"requests under way have {figures.span(operation.drain_timeout)}, then it is killed")
    for gpu in operation.gpus:
        share = "" if gpu.share >= 1 else f"  {gpu.share:g} of it"
        yield _fact("GPU", f"{gpu.index}  {gpu.uuid}{share}")
    for reason in operation.placement:
        yield _fact("placed", reason)


def change_lines(changes: Sequence[FieldChange]) -> Iterator[list[Run]]:
    for change in changes:
        yield [
            (f"   {change.path}  ", Tone.TEXT),
            (_value(change.before), Tone.WARN),
            (" → ", Tone.MUTED),
            (_value(change.after), Tone.OK),
        ]


def _fact(label: str, text: str) -> list[Run]:
    return [(f"   {label:<8}", Tone.MUTED), (text, Tone.TEXT)]


def _value(value: object) -> str:
    text = "nothing" if value is None else msgspec.json.encode(value).decode()
    return text if len(text) <= 100 else f"{text[:99]}…"
