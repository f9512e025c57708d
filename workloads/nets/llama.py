"""Llama-like decoder (Touvron et al. 2023): RMSNorm, rotary positions, grouped-query attention, SwiGLU.

Two networks share one set of weights, by state_dict name: *prefill* reads a prompt, *decode* adds one token to a window
of constant size. The caches hold keys after rotation, as (batch, layers, kv_heads, window, head) float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from workloads.nets.initial import scaled


@dataclass(frozen=True)
class Size:
    """What the members of the family differ in."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    hidden: int
    vocabulary: int
    window: int = 128

    @property
    def head(self) -> int:
        return self.width // self.heads

    @property
    def cache(self) -> tuple[int, int, int, int]:
        """The shape of one sample's keys, and of its values."""
        return self.layers, self.kv_heads, self.window, self.head


LLAMA_100M = Size(layers=8, width=1024, heads=16, kv_heads=4, hidden=2816, vocabulary=8192)
LLAMA_1B = Size(layers=22, width=2048, heads=32, kv_heads=4, hidden=5632, vocabulary=32000)
"""TinyLlama 1.1B: Zhang et al. 2024, https://arxiv.org/abs/2401.02385, table 1."""
LLAMA_7B = Size(layers=32, width=4096, heads=32, kv_heads=8, hidden=14336, vocabulary=32000)
"""Mistral 7B: Jiang et al. 2023, https://arxiv.org/abs/2310.06825, table 1. Its window of 4096 tokens is ours never."""


def prefill(size: Size) -> Any:
    """input_ids (batch, window) int64 -> logits (batch, vocabulary) of the last position, k, v."""

    class Prefill(_decoder(size)):  # type: ignore[misc]  # the base is made per size, as torch is imported late
        def forward(self, input_ids: Any) -> Any:
            x, k, v = self.run(input_ids, self.steps[None], None, None)
            return self.head(self.norm(x[:, -1])), k, v

    return Prefill()


def decode(size: Size) -> Any:
    """input_ids, position (batch, 1) int64, past_k, past_v -> logits (batch, vocabulary), k, v, next_position."""

    class Decode(_decoder(size)):  # type: ignore[misc]  # as above
        def forward(self, input_ids: Any, position: Any, past_k: Any, past_v: Any) -> Any:
            x, k, v = self.run(input_ids, position, past_k, past_v)
            return self.head(self.norm(x[:, -1])), k, v, position + 1

    return Decode()


def _decoder(size: Size) -> Any:
    """The class that both networks extend."""
    import torch
    from torch import nn
    from torch.nn import functional

    group = size.heads // size.kv_heads
    branch = 1 / math.sqrt(2 * size.layers)

    def linear(cin: int, cout: int, gain: float = 1.0) -> Any:
        return scaled(nn.Linear(cin, cout, bias=False), gain)

    def rotate(x: Any, cos: Any, sin: Any) -> Any:
        half = size.head // 2
        a, b = x[..., :half], x[..., half:]
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

    def split(x: Any, heads: int) -> Any:
        return x.reshape(-1, x.shape[1], heads, size.head).transpose(1, 2)

    class Norm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(size.width))

        def forward(self, x: Any) -> Any:
            return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * self.weight

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm_attention, self.norm_hidden = Norm(), Norm()
            # Products of queries and keys with a deviation of about 2: attention that picks tokens, not their mean.
            self.q = linear(size.width, size.heads * size.head, 1.4)
            self.k = linear(size.width, size.kv_heads * size.head, 1.4)
            self.v = linear(size.width, size.kv_heads * size.head)
            self.out = linear(size.heads * size.head, size.width, 2 * branch)
            self.gate = linear(size.width, size.hidden)
            self.up = linear(size.width, size.hidden)
            self.down = linear(size.hidden, size.width, 2 * branch)

        def forward(self, x: Any, turn: Any, mask: Any, past_k: Any, past_v: Any) -> Any:
            y = self.norm_attention(x)
            q, k, v = split(self.q(y), size.heads), split(self.k(y), size.kv_heads), split(self.v(y), size.kv_heads)
            q, k = rotate(q, *turn), rotate(k, *turn)
            if past_k is not None:
                k, v = (torch.cat((past[:, :, 1:], new), 2) for past, new in ((past_k, k), (past_v, v)))
            # The query heads of one kv head lie one after another: as rows of one product, nothing is copied per head.
            rows = q.reshape(-1, size.kv_heads, group * x.shape[1], size.head)
            attended = functional.scaled_dot_product_attention(rows, k, v, attn_mask=mask).reshape(-1, *q.shape[1:])
            x = x + self.out(attended.transpose(1, 2).reshape(-1, x.shape[1], size.width))
            y = self.norm_hidden(x)
            return x + self.down(functional.silu(self.gate(y)) * self.up(y)), k, v

    class Decoder(nn.Module):
        frequencies: Any

        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(size.vocabulary, size.width)
            self.layers = nn.ModuleList(Layer() for _ in range(size.layers))
            self.norm = Norm()
            self.head = linear(size.width, size.vocabulary)
            # On the CPU even where the parameters have no memory yet: no manifest says what these hold.
            pairs = torch.arange(0, size.head, 2, dtype=torch.float32, device="cpu")
            self.register_buffer("frequencies", 10000.0 ** (-pairs / size.head), persistent=False)
            self.register_buffer("steps", torch.arange(size.window, device="cpu"), persistent=False)

        def _apply(self, fn: Any, recurse: bool = True) -> Any:
            """Casts leave the frequencies in float32: bfloat16 would turn later positions by whole radians."""
            exact = self.frequencies
            super()._apply(fn, recurse)
            self.frequencies = exact.to(self.frequencies.device)
            return self

        def run(self, input_ids: Any, positions: Any, past_k: Any, past_v: Any) -> Any:
            x, keys, values = self.tokens(input_ids), [], []
            angles = positions[:, None, :, None].to(self.frequencies.dtype) * self.frequencies
            turn = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
            mask = self.causal(x.dtype) if past_k is None else None
            for index, layer in enumerate(self.layers):
                pasts = (None, None) if past_k is None else (past_k[:, index], past_v[:, index])
                x, k, v = layer(x, turn, mask, *pasts)
                keys.append(k)
                values.append(v)
            return x, torch.stack(keys, 1), torch.stack(values, 1)

        def causal(self, dtype: Any) -> Any:
            later = self.steps[None, :] > self.steps[:, None]
            return (later.to(dtype) * -1e4).repeat(group, 1)

    return Decoder
