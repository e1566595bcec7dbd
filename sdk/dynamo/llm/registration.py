"""Which models are served: workers publish a `ModelCard` under their lease, frontends follow the set."""

from __future__ import annotations

import asyncio
import enum
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dynamo.llm.engines.base import ModelCard
from dynamo.llm.errors import ModelError
from dynamo.llm.model_files import describe
from dynamo.llm.model_transfer import serve_files
from dynamo.llm.tokenizer import read_json
from dynamo.runtime.discovery.base import Change, KeyValue, Reset
from dynamo.runtime.keys import model_key, models_prefix, parse_model_key
from dynamo.sdk.spec import UNREADABLE

if TYPE_CHECKING:
    from dynamo.runtime import DistributedRuntime
    from dynamo.runtime.component import Endpoint
    from dynamo.runtime.distributed import Registration

logger = logging.getLogger(__name__)


class ModelType(enum.Enum):
    """What an endpoint takes, as the original SDK named it. All take token ids here."""

    Chat = "chat"
    Completion = "completions"
    Backend = "backend"
    Embedding = "embeddings"

    def kinds(self) -> list[str]:
        """Routes that it serves; a backend takes both kinds of generation."""
        return ["chat", "completions"] if self is ModelType.Backend else [self.value]


async def register_llm(
    model_type: ModelType,
    endpoint: Endpoint,
    model_path: str,
    model_name: str | None = None,
    context_length: int | None = None,
    kv_cache_block_size: int | None = None,
    **extra: Any,
) -> Registration:
    """Tell frontends that an endpoint serves a model. It lasts as long as this process's lease.

    Args:
        model_path: a directory with the tokenizer; what is not given is read from its `config.json`.
        model_name: what clients call it; the directory's name by default.
        context_length: in tokens.
        kv_cache_block_size: in tokens.

    Raises:
        ModelError: there is no such directory.
    """
    card = _read_card(Path(model_path), model_type, model_name, context_length, kv_cache_block_size)
    card.namespace, card.component, card.endpoint = endpoint.namespace, endpoint.component, endpoint.name
    card.extra = extra
    return await publish_model(endpoint.runtime, card)


def _read_card(
    path: Path, model_type: ModelType, name: str | None, context_length: int | None, block_size: int | None
) -> ModelCard:
    if not path.is_dir():
        raise ModelError(f"{path}: no such directory; models are served from a local directory")
    config = read_json(path / "config.json")
    return ModelCard(
        name=name or path.resolve().name,
        model_path=str(path.resolve()),
        context_length=context_length or int(config.get("max_position_embeddings") or 0),
        block_size=block_size or 16,
        vocab_size=int(config.get("vocab_size") or 0),
        kinds=model_type.kinds(),
    )


async def publish_model(runtime: DistributedRuntime, card: ModelCard) -> Registration:
    """Serve the model's files to frontends that do not see its directory, and put the card into discovery.

    Both last as long as this process's lease. Raises `ModelError` for a directory whose files cannot be served.
    """
    card.files = await asyncio.to_thread(describe, Path(card.model_path)) if card.model_path else []
    if card.files and card.component:
        await serve_files(runtime.namespace(card.namespace).component(card.component), card)
    value = msgspec.json.encode(card)
    return await runtime.register(lambda instance: model_key(runtime.scope, card.name, instance), lambda _: value)


CONFIRM = 10.0
"""Seconds that discovery has, after a restart, to hear of a worker again before it is taken for gone."""

REMEMBERED = 300.0
"""Seconds that a model without workers counts as away: its workers may be restarting, and clients should come back."""


class ModelSet:
    """The models in discovery, kept current. `on_change` is called with a model's name when its workers change."""

    def __init__(self, runtime: DistributedRuntime, on_change: Callable[[str], None] | None = None) -> None:
        self._runtime = runtime
        self._on_change = on_change
        self._cards: dict[str, dict[int, ModelCard]] = {}
        self._since: dict[str, int] = {}
        self._left: dict[str, float] = {}  # names whose last worker left, and when (monotonic)
        self._unconfirmed: dict[tuple[str, int], asyncio.TimerHandle] = {}
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    async def start(self) -> None:
        """Returns once what is there now is known. Raises `DiscoveryError`."""
        watch = await self._runtime.discovery.watch(models_prefix(self._runtime.scope))
        self._replace(watch.snapshot.items)
        self._task = asyncio.create_task(self._follow(watch), name="models")
        self._runtime.own(self)

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        for timer in self._unconfirmed.values():
            timer.cancel()

    def names(self) -> dict[str, int]:
        """Served names, LoRA adapters included, and since when (seconds since the epoch)."""
        found = {}
        for name, cards in self._cards.items():
            since = self._since[name]
            found[name] = since
            for card in cards.values():
                found.update(dict.fromkeys(card.loras, since))
        return found

    def card(self, name: str) -> ModelCard | None:
        """The card of a model or of the model that has an adapter of that name."""
        cards = self._cards.get(name)
        if cards is None:
            cards = next((c for c in self._cards.values() if any(name in card.loras for card in c.values())), None)
        return next(iter(cards.values())) if cards else None

    def away(self, name: str) -> bool:
        """Whether nobody serves that name now, but somebody did a short while ago."""
        left = self._left.get(name)
        return left is not None and self.card(name) is None and time.monotonic() - left < REMEMBERED

    async def wait_for(self, name: str | None = None, timeout: float = 30.0) -> bool:
        """Wait until that model (or any) is served; False when it took longer than `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while not (self._cards if name is None else self.card(name)):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def _follow(self, watch: Any) -> None:
        try:
            async for item in watch:
                if isinstance(item, Reset):
                    self._replace(item.snapshot.items)
                else:
                    self._apply(item)
        finally:
            await watch.close()

    def _replace(self, items: tuple[KeyValue, ...]) -> None:
        """Start over with what discovery knows. Workers that it knows no more are kept for a moment: after it lost its
        memory (a restart) most of them are about to register again."""
        before = {name: dict(cards) for name, cards in self._cards.items()}
        for item in items:
            self._put(item.key, item.value)
        present = {parse_model_key(self._runtime.scope, item.key) for item in items}
        loop = asyncio.get_running_loop()
        for worker in ((name, instance) for name, cards in before.items() for instance in cards):
            if worker not in present and worker not in self._unconfirmed:
                self._unconfirmed[worker] = loop.call_later(CONFIRM, self._drop, *worker)
        for name, cards in self._cards.items():
            if before.get(name) != cards:
                self._tell(name)

    def _apply(self, change: Change) -> None:
        parsed = parse_model_key(self._runtime.scope, change.key)
        if parsed is None:
            return
        if change.value is None:
            self._drop(*parsed)
        else:
            self._put(change.key, change.value)
            self._tell(parsed[0])

    def _drop(self, name: str, instance: int) -> None:
        self._confirm(name, instance)
        if name in self._cards:
            self._note_leaving(self._cards[name])
            self._cards[name].pop(instance, None)
            if not self._cards[name]:
                del self._cards[name]
        self._tell(name)

    def _confirm(self, name: str, instance: int) -> None:
        if (timer := self._unconfirmed.pop((name, instance), None)) is not None:
            timer.cancel()

    def _put(self, key: str, value: bytes) -> None:
        parsed = parse_model_key(self._runtime.scope, key)
        if parsed is None:
            return
        name, instance = parsed
        try:
            card = msgspec.json.decode(value, type=ModelCard)
        except UNREADABLE as error:
            logger.warning("%s: not a model card (%s); ignored", key, error)
            return
        self._confirm(name, instance)
        self._since.setdefault(name, int(time.time()))
        self._cards.setdefault(name, {})[instance] = card

    def _note_leaving(self, cards: dict[int, ModelCard]) -> None:
        """One of these workers leaves, or may have left."""
        now = time.monotonic()
        self._left = {name: left for name, left in self._left.items() if now - left < REMEMBERED}
        for card in cards.values():
            self._left.update(dict.fromkeys((card.name, *card.loras), now))

    def _tell(self, name: str) -> None:
        self._changed.set()
        if name not in self._cards:
            self._since.pop(name, None)
        if self._on_change is not None:
            self._on_change(name)
