"""The KV router: knows what each worker has cached and is doing, and says where a prompt should go."""

from components.worker import Worker
from dynamo.llm.kv.options import InvalidOption, RouterOptions, read_options
from dynamo.llm.planning import Reports
from dynamo.llm.routing import RouteAnswer, RouteCall
from dynamo.sdk import async_on_start, depends, endpoint, on_shutdown, server_context, service
from dynamo.sdk.errors import ConfigError
from dynamo.sdk.lib.config import ServiceConfig


@service(dynamo={"namespace": "dynamo"}, resources={"cpu": 1}, workers=1)
class Router:
    """Its configuration are the fields of `RouterOptions`: mode, block-size, overlap-weight, temperature …"""

    worker = depends(Worker)

    def __init__(self) -> None:
        configured = ServiceConfig.get_instance().get_parsed_config("Router")
        named = {key.replace("-", "_"): value for key, value in configured.items()}
        try:
            self.options = read_options(named, RouterOptions)
        except InvalidOption as error:
            raise ConfigError(f"Router: {error}") from None

    @async_on_start
    async def start(self) -> None:
        from dynamo.llm.kv.service import RouterService  # numpy, for this process alone

        own = server_context.component
        namespace, component = Worker.dynamo_address()
        workers = server_context.runtime.namespace(namespace).component(component)
        self.router = RouterService(server_context.runtime, self.options, workers=workers, own=own)
        await self.router.start()

    @endpoint()
    async def route(self, call: RouteCall) -> RouteAnswer:
        """The worker for a prompt; the request counts as its load until it is reported done."""
        return self.router.route(call)

    @endpoint()
    async def report(self, reports: Reports) -> int:
        """First tokens (with what the engine had cached) and ends of requests."""
        return self.router.tell(reports)

    @on_shutdown
    async def stop(self) -> None:
        await self.router.close()
