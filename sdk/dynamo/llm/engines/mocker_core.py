"""The simulated engine without a clock: continuous batching over a paged cache, one step at a time.

Follows vLLM's v1 scheduler: a step first serves the running requests, each with the tokens it still has to
compute (one in decode), within `max_num_batched_tokens`; then it admits waiting ones in order of arrival, in
chunks when the budget is short; when blocks run out, the request admitted last is preempted and starts anew.
Full blocks enter the prefix cache when the step that fills them is scheduled. A hit always leaves at least the
last token of a prompt to compute.

`schedule` decides a step and says how long it takes; `complete` yields its tokens. Whoever drives it
owns the time: `mocker` with timers, simulations with a virtual clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec
import xxhash

from dynamo.llm.engines.base import EngineLoad, FinishReason, KvEvent
from dynamo.llm.engines.mocker_pool import Block, BlockPool
from dynamo.llm.engines.mocker_timing import TimingModel
from dynamo.llm.kv.hashing import MASK64, BlockHasher, chain, root_hash
from dynamo.llm.kv.packing import pack_tokens

_MULTIPLIER, _INCREMENT = 6364136223846793005, 1442695040888963407
"""Knuth's MMIX linear congruential generator: the source of simulated tokens."""


class MockerOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Size and behaviour of a simulated engine. The names are vLLM's where it has one.

    `speedup_ratio` divides all times. A request without `max_tokens` ends with the end token after
    `default_output_tokens`. Each of `data_parallel_size` ranks has blocks and a batch of its own, of the given sizes.
    """

    num_gpu_blocks: int = 16384
    block_size: int = 16
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    max_model_len: int = 32768
    enable_prefix_caching: bool = True
    enable_chunked_prefill: bool = True
    vocab_size: int = 32000
    default_output_tokens: int = 64
    speedup_ratio: float = 1.0
    seed: int = 0
    data_parallel_size: int = 1
    timing: TimingModel = TimingModel()

    def __post_init__(self) -> None:
        for name in (
            "num_gpu_blocks", "block_size", "max_num_seqs", "max_num_batched_tokens", "max_model_len",
            "data_parallel_size",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"mocker option {name} must be at least 1, got {getattr(self, name)}")
        if not self.speedup_ratio > 0:
            raise ValueError(f"mocker option speedup_ratio must be positive, got {self.speedup_ratio}")


class SimRequest:
    """One request inside the engine. `tokens` is the prompt and what was generated since."""

    __slots__ = (
        "blocks", "cached_blocks", "computed", "contents", "eos", "finish", "id", "lora", "max_tokens", "names",
        "prompt_cached", "prompt_tokens", "root", "salt", "scheduled", "state", "stop_ids", "tokens",
    )  # fmt: skip

    def __init__(
        self, request_id: str, prompt: Sequence[int], *, max_tokens: int, eos: int | None, stop_ids: frozenset[int],
        seed: int, lora: str | None, salt: str | None, hasher: BlockHasher,
    ) -> None:  # fmt: skip
        self.id = request_id
        self.tokens = list(prompt)
        self.prompt_tokens = len(prompt)
        self.max_tokens = max_tokens
        self.eos = eos  # generated in place of the last token
        self.stop_ids = stop_ids
        self.lora, self.salt = lora, salt
        self.root = root_hash(lora, salt)
        packed = pack_tokens(prompt)
        self.contents: list[int] = hasher.contents(packed).tolist()
        self.names = chain(self.root, 0, self.contents)
        self.state: int = xxhash.xxh3_64_intdigest(packed, seed & MASK64)
        self.blocks: list[Block] = []
        self.cached_blocks = 0  # of `blocks`, those already entered into the cache
        self.computed = 0  # tokens whose keys and values are in `blocks`
        self.scheduled = 0  # tokens of the step under way
        self.prompt_cached: int | None = None  # prompt tokens that the first admission found cached
        self.finish: FinishReason | None = None


class Generated(msgspec.Struct, frozen=True):
    """One token of one request; `finish` with the last."""

    request: SimRequest
    token: int
    finish: FinishReason | None


class MockerCore:
    """One rank's state machine. `vocabulary`: the ids that it generates (all of 0..vocab_size-1 by default)."""

    def __init__(self, options: MockerOptions, vocabulary: Sequence[int] | None = None, *, dp_rank: int = 0) -> None:
        self.options = options
        self.hasher = BlockHasher(options.block_size)
        self.pool = BlockPool(options.num_gpu_blocks, caching=options.enable_prefix_caching, dp_rank=dp_rank)
        self.waiting: deque[SimRequest] = deque()
        self.running: list[SimRequest] = []
        self.preemptions = 0
        self._vocabulary: Sequence[int] = list(vocabulary) if vocabulary else range(options.vocab_size)
        self._queried_tokens = 0
        self._hit_tokens = 0
        self._step: list[SimRequest] = []

    def request(
        self, request_id: str, prompt: Sequence[int], *, max_tokens: int | None, eos: int | None = None,
        stop_ids: Sequence[int] = (), seed: int | None = None, lora: str | None = None, salt: str | None = None,
    ) -> SimRequest:  # fmt: skip
        """Put a request into the queue. Without `max_tokens` it ends with `eos` after the default number of tokens."""
        room = self.options.max_model_len - len(prompt)
        wanted = self.options.default_output_tokens if max_tokens is None else max_tokens
        request = SimRequest(
            request_id,
            prompt,
            max_tokens=min(wanted, room),
            eos=eos if max_tokens is None and wanted <= room else None,
            stop_ids=frozenset(stop_ids),
            seed=self.options.seed if seed is None else seed,
            lora=lora,
            salt=salt,
            hasher=self.hasher,
        )
        self.waiting.append(request)
        return request

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.running

    # -- one step ------------------------------------------------------------------------------------------------

    def schedule(self) -> float:
        """Decide the next step; returns its duration in seconds (0.0: there is nothing to do)."""
        budget, size = self.options.max_num_batched_tokens, self.options.block_size
        step: list[SimRequest] = []
        preempted = False
        position = 0
        while position < len(self.running) and budget > 0:
            request = self.running[position]
            new = min(len(request.tokens) - request.computed, budget)
            if new == 1 and 0 < request.computed % size < size - 1:
                # One token into a block that is there and stays open: what nearly every step of a decode is.
                request.scheduled = 1
                step.append(request)
                budget -= 1
                position += 1
                continue
            while not self._extend(request, new):
                victim = self.running.pop()
                self._preempt(victim)
                preempted = True
                if victim is request:
                    break
            else:
                step.append(request)
                budget -= new
                position += 1
                continue
            break
        if not preempted or not step:
            self._admit(step, budget)
        if not step:
            return 0.0
        self._step = step
        return self._duration(step) / self.options.speedup_ratio

    def _admit(self, step: list[SimRequest], budget: int) -> None:
        while self.waiting and budget > 0 and len(self.running) < self.options.max_num_seqs:
            request = self.waiting[0]
            hits = self.pool.lookup(request.names[: (len(request.tokens) - 1) // self.options.block_size])
            cached = len(hits) * self.options.block_size
            new = len(request.tokens) - cached
            if new > budget:
                if not self.options.enable_chunked_prefill:
                    break
                new = budget
            if not self._extend(request, new, hits):
                break
            self.waiting.popleft()
            self.running.append(request)
            step.append(request)
            budget -= new
            if request.prompt_cached is None:
                request.prompt_cached = cached
                self._queried_tokens += request.prompt_tokens
                self._hit_tokens += cached

    def _extend(self, request: SimRequest, new: int, hits: Sequence[Block] = ()) -> bool:
        """Blocks for `new` more tokens after the cached `hits`; false when there are not enough."""
        size = self.options.block_size
        until = (len(hits) * size if hits else request.computed) + new
        fresh = -(-until // size) - len(request.blocks) - len(hits)
        if self.pool.needed(fresh, hits) > self.pool.free_blocks:
            return False
        if hits:
            self.pool.use(hits)
            request.blocks.extend(hits)
            request.computed = len(hits) * size
            request.cached_blocks = len(hits)
        if fresh > 0:
            request.blocks.extend(self.pool.allocate(fresh))
        request.scheduled = new
        full = until // size
        if full > request.cached_blocks:
            self._enter(request, full)
        return True

    def _enter(self, request: SimRequest, full: int) -> None:
        """Enter the request's blocks up to `full` into the cache."""
        start, size = request.cached_blocks, self.options.block_size
        for block in range(len(request.names), full):
            content = self.hasher.content(request.tokens[block * size : (block + 1) * size])
            parent = request.names[-1] if request.names else request.root
            request.contents.append(content)
            request.names.extend(chain(parent, block, [content]))
        self.pool.cache(
            request.blocks[start:full],
            request.names[start:full],
            request.contents[start:full],
            request.names[start - 1] if start else None,
            request.lora,
            request.salt,
        )
        request.cached_blocks = full

    def _preempt(self, request: SimRequest) -> None:
        self.preemptions += 1
        self._let_go(request)
        request.computed = request.cached_blocks = 0
        self.waiting.appendleft(request)

    def _let_go(self, request: SimRequest) -> None:
        self.pool.release(request.blocks)
        request.blocks = []

    def _duration(self, step: list[SimRequest]) -> float:
        tokens = pairs = positions = 0
        for request in step:
            new = request.scheduled
            context = request.computed + new
            tokens += new
            positions += context
            pairs += new * context if new == 1 else new * (request.computed + (new + 1) // 2)
        return self.options.timing.step_seconds(tokens, pairs, positions)

    def complete(self) -> list[Generated]:
        """The step is over: the token of every request that has its whole context computed."""
        out = []
        finished = False
        vocabulary = self._vocabulary
        for request in self._step:
            if request.finish is not None:  # aborted meanwhile
                continue
            request.computed += request.scheduled
            if request.computed < len(request.tokens):
                continue
            request.state = state = (request.state * _MULTIPLIER + _INCREMENT) & MASK64
            token = vocabulary[(state >> 33) % len(vocabulary)]
            generated = len(request.tokens) - request.prompt_tokens + 1
            if generated >= request.max_tokens:
                if request.eos is not None:
                    token = request.eos
                request.finish = "length" if request.eos is None else "stop"
            elif token in request.stop_ids:
                request.finish = "stop"
            request.tokens.append(token)
            if request.finish is not None:
                finished = True
                self._let_go(request)
            out.append(Generated(request, token, request.finish))
        self._step = []
        if finished:
            self.running = [request for request in self.running if request.finish is None]
        return out

    def abort(self, request: SimRequest, reason: FinishReason = "cancelled") -> None:
        """End a request now, wherever it is; nothing more comes of it."""
        if request.finish is not None:
            return
        request.finish = reason
        if request in self.running:
            self.running.remove(request)
            self._let_go(request)
        else:
            self.waiting.remove(request)

    # -- what the engine tells -----------------------------------------------------------------------------------

    def take_events(self) -> list[KvEvent]:
        return self.pool.take_events()

    def load(self) -> EngineLoad:
        pool = self.pool
        return EngineLoad(
            running_requests=len(self.running),
            waiting_requests=len(self.waiting),
            request_slots=self.options.max_num_seqs,
            active_blocks=pool.active_blocks,
            total_blocks=pool.total,
            cached_blocks=pool.cached_blocks,
            cache_usage=pool.active_blocks / pool.total,
            prefix_queries_tokens=self._queried_tokens,
            prefix_hits_tokens=self._hit_tokens,
        )
