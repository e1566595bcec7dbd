from __future__ import annotations

import importlib

import pytest
from click.testing import CliRunner

import dynamo.sdk

OLD = [
    ("dynamo.sdk.lib.config", "ServiceConfig"),
    ("dynamo.sdk.lib.image", "DYNAMO_IMAGE"),
    ("dynamo.sdk.lib.logging", "configure_server_logging"),
    ("dynamo.sdk.lib.service", "LeaseConfig"),
    ("dynamo.sdk.lib.service", "LinkedServices"),
    ("dynamo.sdk.lib.dependency", "DynamoClient"),
    ("dynamo.sdk.lib.decorators", "async_on_start"),
    ("dynamo.sdk.lib.loader", "find_and_load_service"),
    ("dynamo.sdk.core.lib", "service"),
    ("dynamo.sdk.core.decorators.endpoint", "DynamoEndpoint"),
    ("dynamo.sdk.core.protocol.interface", "ComponentType"),
    ("dynamo.sdk.core.protocol.interface", "DynamoTransport"),
    ("dynamo.sdk.core.protocol.interface", "LinkedServices"),
    ("dynamo.sdk.core.protocol.interface", "ServiceInterface"),
    ("dynamo.sdk.core.runner", "TargetEnum"),
    ("dynamo.sdk.cli.utils", "configure_target_environment"),
    ("dynamo.sdk.cli.utils", "reserve_free_port"),
    *(("dynamo.runtime", name) for name in ("DistributedRuntime", "EtcdKvCache", "dynamo_endpoint", "dynamo_worker")),
    ("dynamo.runtime.logging", "configure_dynamo_logging"),
    ("dynamo._core", "Client"),
    ("dynamo._core", "NatsQueue"),
    *(
        ("dynamo.llm", name)
        for name in (
            "AggregatedMetrics",
            "ForwardPassMetrics",
            "KvIndexer",
            "KvMetricsAggregator",
            "KvMetricsPublisher",
            "KvStats",
            "ModelType",
            "OverlapScores",
            "RadixTree",
            "WorkerMetricsPublisher",
            "WorkerStats",
            "compute_block_hash_for_seq_py",
            "register_llm",
        )
    ),
]


@pytest.mark.parametrize(("module", "name"), OLD)
def test_old_import_paths(module: str, name: str) -> None:
    assert getattr(importlib.import_module(module), name) is not None


def test_the_authoring_api_is_complete_and_each_name_is_itself() -> None:
    """Importing submodules first must not put a module where a name of the API belongs."""
    for name in ("services", "endpoints", "dependency", "graph", "inspect", "client", "lib.service"):
        importlib.import_module(f"dynamo.sdk.{name}")
    assert dynamo.sdk.__all__ == [
        "AbstractService",
        "DYNAMO_IMAGE",
        "Graph",
        "ServiceConfig",
        "abstract_endpoint",
        "api",
        "async_on_shutdown",
        "async_on_start",
        "depends",
        "dynamo_api",
        "dynamo_context",
        "dynamo_endpoint",
        "endpoint",
        "liveness",
        "on_deployment",
        "on_shutdown",
        "on_startup",
        "readiness",
        "report_progress",
        "server_context",
        "service",
    ]
    for name in dynamo.sdk.__all__:
        assert type(getattr(dynamo.sdk, name)) is not type(importlib), name
    assert dynamo.sdk.dynamo_endpoint is dynamo.sdk.endpoint
    assert set(dynamo.sdk.__all__) <= set(dir(dynamo.sdk))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dynamo.sdk.nothing


def test_the_old_command_line_application_is_the_new_one() -> None:
    """By name only: nothing that a replica imports may lead to the front ends."""
    from dynamo.sdk.cli.cli import cli

    result = CliRunner().invoke(cli, ["serve", "--help"])
    assert result.exit_code == 0
    assert "--working-dir" in result.output


def test_a_target_needs_no_setting_any_more() -> None:
    from dynamo.sdk.cli.utils import configure_target_environment, reserve_free_port
    from dynamo.sdk.core.runner import TargetEnum

    configure_target_environment(TargetEnum.DYNAMO)
    with pytest.raises(ValueError, match="there is no target 'moon'"):
        configure_target_environment("moon")  # type: ignore[arg-type]
    with reserve_free_port() as port:
        assert 0 < port < 65536
