"""A component run by hand: `python component.py`, without an engine around it.

What the engine would put into the environment comes from the command line here; variables that are set
already keep their say.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynamo.sdk.config import ENV_SERVICE_CONFIG, ServiceConfig, Source
from dynamo.sdk.errors import SdkError
from dynamo.sdk.graph import Graph
from dynamo.sdk.inspect import sources
from dynamo.sdk.logging import configure_server_logging
from dynamo.sdk.overrides import split_overrides
from dynamo.sdk.replica import refuse, run_graph_service

if TYPE_CHECKING:
    from dynamo.sdk.services import Service


def serve(service: Service[Any], argv: Sequence[str] | None = None) -> int:
    """Run one replica of `service` until it is told to stop; its exit code."""
    own, overrides = split_overrides(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        description=f"Run one replica of {service.name}. Overrides are written --Service.key=value.", allow_abbrev=False
    )
    parser.add_argument("-f", "--file", type=Path, help="a YAML configuration")
    parser.add_argument("-p", "--port", type=int, help="where HTTP routes listen; 0 is any free port")
    parser.add_argument("--host", help="the address that they listen on")
    parser.add_argument("--worker-id", type=int, default=1, help="counts from 1 within the service")
    options = parser.parse_args(own)
    configure_server_logging(service.name, options.worker_id)
    try:
        graph = Graph.of(service)
        inherited = ServiceConfig.from_environment(os.environ)
        graph.configure([Source(ENV_SERVICE_CONFIG, inherited), *sources(options.file, overrides, os.environ)])
    except SdkError as error:
        return refuse(error)
    os.environ[ENV_SERVICE_CONFIG] = json.dumps(graph.config)
    ServiceConfig.forget()
    for name, value in (("DYNAMO_PORT", options.port), ("DYNAMO_HOST", options.host)):
        if value is not None:
            os.environ[name] = str(value)
    for env in service.envs:
        os.environ.setdefault(env.name, env.value)
    return run_graph_service(graph, service.name, options.worker_id)
