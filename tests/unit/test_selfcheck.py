"""Decision rules, the interval, alternation, and the command around the checks."""

from __future__ import annotations

import argparse
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import selfcheck
from bench.intervals import VALUES_MIN
from bench.parts import Found
from bench.selfcheck import others
from bench.selfcheck.contract import Asked, Check, Row, judged
from bench.selfcheck.paired import Band, Interval, Unit, alternate, compared, interval, ratio, within
from bench.surroundings.host import CpuTime
from workloads.contract import Unsupported


@pytest.mark.parametrize(("n", "low", "high"), [(6, 1, 6), (20, 6, 15), (25, 8, 18), (100, 40, 61)])
def test_the_interval_has_the_ranks_of_the_binomial_table(n, low, high):
    """Conover's table A3, for a median at 95 %."""
    found = interval([float(rank) for rank in range(1, n + 1)])
    assert (found.low, found.high) == (low, high)


def test_too_few_values_have_no_interval():
    with pytest.raises(ValueError, match="5 values are too few for an interval of 95%"):
        interval([1.0] * (VALUES_MIN - 1))


@given(st.lists(st.floats(0.5, 2.0), min_size=6, max_size=80))
def test_the_interval_holds_the_median(values):
    found = interval(values)
    assert found.low <= found.centre <= found.high


@pytest.mark.parametrize(("n", "covered_percent"), [(10, 97.9), (25, 95.7)])
def test_the_interval_covers_the_true_median_of_skewed_samples_as_often_as_it_says(n, covered_percent):
    """The binomial probabilities of the ranks; four standard errors of 1000 trials on either side."""
    rng = random.Random(4)
    covered = 0
    for _ in range(1000):
        found = interval([math.exp(rng.expovariate(1.0)) for _ in range(n)])
        covered += found.low <= math.exp(math.log(2)) <= found.high
    assert abs(covered / 10 - covered_percent) <= 4 * math.sqrt(covered_percent * (100 - covered_percent) / 1000)


@pytest.mark.parametrize(
    ("band", "low", "high", "verdict"),
    [
        (within(0.02), 0.99, 1.01, "agrees"),
        (within(0.02), 0.98, 1.02, "agrees"),
        (within(0.02), 0.97, 1.0, "undecided"),
        (within(0.02), 0.5, 1.5, "undecided"),
        (within(0.02), 1.01, 1.03, "undecided"),
        (within(0.02), 1.021, 1.03, "differs"),
        (within(0.02), 0.9, 0.979, "differs"),
        (Band(0, 0.5), -0.1, 0.4, "undecided"),
        (Band(0, 0.5), 0.1, 0.5, "agrees"),
        (Band(0, 0.5), 0.4, 0.6, "undecided"),
        (Band(0, 0.5), 0.51, 0.6, "differs"),
        (Band(0.98, math.inf), 0.985, 3.0, "agrees"),
        (Band(0.98, math.inf), 0.9, 0.99, "undecided"),
        (Band(0.98, math.inf), 0.9, 0.97, "differs"),
    ],
)
def test_an_interval_agrees_inside_the_band_differs_outside_and_is_undecided_across_its_edge(band, low, high, verdict):
    assert Interval((low + high) / 2, low, high).against(band) == verdict


@pytest.mark.parametrize(
    ("band", "text"),
    [(within(0.02), "0.98 to 1.02"), (Band(0, 0.5), "at most 0.5"), (Band(0.98, math.inf), "at least 0.98")],
)
def test_a_band_says_what_it_allows(band, text):
    assert str(band) == text


def contender(name, asked, figure):
    def window():
        asked.append(name)
        return figure

    return window


def test_every_round_asks_every_contender_once_in_a_new_order_and_the_first_round_is_dropped():
    asked: list[str] = []
    names = ("a", "b", "c")
    found = alternate({name: contender(name, asked, float(n)) for n, name in enumerate(names)}, 20)
    assert found == {"a": [0.0] * 20, "b": [1.0] * 20, "c": [2.0] * 20}
    rounds = [asked[i : i + 3] for i in range(0, len(asked), 3)]
    assert len(rounds) == 21
    assert all(sorted(order) == list(names) for order in rounds)
    assert len({tuple(order) for order in rounds}) > 3


def test_without_warm_up_the_first_round_counts():
    asked: list[str] = []
    assert alternate({"a": contender("a", asked, 1.0)}, 3, warm_up=False) == {"a": [1.0] * 3}
    assert len(asked) == 3


def test_a_ratio_is_taken_within_rounds_so_that_what_both_meet_cancels():
    """The machine gets ten times slower from round to round, and the ratio is the same in each."""
    below = [10.0**n for n in range(8)]
    assert ratio([1.5 * figure for figure in below], below) == Interval(1.5, 1.5, 1.5)


def test_a_comparison_has_the_ratio_the_noise_the_bound_and_both_sides():
    found = {"ours": [2e6] * 6, "theirs": [1e6] * 6, "ours again": [2.2e6] * 6}
    row = compared("latency", found, ("ours", "theirs"), ("ours again", "ours"), within(0.02), Unit("ms", 1e6, 1))
    assert row == Row(
        what="latency",
        verdict="differs",
        found="2.0000 [2.0000, 2.0000]",
        noise="1.1000 [1.1000, 1.1000]",
        bound="0.98 to 1.02",
        detail="ours 2.0 [2.0, 2.0] ms, theirs 1.0 [1.0, 1.0] ms",
    )


def test_a_figure_without_comparison_keeps_its_bound_or_not():
    assert (judged(True), judged(False), judged(False, "noisy")) == ("agrees", "differs", "noisy")


@pytest.mark.parametrize(
    ("busy", "steal", "own", "taken"), [(0, 0, 0, 0.0), (60, 0, 60, 0.0), (60, 0, 20, 0.4), (60, 10, 20, 0.5)]
)
def test_what_others_took_is_what_was_neither_idle_nor_ours(busy, steal, own, taken):
    before, after = CpuTime(1000, 500, 50, 100), CpuTime(1100, 500 + busy, 50 + steal, 100 + own)
    assert others.share(before, after) == pytest.approx(taken)


def test_what_others_took_may_be_unknown():
    reading = CpuTime(1000, 500, 50, 100)
    assert others.share(None, reading) is others.share(reading, None) is others.share(reading, reading) is None
    assert others.weighed([Row("it", "differs", noise="1.0")], None) == [Row("it", "differs", noise="1.0")]


def test_where_others_ran_a_comparison_proves_no_difference_and_a_wrong_clock_still_does():
    rows = [
        Row("ratio", "differs", "2.0", noise="1.0", detail="medians"),
        Row("ratio", "agrees", "1.0", noise="1.0"),
        Row("clock", "differs", "900 ppm"),
    ]
    assert [row.verdict for row in others.weighed(rows, 0.05)] == ["differs", "agrees", "differs", "agrees"]
    doubted = others.weighed(rows, 0.06)
    assert [row.verdict for row in doubted] == ["undecided", "agrees", "differs", "noisy"]
    assert doubted[0].detail == "differs while others took 6.0 %: medians"


class FakeCheck(Check):
    doing = "pretending"

    def __init__(self, name, answers, takes_s=1.0):
        self.name, self.answers, self.duration_s = name, answers, takes_s

    def takes_s(self, asked):
        return self.duration_s

    def rows(self, asked):
        for answer in self.answers:
            if isinstance(answer, Exception):
                raise answer
            yield answer


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command over the given checks on an idle machine; its exit status, stdout and stderr."""
    monkeypatch.setattr(selfcheck.others, "share", lambda _before, _after: None)

    def run(*checks, names=(), pairs=10, workload="kws"):
        found = [Found(check.name, check, None, "file") for check in checks]
        monkeypatch.setattr(selfcheck.parts, "discover", lambda _base, _package: found)
        status = selfcheck.run(argparse.Namespace(checks=list(names), pairs=pairs, workload=workload))
        return status, *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    ("verdict", "status"),
    [("agrees", 0), ("undecided", 0), ("noisy", 0), ("absent", 0), ("differs", 1), ("failed", 1)],
)
def test_only_a_difference_or_a_fault_is_exit_status_1(run, verdict, status):
    got, out, err = run(FakeCheck("one", [Row("it", verdict)]))
    assert got == status
    assert verdict in out
    assert (f"1 of 1 {verdict}: " in err) == (verdict != "agrees")


def test_what_is_not_here_is_a_row_with_the_remedy_and_the_other_checks_go_on(run):
    missing = FakeCheck("one", [Row("first", "agrees"), Unsupported("it needs a tool: pip install tool")])
    status, out, err = run(missing, FakeCheck("two", [Row("second", "agrees")], takes_s=2))
    assert status == 0
    rows = [line.split(maxsplit=1) for line in out.splitlines()[2:5]]
    assert [name for name, _ in rows] == ["one", "one", "two"]
    assert [rest.split("  ")[0] for _, rest in rows] == ["first", "the rest of it", "second"]
    assert "absent" in out
    assert "pip install tool" in out
    assert "1 of 3 absent" in err


def test_a_check_that_raises_is_a_failed_row_of_one_line(run):
    status, out, _ = run(FakeCheck("one", [RuntimeError("it broke\nat length")]))
    assert status == 1
    assert "RuntimeError: it broke" in out
    assert "at length" not in out


def test_the_quickest_check_comes_first_and_each_is_announced_with_its_duration(run):
    _, out, err = run(FakeCheck("slow", [Row("b", "agrees")], 600), FakeCheck("quick", [Row("a", "agrees")], 3))
    assert [line.split()[0] for line in out.splitlines()[2:4]] == ["quick", "slow"]
    assert "accelmark: quick: pretending, about 3 s\n" in err
    assert "accelmark: slow: pretending, about 10 min\n" in err


def test_named_checks_are_made_alone(run):
    _, out, _ = run(FakeCheck("one", [Row("a", "agrees")]), FakeCheck("two", [Row("b", "agrees")]), names=["two"])
    assert [line.split()[0] for line in out.splitlines()[2:3]] == ["two"]


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"names": ["won"]}, r"unknown check won \(did you mean one\?\); there are: one"),
        ({"pairs": 5}, "--pairs 5: fewer than 6 have no 95 % interval"),
        ({"workload": "kw"}, "unknown workload kw"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_measured(run, changes, cause):
    with pytest.raises(ValueError, match=cause):
        run(FakeCheck("one", [RuntimeError("made")]), **changes)


def test_a_check_that_cannot_be_loaded_is_refused_with_its_file(monkeypatch):
    torn = [Found("torn", None, "SyntaxError: invalid syntax", "torn.py")]
    monkeypatch.setattr(selfcheck.parts, "discover", lambda _base, _package: torn)
    with pytest.raises(ValueError, match=r"check torn cannot be loaded: SyntaxError: invalid syntax \(torn.py\)"):
        selfcheck.run(argparse.Namespace(checks=[], pairs=10, workload="kws"))


def test_every_check_here_has_a_name_a_purpose_and_a_duration_that_grows_with_the_pairs():
    found = selfcheck.parts.discover(Check, "bench.selfcheck")
    assert [one.error for one in found] == [None] * len(found)
    checks = [one.part for one in found if one.part is not None]
    assert {"bare", "benchmark_app", "clock", "loadgen", "overhead"} <= {check.name for check in checks}
    for check in checks:
        assert check.doing
        assert 0 < check.takes_s(Asked(pairs=10)) <= check.takes_s(Asked(pairs=20))
