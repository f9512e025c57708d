"""Does the harness report what a bare loop would? `make fidelity`, a benchmark and no test: it depends on the machine.

One thread, one process, three contenders on the same inputs: onnxruntime through our engine and our timed loop, and two
bare onnxruntime loops. They run in blocks, in a new random order each round, because noise is autocorrelated. A round
gives one ratio of block medians of harness to bare, and one of bare to bare, the A/A ratio that says how much of a
difference this machine makes by itself.

The interval is the distribution-free one of a median: order statistics by the binomial distribution (Conover, Practical
Nonparametric Statistics, 3rd ed., §3.2).
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from backends.contract import Backend, Engine, Plan
from bench import measure, parts, queries
from bench.protocol import Effort
from workloads.contract import Workload

if TYPE_CHECKING:
    from backends.contract import Session
    from workloads.contract import Arrays

MODELS = ("mobilenetv2", "resnet50")
BOUND = 0.02
CONFIDENCE = 0.95
Block = Callable[[], float]
"""Runs for a while and gives the median latency in nanoseconds."""


@dataclass(frozen=True)
class Ratio:
    """A median of paired ratios with its interval."""

    centre: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        if abs(self.low - 1) <= BOUND and abs(self.high - 1) <= BOUND:
            return "agrees"
        return "differs" if self.low > 1 + BOUND or self.high < 1 - BOUND else "inconclusive"

    def __str__(self) -> str:
        return f"{self.centre:.4f} [{self.low:.4f}, {self.high:.4f}]"


def interval(ratios: Sequence[float], confidence: float = CONFIDENCE) -> Ratio:
    """Median of `ratios` with the narrowest symmetric pair of order statistics that covers it; at least 6 of them."""
    ordered, n = sorted(ratios), len(ratios)
    tail, rank = 0.5**n, 0
    if tail > (1 - confidence) / 2:
        raise ValueError(f"{n} ratios are too few for an interval of {confidence:.0%}")
    while tail + math.comb(n, rank + 1) * 0.5**n <= (1 - confidence) / 2:
        rank += 1
        tail += math.comb(n, rank) * 0.5**n
    return Ratio(median(ordered), ordered[rank], ordered[n - 1 - rank])


def harness_block(session: Session, rotation: Sequence[Arrays], block_s: float) -> Block:
    """Our own measurement: engine, session and timed loop as a worker uses them."""
    effort = Effort(0, block_s, 1, block_s)

    def run() -> float:
        (timed,) = measure.single_stream(session, [queries.feed(rotation, {}, 1)], [measure.Enough(effort)])
        return median(timed.samples)

    return run


def bare_block(session: Any, rotation: Sequence[Arrays], block_s: float) -> Block:
    """What somebody writes who only wants to know how long `session.run` takes."""

    def run() -> float:
        latencies, number = [], 0
        end = time.perf_counter() + block_s
        while time.perf_counter() < end:
            feed = rotation[number % len(rotation)]
            begin = time.perf_counter_ns()
            session.run(None, feed)
            latencies.append(time.perf_counter_ns() - begin)
            number += 1
        return median(latencies)

    return run


def compare(contenders: Sequence[Block], rounds: int, rng: random.Random) -> list[list[float]]:
    """The medians of each contender, round by round; the first round warms up and is dropped."""
    found: list[list[float]] = [[0.0] * len(contenders) for _ in range(rounds + 1)]
    for row in found:
        for number in rng.sample(range(len(contenders)), len(contenders)):
            row[number] = contenders[number]()
    return found[1:]


def contenders(name: str, block_s: float) -> list[Block]:
    """The harness, and two bare loops over sessions of their own with one thread and else the library's defaults."""
    import onnxruntime

    workload = parts.find(Workload, name)
    model, rotation = workload.model(), queries.rotation(workload, 1)
    device = parts.find(Backend, "cpu").probe().devices[0]
    plan = Plan("fp32", 1, "latency", options={"threads": "1", "streams": "1"})
    session = parts.find(Engine, "onnxruntime").compile(model, plan, device)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    bare = [onnxruntime.InferenceSession(str(model.form("onnx")), options) for _ in range(2)]
    return [harness_block(session, rotation, block_s), *(bare_block(one, rotation, block_s) for one in bare)]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.fidelity", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200, help="blocks of each contender, at least 20 (default: 200)")
    parser.add_argument(
        "--block-s", type=float, default=0.05, help="seconds a block; short ones meet the same noise (default: 0.05)"
    )
    parser.add_argument("--workload", default=",".join(MODELS), help="comma list (default: %(default)s)")
    chosen = parser.parse_args(argv)
    if chosen.rounds < 20:
        parser.error(f"--rounds {chosen.rounds}: fewer than 20 say too little")
    print(f"{'workload':14} {'harness / bare':28} {'bare / bare (A/A)':28} within ±{BOUND:.0%}")
    for name in chosen.workload.split(","):
        rows = compare(contenders(name, chosen.block_s), chosen.rounds, random.Random(0))  # noqa: S311 - an order
        ours, itself = interval([row[0] / row[1] for row in rows]), interval([row[2] / row[1] for row in rows])
        print(f"{name:14} {ours!s:28} {itself!s:28} {ours.verdict}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
