"""How payloads and items become msgpack inside a frame.

msgspec encodes what it knows (dict, list, str, bytes, numbers, dataclasses, structs, datetimes …). Beyond
that: pydantic models and numpy scalars and arrays, recognised by what they can do, so that neither package
is imported here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from dynamo.runtime.errors import InvalidPayload


def to_builtin(value: Any) -> Any:
    """What msgspec calls for a type it does not know. Raises `TypeError` naming the type."""
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(mode="json")
    as_list = getattr(value, "tolist", None)
    if as_list is not None:
        return as_list()
    raise TypeError(f"a {type(value).__module__}.{type(value).__qualname__} cannot be sent")


encoder = msgspec.msgpack.Encoder(enc_hook=to_builtin)

ENCODE_ERRORS = (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError)


def converter(request_type: Any) -> Callable[[Any], Any] | None:
    """A function that turns a decoded payload into `request_type`; None where any payload will do.

    A pydantic model is also read from a JSON string. The function raises `InvalidPayload` naming the field.
    """
    if request_type is None or request_type is Any:
        return None
    if hasattr(request_type, "model_validate"):
        return lambda payload: _to_model(request_type, payload)

    def convert(payload: Any) -> Any:
        try:
            return msgspec.convert(payload, request_type)
        except msgspec.ValidationError as error:
            raise InvalidPayload(str(error)) from error

    return convert


def _to_model(model: Any, payload: Any) -> Any:
    try:
        if isinstance(payload, str | bytes):
            return model.model_validate_json(payload)
        return model.model_validate(payload)
    except ValueError as error:  # pydantic's ValidationError is one
        raise InvalidPayload(_name_fields(error)) from error


def _name_fields(error: ValueError) -> str:
    details = getattr(error, "errors", None)
    if details is None:
        return str(error)
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc']) or 'payload'}: {item['msg']}"
        for item in details(include_url=False, include_input=False)
    )
