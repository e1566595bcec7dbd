"""Spans of a call through two endpoints. In a process of its own: a tracer provider can be set only once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import asyncio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from dynamo.runtime import DistributedRuntime

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("app")

async def main():
    async with await DistributedRuntime.connect("memory://") as runtime:
        component = runtime.namespace("ns").component("c")
        inner = component.endpoint("inner").client()
        async def outer(payload):
            with tracer.start_as_current_span("own work"):
                return await (await inner.generate(payload)).one()
        async def fails(payload):
            raise ValueError(payload)
        await component.endpoint("inner").serve_endpoint(fails)
        await component.endpoint("outer").serve_endpoint(outer)
        with tracer.start_as_current_span("request"):
            try:
                await (await component.endpoint("outer").client().generate("x")).one()
            except Exception as error:
                print(type(error).__name__)
    spans = {span.name: span for span in exporter.get_finished_spans()}
    by_id = {span.context.span_id: span.name for span in spans.values()}
    for name in ("ns/c/inner", "own work", "ns/c/outer"):
        print(name, "<", by_id[spans[name].parent.span_id], spans[name].status.status_code.name)
    print(len({span.context.trace_id for span in spans.values()}))

asyncio.run(main())
"""


def test_spans_nest_across_endpoints(short_dir: Path) -> None:
    program = short_dir / "traced.py"
    program.write_text(PROGRAM)
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == [
        "EndpointError",
        "ns/c/inner < own work ERROR",
        "own work < ns/c/outer ERROR",
        "ns/c/outer < request ERROR",
        "1",
    ]
