"""The daemon: an engine kept running with its REST face, until it is told to end. Replicas outlive it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from dynamod.api.listening import tcp_listener
from dynamod.api.rules import guard_rules
from dynamod.api.tokens import load_tokens
from dynamod.schema import Locations
from dynamod.serving import options_of, serving

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DaemonOptions:
    """`listen` is (host, port) of a TCP listener, which needs `token_file`."""

    where: Locations
    listen: tuple[str, int] | None = None
    token_file: Path | None = None
    allowed_hosts: tuple[str, ...] = ()
    database_url: str | None = None


class Ending:
    """Says when to end, and whether graphs are to be stopped. A second signal does not wait any longer."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self.stop_graphs = False

    def ask(self, stop_graphs: bool = False) -> None:
        self.stop_graphs = self.stop_graphs or stop_graphs
        self._asked.set()

    async def wait(self) -> None:
        await self._asked.wait()

    def on_signal(self) -> None:
        if self._asked.is_set():
            os._exit(130)
        self.ask()


async def run_daemon(options: DaemonOptions) -> None:
    """Serve until SIGTERM, SIGINT or a client's shutdown.

    Raises:
        TokenFileError, ListenError, EngineError: the daemon cannot start; the message says why.
    """
    began = time.monotonic()
    tokens = load_tokens(options.token_file) if options.token_file is not None else None
    listeners = [tcp_listener(*options.listen)] if options.listen is not None else []
    ending = Ending()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.on_signal)
    rules = guard_rules(tokens, options.allowed_hosts)
    engine_options = options_of(os.environ, database_url=options.database_url)
    try:
        async with serving(
            options.where, engine_options, rules, listeners=listeners, on_shutdown=ending.ask
        ) as running:
            await running.open_face()
            options.where.pid_file.write_text(f"{os.getpid()}\n")
            for listener in listeners:
                _log.info("listening on %s:%s", *listener.getsockname()[:2])
            _log.info("ready on %s after %.2f s", options.where.api_socket, time.monotonic() - began)
            await ending.wait()
            _log.info("ending%s", ", after stopping all graphs" if ending.stop_graphs else "; replicas run on")
            if ending.stop_graphs:
                await running.engine.stop(stop_graphs=True)
            options.where.pid_file.unlink(missing_ok=True)
    finally:
        for listener in listeners:
            listener.close()
