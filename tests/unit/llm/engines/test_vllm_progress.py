from __future__ import annotations

import pytest

from dynamo.llm.engines.vllm_progress import error_of, progress_of


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("Loading safetensors checkpoint shards:  38% Completed | 3/8 [00:01<00:02, 2.1it/s]", "loading weights 3/8"),
        ("(EngineCore pid=1) INFO [loader.py:1] Loading weights took 1.25 seconds", "weights loaded in 1.25 s"),
        ("Capturing CUDA graphs (decode): 42%|####  | 15/35", "capturing CUDA graphs 15/35"),
        ("(EngineCore pid=1) INFO GPU KV cache size: 65,536 tokens", "KV cache holds 65,536 tokens"),
        ("INFO something else", None),
    ],
)
def test_log_lines_that_say_how_far_it_is(line: str, shown: str | None) -> None:
    assert progress_of(line) == shown


def test_the_exception_at_the_end_of_a_traceback() -> None:
    line = "(EngineCore pid=7) ERROR 11-24 22:05:19 [core.py:1510] ValueError: max seq len (1024) is larger"
    assert error_of(line) == "ValueError: max seq len (1024) is larger"
    assert error_of("    raise ValueError(") is None
