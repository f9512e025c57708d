"""bert-base: the encoder on sequences of 128 tokens, up to its pooled hidden state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workloads.contract import Bound, Card, Tolerance
from workloads.seeded import Seeded

if TYPE_CHECKING:
    from workloads.contract import Arrays

SEQUENCE = 128
CLS, FIRST_WORD, VOCABULARY = 101, 999, 30522
"""Of bert-base-uncased's vocabulary: the id every sequence begins with, the first that is a word, the number of ids."""


class BertBase(Seeded):
    subject = True
    card = Card(
        name="bert-base",
        task="text encoding",
        sample_unit="sequence of 128 tokens",
        flops=22_348_431_360,
        parameters=109_482_240,
        weight_bytes=437_928_960,
        io_bytes=5_120,
        distinct_inputs=256,
        bounds=(Bound(130.0),),  # MLPerf Inference, data centre, server, for BERT-large on 384 tokens: 130 ms
        quality=None,
        source="Devlin et al. 2018, https://arxiv.org/abs/1810.04805",
    )
    outputs = ("pooled",)
    tolerances = {**Seeded.tolerances, "int8": Tolerance(0.85), "int4": Tolerance(0.3)}
    """Measured with the int8 techniques in onnxruntime 1.31 and openvino 2026.4: 0.917 or more, while answers to other
    inputs come as near as 0.25. In int4: 0.385 in either engine, as twelve layers of random weights blur."""

    def net(self) -> Any:
        from workloads.nets import bert

        return bert.build(bert.Size())

    def inputs(self, n: int, stream: str) -> Arrays:
        """Sequences of 32 to 128 tokens, padded with id 0."""
        import numpy as np

        from workloads.generator import integers

        ids = integers(f"{stream}/ids", (n, SEQUENCE), FIRST_WORD, VOCABULARY)
        lengths = integers(f"{stream}/lengths", (n, 1), 32, SEQUENCE + 1)
        ids[:, 0] = CLS
        mask = np.arange(SEQUENCE) < lengths
        return {"input_ids": ids * mask, "attention_mask": mask.astype(np.int64)}
