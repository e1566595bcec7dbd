"""Hit rates and TTFT by routing mode on a simulated cluster: `python -m benchmarks.kv.shared_prefixes`.

Virtual time, so the figures are the same everywhere; engines are timed as Llama 3.1 8B on H100 (`mocker_timing`).
"""

from __future__ import annotations

from benchmarks.kv.cluster import Cluster, Outcome, Prompt, shared_prefixes, unshared
from dynamo.llm.engines.mocker_core import MockerOptions
from dynamo.llm.kv.options import RouterOptions

LARGE, SMALL = 16384, 1536
VARIANTS: dict[str, dict[str, object]] = {
    "round-robin": {"mode": "round-robin"},
    "least-loaded": {"mode": "least-loaded"},
    "kv": {},
    "kv, prefill_load_scale 1": {"prefill_load_scale": 1.0},
    "kv, prefill_load_scale 2": {"prefill_load_scale": 2.0},
    "kv, prefill_load_scale 8": {"prefill_load_scale": 8.0},
    "kv, cost usage": {"cost": "usage"},
    "approx-kv": {"mode": "approx-kv"},
}


def scenarios() -> dict[str, tuple[int, int, int, list[Prompt]]]:
    """Name -> (workers, blocks a worker, concurrency, prompts)."""
    return {
        "20 prefixes of 2,048 tokens, 4 workers, 8 concurrent, large cache": (4, LARGE, 8, shared_prefixes()),
        "the same, small cache": (4, SMALL, 8, shared_prefixes()),
        "the same, one at a time (ideal 0.848)": (4, LARGE, 1, shared_prefixes(requests=160)),
        "20 prefixes, 16 workers, 32 concurrent": (16, LARGE, 32, shared_prefixes(requests=1600)),
        "20 prefixes, 16 workers, 32 concurrent, small cache": (16, SMALL, 32, shared_prefixes(requests=1600)),
        "20 prefixes, 16 workers, one at a time (ideal 0.848)": (16, LARGE, 1, shared_prefixes(requests=160)),
        "no shared prefixes, 4 workers, 8 concurrent": (4, LARGE, 8, unshared()),
        "no shared prefixes, 4 workers, 32 concurrent": (4, LARGE, 32, unshared()),
        "no shared prefixes, 16 workers, 64 concurrent": (16, LARGE, 64, unshared(requests=800)),
    }


def main() -> None:
    for title, (workers, blocks, concurrency, prompts) in scenarios().items():
        print(f"\n{title}\n")
        print("| Mode | Hit rate, predicted | actual | Avoidable share | TTFT mean | p99 |")
        print("| --- | --- | --- | --- | --- | --- |")
        for name, options in VARIANTS.items():
            cluster = Cluster(workers, MockerOptions(num_gpu_blocks=blocks), RouterOptions(**options))  # type: ignore[arg-type]
            print(row(name, cluster.run(prompts, concurrency=concurrency)))


def row(name: str, outcome: Outcome) -> str:
    return (
        f"| {name} | {outcome.predicted:.3f} | {outcome.actual:.3f} | {outcome.avoidable_share:.2f} | "
        f"{outcome.ttft_mean * 1e3:.0f} ms | {outcome.ttft_at(0.99) * 1e3:.0f} ms |"
    )


if __name__ == "__main__":
    main()
