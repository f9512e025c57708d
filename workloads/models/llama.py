"""llama-*: decoders of 100 million to 7 billion parameters, reading a prompt, and adding one token to a window.

The two large sizes are those of networks in use, with weights that are drawn on the device; they are measured when they
are named. With one sample a decoder reads all its weights for two operations each: that tests the device's memory.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from workloads.contract import Bound, Card, Tolerance
from workloads.nets import llama
from workloads.seeded import Seeded

if TYPE_CHECKING:
    from workloads.contract import Arrays


def _prefill_card(size: str, flops: int, parameters: int, io_bytes: int, source: str) -> Card:
    return Card(
        name=f"llama-{size}prefill",
        task="text generation, first token",
        sample_unit="prompt of 128 tokens",
        flops=flops,
        parameters=parameters,
        weight_bytes=4 * parameters,
        io_bytes=io_bytes,
        distinct_inputs=256,
        bounds=(Bound(450.0),),  # MLPerf Inference v5.0, Llama 2 70B interactive: first token within 450 ms
        quality=None,
        source=source,
    )


def _decode_card(size: str, flops: int, parameters: int, io_bytes: int, source: str) -> Card:
    return Card(
        name=f"llama-{size}decode",
        task="text generation, next token",
        sample_unit="token",
        flops=flops,
        parameters=parameters,
        weight_bytes=4 * parameters,
        io_bytes=io_bytes,
        distinct_inputs=16,
        bounds=(Bound(40.0),),  # MLPerf Inference v5.0, Llama 2 70B interactive: each further token within 40 ms
        quality=None,
        source=source,
    )


class _Prefill(Seeded):
    size: llama.Size
    outputs = ("logits", "k", "v")
    golden_outputs = ("logits",)

    def net(self) -> Any:
        return llama.prefill(self.size)

    def inputs(self, n: int, stream: str) -> Arrays:
        from workloads.generator import integers

        return {"input_ids": integers(stream, (n, self.size.window), 0, self.size.vocabulary)}


class _Decode(Seeded):
    size: llama.Size
    outputs = ("logits", "k", "v", "next_position")
    golden_outputs = ("logits",)
    golden_steps = 3
    feedback = {"k": "past_k", "v": "past_v", "next_position": "position"}

    def net(self) -> Any:
        return llama.decode(self.size)

    def inputs(self, n: int, stream: str) -> Arrays:
        """A token each, after windows of random keys and values of variance 1."""
        from workloads.generator import integers, uniform

        scale = math.sqrt(3.0)
        return {
            "input_ids": integers(f"{stream}/ids", (n, 1), 0, self.size.vocabulary),
            "position": integers(f"{stream}/position", (n, 1), self.size.window, 1024),
            "past_k": uniform(f"{stream}/k", (n, *self.size.cache), scale),
            "past_v": uniform(f"{stream}/v", (n, *self.size.cache), scale),
        }


SMALL = "architecture of Touvron et al. 2023, https://arxiv.org/abs/2302.13971, at 107 million parameters"
ONE = "architecture of TinyLlama 1.1B: Zhang et al. 2024, https://arxiv.org/abs/2401.02385; random weights"
SEVEN = "architecture of Mistral 7B: Jiang et al. 2023, https://arxiv.org/abs/2310.06825; random weights"


class LlamaPrefill(_Prefill):
    card = _prefill_card("", 23_639_097_344, 106_972_160, 2_130_944, SMALL)
    size = llama.LLAMA_100M
    tolerances = {**Seeded.tolerances, "int8": Tolerance(0.99)}
    """Measured with int8-static in onnxruntime 1.31 and openvino 2026.4: 0.998; answers to other inputs come no nearer
    than 0.0."""


class LlamaDecode(_Decode):
    card = _decode_card("", 201_326_592, 106_972_160, 4_227_096, SMALL)
    size = llama.LLAMA_100M
    tolerances = {**Seeded.tolerances, "bf16": Tolerance(0.995), "int8": Tolerance(0.99)}
    """Measured in bf16: 0.9999; with int8-static in onnxruntime 1.31 and openvino 2026.4: 0.9989. An engine that
    forgets to feed the cache or the position back reaches 0.986."""


class _LargePrefill(_Prefill):
    by_default = False
    golden_bits = 14


class _LargeDecode(_Decode):
    by_default = False
    golden_bits = 14
    tolerances = {**Seeded.tolerances, "bf16": Tolerance(0.997)}
    """Measured in bf16: 0.99985 at 1B, 0.99982 at 7B; an engine that takes one step fewer reaches 0.9948, with two
    fewer 0.983. At 1B 0.999998 in fp16, and in fp32 an error of 2.7e-5, most of which is golden's own rounding."""


class Llama1BPrefill(_LargePrefill):
    card = _prefill_card("1b-", 251_118_223_360, 1_100_048_384, 5_896_192, ONE)
    size = llama.LLAMA_1B


class Llama1BDecode(_LargeDecode):
    card = _decode_card("1b-", 2_091_909_120, 1_100_048_384, 11_662_360, ONE)
    size = llama.LLAMA_1B


class Llama7BPrefill(_LargePrefill):
    card = _prefill_card("7b-", 1_795_558_473_728, 7_241_732_096, 33_683_456, SEVEN)
    size = llama.LLAMA_7B


class Llama7BDecode(_LargeDecode):
    card = _decode_card("7b-", 14_287_896_576, 7_241_732_096, 67_236_888, SEVEN)
    size = llama.LLAMA_7B
