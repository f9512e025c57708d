"""Asks whether a session remembers answers: the time of repeating one input over that of inputs never seen before.

Source: MLPerf's TEST04, which repeats one sample for a whole run and allows it to be at most 10 % faster. A run rotates
over few samples, so that a large enough memory would make both equally fast; here the other inputs are new ones. Blocks
of both alternate in random order, since noise is autocorrelated. Inputs are read just before each query (`stages.ask`),
so that a hot data cache, which is no fault, favours neither. In a chain with feedback the first step is what repeats.
An alarm counts if asking all over again, with other inputs, raises it too.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import intervals, measure, queries
from bench.audit import stages
from workloads.contract import Unsupported

if TYPE_CHECKING:
    from backends.contract import Session
    from bench.audit.stages import Stages
    from bench.measure import Clock
    from workloads.contract import Arrays, Workload

SUSPECTED = 1 / 1.10
PAIRS = 20
BLOCK_MAX = 20
NEW_BYTES = 32 << 20
"""New inputs together, unless the fewest are more."""
TRIALS = 3


class Audit:
    """Asks one session; `asked` are its queries with new inputs so far."""

    def __init__(
        self, workload: Workload, session: Session, batch: int, budget_s: float, clock: Clock = measure.CLOCK
    ) -> None:
        self.workload, self.session, self.batch, self.clock = workload, session, batch, clock
        self.budget_ns = round(budget_s * 1e9)
        self.asked: list[Stages] = []

    def stages(self) -> dict[str, Any]:
        """Evidence shaped as `results.record.Stages`, of the new inputs that were asked for anyway, or a few."""
        if not self.asked:
            self._try_out()
        return stages.medians(self.asked)

    def _try_out(self) -> None:
        """At least one query, to know how long they take."""
        begin_ns = self.clock()
        for query in new_inputs(self.workload, self.batch, TRIALS, seed=1):
            self.asked.append(stages.ask(self.session, query, self.clock))
            if self.clock() - begin_ns > self.budget_ns:
                break

    def same_input(self) -> dict[str, Any]:
        """Evidence shaped as `results.record.SameInput`; raises Unsupported where there is not enough time for it."""
        self._try_out()
        query_ns = median(one.query_ns for one in self.asked)
        if (needed_ns := 2 * intervals.VALUES_MIN * query_ns) > self.budget_ns:
            times = f"{needed_ns / 1e9:.2g} s, and {self.budget_ns / 1e9:.2g} s are given"
            raise Unsupported(
                f"{intervals.VALUES_MIN} pairs of queries take {times}; use a profile with longer windows"
            )
        count, size = self._new_queries(query_ns)
        with measure.no_collections():
            ratios = self._ratios(self._pool(count + 1, seed=2), size)
            if intervals.of_median(ratios)[1] < SUSPECTED:  # by chance, perhaps: only what is found twice counts
                ratios = self._ratios(self._pool(count + 1, seed=3), size)
        low, high = intervals.of_median(ratios)
        return {"ratio": median(ratios), "low": low, "high": high, "pairs": len(ratios)}

    def _new_queries(self, query_ns: float) -> tuple[int, int]:
        """How many new inputs to ask for, and how many in a block: as many as time and memory allow."""
        query_bytes = sum(array.nbytes for array in new_inputs(self.workload, self.batch, 1, seed=1)[0].values())
        most = int(min(NEW_BYTES / query_bytes, self.budget_ns / (2 * query_ns)))
        pairs = max(intervals.VALUES_MIN, min(PAIRS, most))
        size = max(1, min(BLOCK_MAX, most // pairs))
        return pairs * size, size

    def _pool(self, count: int, seed: int) -> list[Arrays]:
        pool = new_inputs(self.workload, self.batch, count, seed)
        if len({hash(tuple(array.tobytes() for array in query.values())) for query in pool}) < count:
            raise Unsupported(f"{self.workload.card.name} has no {count} different inputs")
        return pool

    def _ratios(self, pool: Sequence[Arrays], size: int) -> list[float]:
        """Median time with the first of `pool` over that with the others, in blocks of `size`."""
        rng = random.Random(0)  # noqa: S311 - an order, no secret
        until_ns = self.clock() + self.budget_ns
        ratios: list[float] = []
        stages.ask(self.session, pool[0], self.clock)  # the first time nobody can have an answer
        for first in range(1, len(pool), size):
            blocks = {"same": [pool[0]] * size, "new": pool[first : first + size]}
            asked = {
                kind: [stages.ask(self.session, query, self.clock) for query in blocks[kind]]
                for kind in rng.sample(list(blocks), 2)
            }
            self.asked += asked["new"]
            same_ns, new_ns = (median(one.query_ns for one in asked[kind]) for kind in blocks)
            ratios.append(same_ns / new_ns)
            if len(ratios) >= intervals.VALUES_MIN and self.clock() > until_ns:
                break
        return ratios


def new_inputs(workload: Workload, batch: int, count: int, seed: int) -> list[Arrays]:
    """Queries that nobody has seen before: the values of each sample in another order, for data sets are finite."""
    rng = np.random.default_rng(seed)
    inputs = workload.samples("perf", count * batch, seed).inputs
    shuffled = {name: rng.permuted(array.reshape(len(array), -1), axis=1) for name, array in inputs.items()}
    return queries.split({name: shuffled[name].reshape(array.shape) for name, array in inputs.items()}, batch)
