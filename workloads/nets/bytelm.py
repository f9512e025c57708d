"""A causal transformer over bytes, pre-norm (GPT-2, Radford et al. 2019), behind a convolution over the last four.

The convolution spares the first layer from learning to look one, two and three bytes back: with it, the smallest
network's perplexity after 500 steps is half of what it is without (5.4 against 11.5). Learned positions on top changed
nothing, so there are none: the causal mask tells positions apart (Haviv et al. 2022, https://arxiv.org/abs/2203.16634).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CONTEXT = 256
VOCABULARY = 256
SCORED = 32
_KERNEL = 4


@dataclass(frozen=True)
class Size:
    """A layer has `heads` of `head` numbers each, and `hidden` feed-forward units; pruning takes some of both.

    `dropout` acts in training only: the text is short, and the larger networks would learn it by heart.
    """

    width: int
    layers: int
    heads: int
    head: int
    hidden: int
    dropout: float


SMALL = Size(width=32, layers=2, heads=2, head=16, hidden=128, dropout=0.0)
MEDIUM = Size(width=64, layers=3, heads=4, head=16, hidden=256, dropout=0.1)
LARGE = Size(width=128, layers=3, heads=4, head=32, hidden=512, dropout=0.2)


def build(size: Size) -> Any:
    """text (batch, 256) int32 -> logits (batch, 32, 256) float32 of the byte after each of the last 32 positions.

    `forward(text, scored)` gives the last `scored` positions instead; training uses all 256.
    """
    from torch import nn
    from torch.nn import functional

    width, attended_width = size.width, size.heads * size.head

    def per_head(x: Any) -> Any:
        return x.unflatten(2, (size.heads, size.head)).transpose(1, 2)

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm_attention = nn.LayerNorm(width)
            self.query, self.key, self.value = (nn.Linear(width, attended_width) for _ in range(3))
            self.out = nn.Linear(attended_width, width)
            self.norm = nn.LayerNorm(width)
            self.up = nn.Linear(width, size.hidden)
            self.down = nn.Linear(size.hidden, width)
            self.drop = nn.Dropout(size.dropout)

        def forward(self, x: Any) -> Any:
            y = self.norm_attention(x)
            q, k, v = (per_head(project(y)) for project in (self.query, self.key, self.value))
            attended = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.drop(self.out(attended.transpose(1, 2).flatten(2)))
            return x + self.drop(self.down(functional.gelu(self.up(self.norm(x)))))

    class ByteLM(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bytes = nn.Embedding(VOCABULARY, width)
            self.recent = nn.Conv1d(width, width, _KERNEL)
            self.drop = nn.Dropout(size.dropout)
            self.blocks = nn.ModuleList(Block() for _ in range(size.layers))
            self.norm = nn.LayerNorm(width)
            self.head = nn.Linear(width, VOCABULARY)

        def forward(self, text: Any, scored: int = SCORED) -> Any:
            x = self.bytes(text)
            before = functional.pad(x.transpose(1, 2), (_KERNEL - 1, 0))
            x = self.drop(x + self.recent(before).transpose(1, 2))
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x[:, CONTEXT - scored :]))

    return ByteLM()
