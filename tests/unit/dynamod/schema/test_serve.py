import msgspec
import pytest

from dynamod.schema import ServeOptions


def test_options_survive_the_private_file() -> None:
    options = ServeOptions(target="hello:Frontend", port=0, overrides=("--Worker.a=1",))
    assert msgspec.json.decode(msgspec.json.encode(options), type=ServeOptions) == options


def test_an_unknown_option_is_refused_by_name() -> None:
    with pytest.raises(msgspec.ValidationError, match="colour"):
        msgspec.json.decode(b'{"target": "a:B", "colour": "red"}', type=ServeOptions)
