"""Text to token ids and back, without torch or transformers in the process.

A model directory holds `tokenizer.json` (Hugging Face `tokenizers` format) and, mostly,
`tokenizer_config.json`, `special_tokens_map.json`, `config.json` and `generation_config.json`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import tokenizers
from tokenizers.decoders import DecodeStream

from dynamo.llm.errors import ModelError, RequestError
from dynamo.sdk.spec import UNREADABLE

PRIMING_TOKENS = 6
"""Prompt tokens that prime the decoder, so that the first word keeps its leading space."""

MAX_UNDECODED = 16
"""Ids that may wait for the rest of a character; UTF-8 needs four bytes, more is noise from the model."""

SPECIAL_TOKEN_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty when there is no such file.

    Raises:
        ModelError: the file is there but is not a JSON object.
    """
    try:
        value = msgspec.json.decode(path.read_bytes())
    except FileNotFoundError:
        return {}
    except UNREADABLE as error:
        raise ModelError(f"{path}: not JSON ({error}); copy the model directory again") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path}: holds no JSON object; copy the model directory again")
    return value


class Tokenizer:
    """One model's tokenizer. Safe to use from several threads; encoding releases the GIL."""

    def __init__(self, path: str | Path) -> None:
        """Load from a model directory.

        Raises:
            ModelError: no `tokenizer.json` there, or one that does not load.
        """
        self.path = Path(path)
        file = self.path / "tokenizer.json"
        if not file.is_file():
            raise ModelError(f"{file}: not found; a model directory needs a tokenizer.json (fast tokenizer)")
        try:
            self.inner = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the bindings raise a bare Exception
            raise ModelError(f"{file}: does not load: {error}") from None
        self._texts: dict[int, str] = {}  # by id; logprobs ask for up to 21 a token
        self.inner.no_truncation()
        self.inner.no_padding()
        self.config = read_json(self.path / "tokenizer_config.json")
        self.special_tokens = self._read_special_tokens()
        self.eos_token_ids = self._read_eos()

    @property
    def vocab_size(self) -> int:
        """Ids run from 0 to this, added tokens included."""
        return self.inner.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """The ids of a text. `add_special_tokens` is what completions want and rendered chats do not.

        Raises:
            RequestError: the text holds half of a surrogate pair.
        """
        try:
            # Of the library's methods this one releases the GIL, and leaves out offsets, which nobody here reads.
            return self.inner.encode_batch_fast([text], add_special_tokens=add_special_tokens)[0].ids
        except (UnicodeEncodeError, TypeError):
            raise RequestError("The prompt is not valid Unicode: it holds a lone surrogate.", param="prompt") from None

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        return self.inner.decode(list(ids), skip_special_tokens=skip_special_tokens)

    def token_text(self, token_id: int) -> str:
        """One token on its own, as logprobs show it; half a character shows as U+FFFD."""
        text = self._texts.get(token_id)
        if text is None:
            text = self._texts[token_id] = self.inner.decode([token_id], skip_special_tokens=False)
        return text

    def detokenizer(self, prompt: Sequence[int] = (), *, skip_special_tokens: bool = True) -> Detokenizer:
        return Detokenizer(self.inner, prompt, skip_special_tokens=skip_special_tokens)

    def _read_special_tokens(self) -> dict[str, str]:
        named: dict[str, str] = {}
        for source in (read_json(self.path / "special_tokens_map.json"), self.config):
            for name in SPECIAL_TOKEN_NAMES:
                value = source.get(name)
                if isinstance(value, dict):
                    value = value.get("content")
                if isinstance(value, str):
                    named[name] = value
        return named

    def _read_eos(self) -> list[int]:
        """End-of-sequence ids: those of `generation_config.json`, else `config.json`, else the tokenizer's."""
        for name in ("generation_config.json", "config.json"):
            value = read_json(self.path / name).get("eos_token_id")
            if isinstance(value, int):
                return [value]
            if isinstance(value, list) and value:
                return [int(item) for item in value]
        token = self.special_tokens.get("eos_token")
        token_id = self.inner.token_to_id(token) if token else None
        return [] if token_id is None else [token_id]


class Detokenizer:
    """Ids in, text out, as soon as whole characters are there.

    The texts joined equal the decoding of all ids at once.
    """

    __slots__ = ("_pending", "_skip", "_step", "_stream", "_tokenizer")

    def __init__(
        self, tokenizer: tokenizers.Tokenizer, prompt: Sequence[int] = (), *, skip_special_tokens: bool = True
    ) -> None:
        self._tokenizer = tokenizer
        self._skip = skip_special_tokens
        self._pending: list[int] = []
        self._stream = DecodeStream(ids=list(prompt[-PRIMING_TOKENS:]), skip_special_tokens=skip_special_tokens)
        self._step = self._stream.step

    def feed(self, ids: Iterable[int]) -> str:
        """The text that these ids complete; empty while a character is unfinished."""
        text = ""
        for token_id in ids:
            try:
                piece = self._step(self._tokenizer, token_id)
            except Exception:  # "invalid prefix": the decoder rewrote text that was already out
                self._pending.append(token_id)
                text += self._restart()
                continue
            if piece is not None:
                text += piece
                if self._pending:
                    self._pending.clear()
            else:
                self._pending.append(token_id)
                if len(self._pending) >= MAX_UNDECODED:
                    text += self._restart()
        return text

    def finish(self) -> str:
        """What is left when no more ids come: broken characters as U+FFFD."""
        return self._restart() if self._pending else ""

    def _restart(self) -> str:
        text = self._tokenizer.decode(self._pending, skip_special_tokens=self._skip)
        self._pending.clear()
        self._stream = DecodeStream(skip_special_tokens=self._skip)
        self._step = self._stream.step
        return text
