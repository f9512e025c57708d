"""Does the harness report what a bare loop would?

One thread, one process, the same inputs: onnxruntime through our engine and our timed loop, and two bare onnxruntime
loops, whose ratio is the A/A ratio. Blocks are short, so that all three meet the same noise.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

from bench import measure, queries
from bench.protocol import Effort
from bench.selfcheck import paired, subjects
from bench.selfcheck.contract import Asked, Check, Row

if TYPE_CHECKING:
    from backends.contract import Session
    from workloads.contract import Arrays

BAND = paired.within(0.02)
BLOCK_S = 0.05
BLOCKS = 6
"""Of each contender for each pair that was asked for."""


class BareCheck(Check):
    name = "bare"
    doing = "comparing with a bare loop around onnxruntime, on one thread"

    def takes_s(self, asked: Asked) -> float:
        return 3 * BLOCK_S * BLOCKS * asked.pairs + 3

    def rows(self, asked: Asked) -> Iterator[Row]:
        sut = subjects.one_thread(asked.workload, "onnxruntime")
        rotation = queries.rotation(sut.workload, 1)
        with closing(sut.compile(1)) as session:
            first, second = (_Bare(str(sut.model.form("onnx")), rotation) for _ in range(2))
            ours = partial(harness_block, session, rotation)
            found = paired.alternate({"ours": ours, "bare": first, "bare again": second}, BLOCKS * asked.pairs)
        what = "p50 of single_stream, ours / bare onnxruntime"
        yield paired.compared(what, found, ("ours", "bare"), ("bare again", "bare"), BAND, paired.MILLISECONDS)


def harness_block(session: Session, rotation: Sequence[Arrays]) -> float:
    """Median latency in nanoseconds by our own measurement: session and timed loop as a worker uses them."""
    limits = [measure.Enough(Effort(0, BLOCK_S, 1, BLOCK_S))]
    (timed,) = measure.single_stream(session, [queries.feed(rotation, {}, 1)], limits)
    return median(timed.samples)


class _Bare:
    """What somebody writes who only wants to know how long `session.run` takes; one thread, else the defaults."""

    def __init__(self, path: str, rotation: Sequence[Arrays]) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session: Any = onnxruntime.InferenceSession(path, options)
        self.rotation = rotation

    def __call__(self) -> float:
        """Median latency of a block, in nanoseconds."""
        latencies, number = [], 0
        end = time.perf_counter() + BLOCK_S
        while time.perf_counter() < end:
            feed = self.rotation[number % len(self.rotation)]
            begin = time.perf_counter_ns()
            self.session.run(None, feed)
            latencies.append(time.perf_counter_ns() - begin)
            number += 1
        return median(latencies)
