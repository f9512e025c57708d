from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from results import compare, store
from results.compare import Compared
from results.metrics import METRICS
from results.record import Identity, Record
from results.stats import summarise
from results.store import Problem, Run, StoreError
from tests.fakes import records

SINGLE, OFFLINE = records.identities(2)


def beside_another(made: Record) -> Record:
    entries = tuple(each.model_copy(update={"other_cpu_percent": 60.0}) for each in made.context.conditions)
    return made.model_copy(update={"context": made.context.model_copy(update={"conditions": entries})})


def run_of(
    root: Path, run_id: str, speeds: list[float], identity: Identity = SINGLE, disturbed: int = 0, **changes: Any
) -> Path:
    with Run.open(root, run_id) as run:
        for repeat, speed in enumerate(speeds):
            made = records.record(identity, run_id=run_id, repeat=repeat, order=repeat, speed=speed, **changes)
            if repeat < disturbed:
                made = beside_another(made)
            run.append(made)
            if made.status == "ok":
                run.append_summary(summarise(made, records.samples(identity, 1000, 0, speed)))
    return root / run_id


def around(centre: float, n: int, spread: float = 0.002) -> list[float]:
    rng = random.Random(n)
    return [centre * math.exp(rng.gauss(0.0, spread)) for _ in range(n)]


def by_metric(rows: list[Compared]) -> dict[str, Compared]:
    return {row.metric.key if row.metric else "": row for row in rows}


class TestOutcomes:
    """The rules are those of results/difference.py, tried in test_difference.py and test_coverage.py."""

    @pytest.mark.parametrize(
        ("factor", "outcome"), [(1.1, "faster"), (0.9, "slower"), (1.0, "no difference"), (1.012, "no difference")]
    )
    def test_a_known_shift(self, tmp_path: Path, factor: float, outcome: str) -> None:
        a, b = run_of(tmp_path, "a", around(1.0, 6)), run_of(tmp_path, "b", around(factor, 7))
        rows = by_metric(compare.compare(a, b))
        ratio = rows["throughput_per_s"].ratio
        assert ratio is not None
        assert ratio.low <= factor <= ratio.high
        assert rows["throughput_per_s"].outcome == outcome
        assert rows["latency_p50_ns"].outcome == outcome  # a shorter time is faster too
        assert rows["latency_p50_ns"].detectable == pytest.approx(0.022, abs=0.003)

    def test_faster_and_slower_are_words_for_every_headline(self) -> None:
        assert all(metric.key.endswith(("_ns", "_per_s")) for metric in METRICS if metric.headline)
        assert all(metric.better == "higher" or metric.key.endswith("_ns") for metric in METRICS if metric.headline)

    @pytest.mark.parametrize("n", [1, 2, 4])
    def test_below_five_repeats_ranges_and_how_many_would_do(self, tmp_path: Path, n: int) -> None:
        a, b = run_of(tmp_path, "a", around(1.0, n)), run_of(tmp_path, "b", around(2.0, 5))
        row = by_metric(compare.compare(a, b))["throughput_per_s"]
        assert row.ratio is not None
        assert (row.outcome, row.ratio.kind, row.detectable) == ("undecidable", "range", None)
        assert row.ratio.low <= row.ratio.centre <= row.ratio.high
        assert row.reason.startswith("needs 5 repeats ")
        assert row.reason.endswith(f"(has {n})")

    def test_a_wide_spread_says_how_many_would_do_and_what_could_be_seen(self, tmp_path: Path) -> None:
        a, b = run_of(tmp_path, "a", around(1.0, 5, 0.05)), run_of(tmp_path, "b", around(1.0, 5, 0.05))
        row = by_metric(compare.compare(a, b))["throughput_per_s"]
        assert row.outcome == "undecidable"
        assert row.detectable is not None
        assert row.detectable > 0.05
        assert row.reason.startswith("needs ")
        assert row.reason.endswith(" to rule out 2% (has 5)")

    @pytest.mark.parametrize(("repeats", "told"), [(2, True), (3, False)])
    def test_a_change_is_not_told_where_half_of_a_side_was_disturbed(
        self, tmp_path: Path, repeats: int, told: bool
    ) -> None:
        a = run_of(tmp_path, "a", around(1.0, 6))
        b = run_of(tmp_path, "b", around(0.5, 6), disturbed=repeats)
        row = by_metric(compare.compare(a, b))["throughput_per_s"]
        seen = "slower by the figures, but B was disturbed (other_load in 3 of 6): measure on an idle machine"
        assert (row.outcome, row.reason) == (("slower", "") if told else ("undecidable", seen))


class TestPairs:
    def test_only_on_one_side(self, tmp_path: Path) -> None:
        a, b = run_of(tmp_path, "a", [1.0]), run_of(tmp_path, "b", [1.0], OFFLINE)
        assert sorted(row.reason for row in compare.compare(a, b)) == ["only in A", "only in B"]

    def test_failed_or_invalid_sides_say_so(self, tmp_path: Path) -> None:
        good = run_of(tmp_path, "a", [1.0])
        failed = run_of(tmp_path, "b", [1.0], status="failed")
        wrong = run_of(tmp_path, "c", [1.0], evidence=records.evidence(SINGLE, outputs=records._wrong()))
        modelled = run_of(tmp_path, "d", [1.0], provenance="modelled")
        (row,) = compare.compare(good, failed)
        assert row.reason == "B has no figures: failed: the worker died in compile with signal 11 (SIGSEGV)"
        (row,) = compare.compare(wrong, good)
        assert row.reason == "A is invalid: outputs_wrong"
        (row,) = compare.compare(good, modelled)
        assert row.reason == "A is measured, B is modelled: provenances are not compared"

    def test_what_else_changed(self, tmp_path: Path) -> None:
        a = run_of(tmp_path, "a", [1.0])
        made = records.record(SINGLE, run_id="b", machine=records.CLOUD_MACHINE)
        context = made.context.model_copy(update={"versions": {**made.context.versions, "onnxruntime": "1.25.0"}})
        b = run_of(tmp_path, "b", [1.0], context=context)
        assert compare.compare(a, b)[0].changed == ("machine bench-1 -> ip-10-0-0-7", "onnxruntime 1.24.1 -> 1.25.0")

    def test_a_slower_machine_is_told_from_a_slower_engine(self, tmp_path: Path) -> None:
        a = run_of(tmp_path, "a", [1.0])
        context = records.record(SINGLE, run_id="b").context
        slowed = tuple(
            one.model_copy(update={"integer_ns": 2_100_000, "sgemm_ns": 3_150_000}) for one in context.calibration
        )
        b = run_of(tmp_path, "b", [1.0], context=context.model_copy(update={"calibration": slowed}))
        assert compare.compare(a, b)[0].changed == ("calibration kernels 4.7% slower",)

    def test_different_rules_never_meet(self, tmp_path: Path) -> None:
        a = run_of(tmp_path, "a", [1.0])
        b = run_of(tmp_path, "b", [1.0], SINGLE.model_copy(update={"rules": "mlperf"}))
        assert sorted(row.reason for row in compare.compare(a, b)) == ["only in A", "only in B"]

    def test_whole_roots_too(self, tmp_path: Path) -> None:
        for name in ("one", "two"):
            records.write_root(tmp_path / name, identities=16, runs=2, repeats=5, seed=len(name), mixed=False)
        rows = compare.compare(tmp_path / "one", tmp_path / "two")
        assert len({row.identity.key for row in rows}) == 16
        assert all(row.ratio for row in rows)

    def test_problems_are_collected(self, tmp_path: Path) -> None:
        a, b = run_of(tmp_path, "a", [1.0]), run_of(tmp_path, "b", [1.0])
        (b / store.RECORDS).write_bytes((b / store.RECORDS).read_bytes() + b"torn")
        problems: list[Problem] = []
        compare.compare(a, b, problems)
        assert len(problems) == 1


class TestSelect:
    def test_names(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        a, b = run_of(tmp_path, "20261101T020000Z-aaaaaa", [1.0]), run_of(tmp_path, "20261102T020000Z-bbbbbb", [1.0])
        assert compare.select(tmp_path, "latest") == b
        assert compare.select(tmp_path, "previous") == a
        assert compare.select(tmp_path, a.name) == a
        assert compare.select(tmp_path / "other", str(b)) == b
        assert compare.select(tmp_path, str(b / store.RECORDS)) == b / store.RECORDS

    def test_unknown_names_list_the_known(self, tmp_path: Path) -> None:
        run_of(tmp_path, "20261101T020000Z-aaaaaa", [1.0])
        with pytest.raises(StoreError, match="there is no previous one"):
            compare.select(tmp_path, "previous")
        with pytest.raises(StoreError, match="the newest runs are 20261101T020000Z-aaaaaa; latest and previous"):
            compare.select(tmp_path, "yesterday")


def test_order_is_stable(tmp_path: Path) -> None:
    records.write_root(tmp_path, identities=20, runs=2, repeats=1)
    a, b = compare.select(tmp_path, "previous"), compare.select(tmp_path, "latest")
    first = [(row.identity.key, row.metric.key if row.metric else "") for row in compare.compare(a, b)]
    assert first == [(row.identity.key, row.metric.key if row.metric else "") for row in compare.compare(a, b)]
    assert len(first) == len(set(first))


class TestEstimates:
    def test_the_same_estimate_is_no_difference(self, tmp_path: Path) -> None:
        (row,) = compare.compare(*(estimates(tmp_path, name) for name in ("a", "b")))
        assert (row.outcome, row.reason, row.metric and row.metric.key) == (
            "no difference", "the same estimate", "estimated_latency_ns",
        )  # fmt: skip

    def test_repeats_of_it_round_nothing(self, tmp_path: Path) -> None:
        one = estimates(tmp_path, "a", latency_ns=64238 / 3)
        (row,) = compare.compare(one, estimates(tmp_path, "b", repeats=5, latency_ns=64238 / 3))
        assert (row.outcome, row.b and row.b.n) == ("no difference", 5)

    @pytest.mark.parametrize(("latency_ns", "outcome"), [(2e6, "slower"), (5e5, "faster")])
    def test_another_one_needs_no_repeats_to_be_told(self, tmp_path: Path, latency_ns: float, outcome: str) -> None:
        a, b = estimates(tmp_path, "a", latency_ns=1e6), estimates(tmp_path, "b", latency_ns=latency_ns)
        (row,) = compare.compare(a, b)
        assert row.outcome == outcome
        assert row.ratio is not None
        assert row.ratio.centre == pytest.approx(latency_ns / 1e6)

    def test_without_a_latency_it_says_why(self, tmp_path: Path) -> None:
        gap = {"latency_ns": None, "missing": {"latency_ns": "an operator falls back"}}
        (row,) = compare.compare(estimates(tmp_path, "a"), estimates(tmp_path, "b", **gap))
        assert (row.outcome, row.metric) == ("undecidable", None)
        assert row.reason == "no estimated latency: an operator falls back"

    def test_a_simulation_is_not_compared_with_an_estimate(self, tmp_path: Path) -> None:
        (row,) = compare.compare(estimates(tmp_path, "a"), estimates(tmp_path, "b", provenance="simulator"))
        assert row.reason == "A is estimate, B is simulator: provenances are not compared"


def estimates(root: Path, run_id: str, repeats: int = 1, **changes: Any) -> Path:
    with Run.open(root, run_id) as run:
        for order in range(repeats):
            made = records.estimated(run_id=run_id, order=order, **changes)
            run.append(made)
            run.append_summary(summarise(made, np.empty(0, np.int64)))
    return root / run_id
