"""llama-prefill and llama-decode: a 100M-parameter decoder reading a prompt, and adding one token to a window."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from workloads.contract import Bound, Card, Tolerance
from workloads.nets import llama
from workloads.seeded import Seeded

if TYPE_CHECKING:
    from workloads.contract import Arrays

SIZE = llama.LLAMA_100M
SOURCE = "architecture of Touvron et al. 2023, https://arxiv.org/abs/2302.13971, at 107 million parameters"


class LlamaPrefill(Seeded):
    card = Card(
        name="llama-prefill",
        task="text generation, first token",
        sample_unit="prompt of 128 tokens",
        flops=23_639_097_344,
        parameters=106_972_160,
        weight_bytes=427_888_640,
        io_bytes=2_130_944,
        distinct_inputs=256,
        bounds=(Bound(450.0),),  # MLPerf Inference v5.0, Llama 2 70B interactive: first token within 450 ms
        quality=None,
        source=SOURCE,
    )
    outputs = ("logits", "k", "v")
    golden_outputs = ("logits",)

    def net(self) -> Any:
        return llama.prefill(SIZE)

    def inputs(self, n: int, stream: str) -> Arrays:
        from workloads.generator import integers

        return {"input_ids": integers(stream, (n, SIZE.window), 0, SIZE.vocabulary)}


class LlamaDecode(Seeded):
    card = Card(
        name="llama-decode",
        task="text generation, next token",
        sample_unit="token",
        flops=201_326_592,
        parameters=106_972_160,
        weight_bytes=427_888_640,
        io_bytes=4_227_096,
        distinct_inputs=16,
        bounds=(Bound(40.0),),  # MLPerf Inference v5.0, Llama 2 70B interactive: each further token within 40 ms
        quality=None,
        source=SOURCE,
    )
    outputs = ("logits", "k", "v", "next_position")
    golden_outputs = ("logits",)
    golden_steps = 3
    tolerances = {**Seeded.tolerances, "bf16": Tolerance(0.995)}
    """Measured in bf16: 0.9999. An engine that forgets to feed the cache or the position back reaches 0.986."""
    feedback = {"k": "past_k", "v": "past_v", "next_position": "position"}

    def net(self) -> Any:
        return llama.decode(SIZE)

    def inputs(self, n: int, stream: str) -> Arrays:
        """A token each, after windows of random keys and values of variance 1."""
        from workloads.generator import integers, uniform

        scale = math.sqrt(3.0)
        return {
            "input_ids": integers(f"{stream}/ids", (n, 1), 0, SIZE.vocabulary),
            "position": integers(f"{stream}/position", (n, 1), SIZE.window, 1024),
            "past_k": uniform(f"{stream}/k", (n, *SIZE.cache), scale),
            "past_v": uniform(f"{stream}/v", (n, *SIZE.cache), scale),
        }
