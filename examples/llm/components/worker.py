"""The worker: one engine, simulated or real, chosen by the configuration (`Worker.engine`)."""

import logging

from dynamo.llm.engines.base import EngineRequest
from dynamo.llm.engines.factory import make_engine, read_options, run_directory
from dynamo.llm.errors import EngineFailed, ModelError
from dynamo.llm.pipeline import EmbedRequest
from dynamo.llm.worker import WorkerService
from dynamo.sdk import async_on_start, endpoint, liveness, on_shutdown, server_context, service
from dynamo.sdk.errors import ConfigError
from dynamo.sdk.lib.config import ServiceConfig
from dynamo.sdk.serving.reporting import report_progress

logger = logging.getLogger(__name__)


@service(dynamo={"namespace": "dynamo"}, resources={"cpu": 1}, workers=1)
class Worker:
    def __init__(self) -> None:
        try:
            self.options = read_options(ServiceConfig.get_instance().as_args("Worker"))
        except ModelError as error:
            raise ConfigError(f"Worker: {error}") from None
        self.worker: WorkerService | None = None

    @async_on_start
    async def start(self) -> None:
        runtime = server_context.runtime
        component = server_context.component
        try:
            engine = make_engine(self.options, run_dir=run_directory())
            self.worker = WorkerService(
                runtime,
                engine,
                namespace=component.namespace,
                component=component.name,
                max_waiting=self.options.max_waiting,
            )
            await self.worker.start(report_progress)
        except EngineFailed:
            raise  # another attempt may find the memory or the device that this one did not
        except ModelError as error:
            raise ConfigError(f"Worker: {error}") from None

    @endpoint()
    async def generate(self, request: EngineRequest):
        """Token ids in, deltas of token ids out."""
        async for output in self.worker.generate(request):
            yield output

    @endpoint()
    async def embed(self, request: EmbedRequest):
        return await self.worker.embed(request)

    @liveness
    def alive(self) -> bool:
        if self.worker is not None and (problem := self.worker.problem()):
            raise RuntimeError(problem)
        return True

    @on_shutdown
    async def stop(self) -> None:
        if self.worker is not None:
            await self.worker.stop()
