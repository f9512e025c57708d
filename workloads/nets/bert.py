"""BERT encoder (Devlin et al. 2018), post-norm, with the pooler; the pooled hidden state is the output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workloads.nets.initial import scaled


@dataclass(frozen=True)
class Size:
    """The published sizes differ in these only."""

    layers: int = 12
    width: int = 768
    heads: int = 12
    hidden: int = 3072
    vocabulary: int = 30522
    positions: int = 512


def build(size: Size) -> Any:
    """input_ids, attention_mask (batch, sequence) int64 -> pooled (batch, width) float32."""
    import torch
    from torch import nn
    from torch.nn import functional

    width, head = size.width, size.width // size.heads

    def split(x: Any) -> Any:
        return x.reshape(-1, x.shape[1], size.heads, head).transpose(1, 2)

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            # Products of queries and keys with a deviation of about 2: attention that picks tokens, not their mean.
            self.query, self.key = (scaled(nn.Linear(width, width), 1.4) for _ in range(2))
            self.value, self.out = (scaled(nn.Linear(width, width), 1.0) for _ in range(2))
            self.norm_attention = nn.LayerNorm(width, eps=1e-12)
            self.up = scaled(nn.Linear(width, size.hidden), 1.0)
            self.down = scaled(nn.Linear(size.hidden, width), 0.5)
            self.norm = nn.LayerNorm(width, eps=1e-12)

        def forward(self, x: Any, mask: Any) -> Any:
            q, k, v = (split(layer(x)) for layer in (self.query, self.key, self.value))
            attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            x = self.norm_attention(x + self.out(attended.transpose(1, 2).reshape(-1, x.shape[1], width)))
            return self.norm(x + self.down(functional.gelu(self.up(x))))

    class Bert(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(size.vocabulary, width)
            self.positions = nn.Embedding(size.positions, width)
            self.segments = nn.Embedding(2, width)
            self.norm = nn.LayerNorm(width, eps=1e-12)
            self.layers = nn.ModuleList(Layer() for _ in range(size.layers))
            self.pooler = scaled(nn.Linear(width, width), 1.0)

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            sequence = input_ids.shape[1]
            x = self.tokens(input_ids) + self.positions.weight[:sequence] + self.segments.weight[0]
            x = self.norm(x)
            mask = (1 - attention_mask[:, None, None, :].to(x.dtype)) * -1e4
            for layer in self.layers:
                x = layer(x, mask)
            return torch.tanh(self.pooler(x[:, 0]))

    return Bert()
