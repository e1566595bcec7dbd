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


def with_adapter(directory: Path, weights: Path, *, rank: int = 8) -> Path:
    """A random LoRA adapter for that model, in PEFT's format, strong enough that answers differ."""
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaConfig

    config = LlamaConfig.from_pretrained(weights)
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    widths = {"q_proj": config.num_attention_heads * head, "v_proj": config.num_key_value_heads * head}
    random = torch.Generator().manual_seed(1)
    tensors = {}
    for layer in range(config.num_hidden_layers):
        for name, width in widths.items():
            prefix = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            tensors[f"{prefix}.lora_A.weight"] = torch.randn(rank, config.hidden_size, generator=random)
            tensors[f"{prefix}.lora_B.weight"] = torch.randn(width, rank, generator=random)
    directory.mkdir(parents=True)
    save_file(tensors, directory / "adapter_model.safetensors")
    described = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(weights),
        "r": rank,
        "lora_alpha": 4 * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": list(widths),
    }
    (directory / "adapter_config.json").write_text(json.dumps(described))
    return directory
