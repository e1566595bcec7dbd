"""`python -m dynamo.sdk.replica TARGET --service-name S --worker-id N`: run one replica (see the contract page).

Exit code 0 after a drain, 2 for a configuration error (starting again will not help), 1 for anything else.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from dynamo.runtime.open_files import allow_many_files
from dynamo.sdk.config import ENV_SERVICE_CONFIG, ServiceConfig, Source
from dynamo.sdk.errors import ExitCode, SdkError
from dynamo.sdk.graph import Graph
from dynamo.sdk.logging import configure_server_logging

logger = logging.getLogger("dynamo.sdk.replica")  # `__name__` is `__main__` where this runs as a command


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m dynamo.sdk.replica", description=__doc__, allow_abbrev=False)
    parser.add_argument("target", help="the graph's target, e.g. module:Service")
    parser.add_argument("--service-name", help="which of its services; the target's own otherwise")
    parser.add_argument("--worker-id", type=int, default=1, help="counts from 1 within the service")
    return parser


def run_graph_service(graph: Graph, service_name: str | None, worker_id: int) -> int:
    """Run one replica of a configured graph in this process until it is told to stop; its exit code."""
    service = graph.service(service_name) if service_name else graph.entry

    async def life() -> None:
        from dynamo.sdk.serving.replica_life import Replica

        replica = Replica(graph, service, worker_id=worker_id, environ=os.environ)
        replica.handle_signals()
        await replica.run()

    return _in_loop(life)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = arguments().parse_args(argv)
    configure_server_logging(options.service_name, options.worker_id)
    allow_many_files()
    try:
        graph = Graph.load(options.target, working_dir=Path.cwd())
        graph.configure([Source(ENV_SERVICE_CONFIG, ServiceConfig.get_instance())])
        return run_graph_service(graph, options.service_name, options.worker_id)
    except SdkError as error:
        return refuse(error)


def _in_loop(life: Callable[[], Coroutine[Any, Any, None]]) -> int:
    loop_factory: Callable[[], asyncio.AbstractEventLoop]
    try:
        import uvloop

        loop_factory = uvloop.new_event_loop
    except ImportError:  # not on every platform
        loop_factory = asyncio.new_event_loop
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(life())
    except BaseExceptionGroup as group:
        return _failed(_first(group))
    except Exception as error:
        return _failed(error)
    return ExitCode.OK


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first real cause in nested groups of tasks."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _failed(error: BaseException) -> int:
    from dynamo.runtime.errors import ConfigurationError

    if isinstance(error, SdkError | ConfigurationError):
        return refuse(error)
    logger.critical("the replica failed: %s: %s", type(error).__name__, error, exc_info=error)
    return ExitCode.FAILURE


def refuse(error: BaseException) -> int:
    """Say in one line why there is no point in starting; the exit code that tells a supervisor so."""
    logger.critical("%s", " ".join(str(error).split()), exc_info=error if logger.isEnabledFor(logging.DEBUG) else None)
    return ExitCode.CONFIGURATION


if __name__ == "__main__":
    sys.exit(main())
