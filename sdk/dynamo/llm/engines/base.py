"""What an engine is: token ids in, token ids out, with KV events and load figures.

Every engine (vLLM, the simulator, echo) stands behind `Engine`; the worker service, the router and the
frontend know nothing else. All types are msgspec structs: they are what crosses the request plane.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Literal, Protocol

import msgspec

FinishReason = Literal["stop", "length", "cancelled", "error"]
TokenIds = list[int]


class SamplingOptions(msgspec.Struct, kw_only=True, omit_defaults=True):
    """OpenAI's sampling knobs; None leaves the engine's default."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    logprobs: int | None = None  # number of alternatives per token; 0 is the chosen one alone
    logit_bias: dict[int, float] | None = None  # token id to bias
    guided: dict[str, Any] | None = None
    """{"json": schema} | {"json_object": true} | {"regex": ...} | {"choice": [...]} | {"grammar": ...};
    only for engines whose card says `extra["guided"]`."""


class StopOptions(msgspec.Struct, kw_only=True, omit_defaults=True):
    """When to stop. Stop *strings* are the frontend's business: engines see ids only."""

    max_tokens: int | None = None
    min_tokens: int = 0
    stop_token_ids: TokenIds = []
    ignore_eos: bool = False


class EngineRequest(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One prompt. `salt` and `lora` separate otherwise equal prefixes in the cache.

    `overlap_blocks` is the router's prediction of what the chosen worker holds, for comparison. `dp_rank` is the
    data-parallel rank that it chose; None leaves the choice to the engine.
    """

    request_id: str
    token_ids: TokenIds
    model: str = ""
    sampling: SamplingOptions = msgspec.field(default_factory=SamplingOptions)
    stop: StopOptions = msgspec.field(default_factory=StopOptions)
    lora: str | None = None
    salt: str | None = None
    overlap_blocks: int | None = None
    dp_rank: int | None = None


class TokenLogprob(msgspec.Struct, kw_only=True, omit_defaults=True):
    token_id: int
    logprob: float
    top: list[tuple[int, float]] = []


class EngineOutput(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A delta: the ids generated since the last one (possibly several, possibly none at the finish).

    `cached_tokens` comes with the first delta: prompt tokens that the engine took from its prefix cache.
    """

    token_ids: TokenIds = []
    finish_reason: FinishReason | None = None
    stop_reason: int | str | None = None
    cached_tokens: int | None = None
    prompt_tokens: int | None = None
    logprobs: list[TokenLogprob] | None = None
    error: str | None = None


class StoredBlock(msgspec.Struct, frozen=True):
    """`block_hash` is the engine's own name of the block, `tokens_hash` ours of its tokens (see kv.hashing)."""

    block_hash: int
    tokens_hash: int


class BlocksStored(msgspec.Struct, frozen=True, tag="stored", kw_only=True):
    """Blocks in chain order. `parent_hash` names the block before the first, or None at the root."""

    parent_hash: int | None = None
    blocks: tuple[StoredBlock, ...]
    lora: str | None = None
    salt: str | None = None
    dp_rank: int = 0


class BlocksRemoved(msgspec.Struct, frozen=True, tag="removed", kw_only=True):
    block_hashes: tuple[int, ...]
    dp_rank: int = 0


class BlocksCleared(msgspec.Struct, frozen=True, tag="cleared", kw_only=True):
    dp_rank: int = 0


KvEvent = BlocksStored | BlocksRemoved | BlocksCleared


class EngineLoad(msgspec.Struct, kw_only=True):
    """One worker's load now. Blocks are KV-cache blocks; `cache_usage` is active/total in 0..1.

    `ranks` has the load of each data-parallel rank of an engine that has several, whose own figures are their sums.
    """

    running_requests: int = 0
    waiting_requests: int = 0
    request_slots: int = 0
    active_blocks: int = 0
    total_blocks: int = 0
    cached_blocks: int = 0
    cache_usage: float = 0.0
    prefix_queries_tokens: int = 0  # since start
    prefix_hits_tokens: int = 0  # since start
    ranks: list[EngineLoad] = []

    def of_rank(self, rank: int) -> EngineLoad:
        """The load of one data-parallel rank; the whole where the engine does not tell them apart."""
        return self.ranks[rank] if rank < len(self.ranks) else self


def combined(ranks: list[EngineLoad]) -> EngineLoad:
    """The load of an engine with these data-parallel ranks; that of the single one if there are no others."""
    if len(ranks) == 1:
        return ranks[0]
    load = EngineLoad(ranks=ranks)
    for name in EngineLoad.__struct_fields__:
        if name not in ("ranks", "cache_usage"):
            setattr(load, name, sum(getattr(rank, name) for rank in ranks))
    load.cache_usage = load.active_blocks / load.total_blocks if load.total_blocks else 0.0
    return load


class ModelFile(msgspec.Struct, frozen=True):
    """One file of a model directory: its size in bytes, and the SHA-256 of its content in hexadecimal."""

    name: str
    size: int
    sha256: str


class ModelCard(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a frontend must know to serve a model; workers publish it in discovery.

    `model_path` is a directory with tokenizer.json and tokenizer_config.json (chat template), as the worker sees it;
    `files` are those of its files that a frontend needs, which it gets elsewhere where it does not see the same
    directory (see `dynamo.llm.model_files`).
    """

    name: str
    model_path: str = ""
    files: list[ModelFile] = []
    namespace: str = ""
    component: str = ""
    endpoint: str = "generate"
    context_length: int = 0
    block_size: int = 16
    vocab_size: int = 0
    eos_token_ids: TokenIds = []
    kinds: list[str] = msgspec.field(default_factory=lambda: ["chat", "completions"])
    engine: str = ""
    simulated: bool = False
    data_parallel_size: int = 1
    loras: list[str] = []
    extra: dict[str, Any] = {}


Progress = Callable[[str], None]
"""Called with a line such as "loading weights 3/8" while an engine starts."""

KvListener = Callable[[list[KvEvent]], None]
"""Called on the event loop with each batch of cache changes, in order."""


class Engine(Protocol):
    """One model on one worker.

    `generate` validates the ids (range, length) and raises `InvalidRequest` before anything reaches the
    engine; closing or cancelling the iterator aborts the request. `stop` lets running requests end within
    `grace` seconds first.
    """

    @property
    def card(self) -> ModelCard: ...

    async def start(self, progress: Progress) -> None: ...

    def generate(self, request: EngineRequest) -> AsyncIterator[EngineOutput]: ...

    def load(self) -> EngineLoad: ...

    def listen(self, listener: KvListener) -> None: ...

    async def clear_cache(self) -> None: ...

    async def healthy(self) -> bool: ...

    async def stop(self, grace: float = 0.0) -> None: ...


class InvalidRequest(ValueError):
    """A request that no retry can save. `field` names what is wrong with it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
