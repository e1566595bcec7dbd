"""How long a step of a real engine would take: a roofline over published figures.

A forward pass takes as long as the slower of its arithmetic and its memory traffic, plus a fixed cost of
launching it (Pope et al., "Efficiently Scaling Transformer Inference", 2022, section 2):

- arithmetic: `2 * parameters` operations a token, and attention's `4 * layers * heads * head size` operations
  for each pair of a token and a context position;
- traffic: all weights once a step, and the keys and values of every context position that is attended to:
  `2 * layers * KV heads * head size * bytes` each.
"""

from __future__ import annotations

import msgspec


class TimingModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Coefficients; the defaults are Llama 3.1 8B in bfloat16 on one H100 SXM.

    Model: 8.03e9 parameters, 32 layers, 32 heads and 8 KV heads of 128 (its configuration file). Device: 989e12
    dense bfloat16 operations/s and 3.35e12 bytes/s (NVIDIA's data sheet), of which 50 % and 80 % are
    taken as reached. `overhead_s` is the host's part of one step.
    """

    parameters: float = 8.03e9
    layers: int = 32
    heads: int = 32
    kv_heads: int = 8
    head_size: int = 128
    bytes_per_value: int = 2
    operations_per_s: float = 989e12 * 0.5
    bytes_per_s: float = 3.35e12 * 0.8
    overhead_s: float = 1e-3

    @property
    def token_s(self) -> float:
        """Seconds of arithmetic for each token, without attention."""
        return 2 * self.parameters / self.operations_per_s

    @property
    def pair_s(self) -> float:
        """Seconds of arithmetic for each (token, context position) pair."""
        return 4 * self.layers * self.heads * self.head_size / self.operations_per_s

    @property
    def weights_s(self) -> float:
        """Seconds to read the weights."""
        return self.parameters * self.bytes_per_value / self.bytes_per_s

    @property
    def position_s(self) -> float:
        """Seconds to read one context position's keys and values."""
        return 2 * self.layers * self.kv_heads * self.head_size * self.bytes_per_value / self.bytes_per_s

    def step_seconds(self, tokens: int, pairs: int, positions: int) -> float:
        """One step over `tokens` new tokens that attend to `pairs` (token, position) pairs in all, in requests
        whose contexts have `positions` positions together."""
        arithmetic = tokens * self.token_s + pairs * self.pair_s
        traffic = self.weights_s + positions * self.position_s
        return self.overhead_s + max(arithmetic, traffic)
