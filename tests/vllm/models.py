"""Random weights for the tiny model: made here, since nothing is downloaded."""

from __future__ import annotations

import json
from pathlib import Path

from dynamo.llm.tinymodel import make


def with_weights(directory: Path, *, hidden: int = 128, layers: int = 2, context_length: int = 2048) -> Path:
    """A tiny model directory that vLLM loads. The same weights every time."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    path = make(directory, vocab_size=1024, context_length=context_length)
    config = json.loads((path / "config.json").read_text())
    config |= {"hidden_size": hidden, "intermediate_size": 2 * hidden, "num_hidden_layers": layers}
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**config)).save_pretrained(path)
    saved = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**saved, **config}))
    return path
