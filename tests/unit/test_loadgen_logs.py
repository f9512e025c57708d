"""What LoadGen wrote is read as it was meant, whatever stands between, and what cannot be is said so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.loadgen import logs

TIMES = st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 10**9), st.integers(0, 10**12)), min_size=1)
OTHERS = '{"name":"QuerySamplesComplete","ph":"X","pid":7,"tid":7,"ts":802.261,"dur":1.823,"args":{}},\n'


def line(number: int, due_ns: int, lag_ns: int, latency_ns: int) -> str:
    """A sample as LoadGen 6.0.17 writes it."""
    ts, te = (f'"id":{number},"ts":{at_ns // 1000}.{at_ns % 1000:03d}' for at_ns in (due_ns, due_ns + latency_ns))
    seen = f'"sample_seq":{number},"query_seq":0,"sample_idx":3,"issue_start_ns":{lag_ns},"complete_ns":{latency_ns}'
    return (
        f'{{"name":"Sample","cat":"default","ph":"b","pid":7,{ts},"args":{{{seen}}}}},\n'
        f'{{"name":"Sample","cat":"default","ph":"e", "pid":7,{te}}},\n'
    )


def write(folder: Path, lines: list[str]) -> None:
    (folder / "mlperf_log_trace.json").write_text('{"traceEvents":[\n' + OTHERS + OTHERS.join(lines))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TIMES, st.randoms())
def test_times_come_back_in_the_order_of_the_schedule(tmp_path, times, rng):
    times = sorted(times)
    lines = [line(number, *one) for number, one in enumerate(times)]
    rng.shuffle(lines)
    write(tmp_path, lines)
    trace = logs.read_trace(tmp_path, 1)
    due_ns, lag_ns, latency_ns = (list(column) for column in zip(*times, strict=True))
    assert list(trace.due_ns) == [due - due_ns[0] for due in due_ns]
    assert (list(trace.lag_ns), list(trace.latency_ns)) == (lag_ns, latency_ns)


def test_a_query_takes_as_long_as_its_last_sample(tmp_path):
    write(tmp_path, [line(number, 1000 * (number // 2), 0, 10 + number) for number in range(6)])
    trace = logs.read_trace(tmp_path, 2)
    assert list(trace.latency_ns) == [11, 13, 15]
    assert list(trace.due_ns) == [0, 1000, 2000]
    assert (list(trace.done_ns), trace.duration_ns) == ([11, 1013, 2015], 2015)


@pytest.mark.parametrize("count", [0, 7])
def test_half_a_query_is_refused(tmp_path, count):
    write(tmp_path, [line(number, 0, 0, 1) for number in range(count)])
    with pytest.raises(logs.LoadGenError, match=f"holds {count} samples, not a multiple of 8"):
        logs.read_trace(tmp_path, 8)


def test_a_clock_that_was_set_back_is_told(tmp_path):
    write(tmp_path, [line(0, 0, 0, 5), line(1, 10, 0, -3)])
    with pytest.raises(logs.LoadGenError, match="was set back"):
        logs.read_trace(tmp_path, 1)


def detail(folder: Path, *entries: tuple[str, object], errors: tuple[str, ...] = ()) -> None:
    told = [{"key": key, "value": value, "metadata": {"is_error": False}} for key, value in entries]
    told += [{"key": "error_runtime", "value": value, "metadata": {"is_error": True}} for value in errors]
    (folder / "mlperf_log_detail.txt").write_text("".join(f":::MLLOG {json.dumps(entry)}\n" for entry in told))


def test_the_verdict_and_its_reasons_are_loadgens_words(tmp_path):
    detail(
        tmp_path,
        ("loadgen_version", "6.0.17 @ d6147c7eb7"),
        ("result_validity", "INVALID"),
        ("result_invalid_reason", "Reduce target QPS to improve latency. "),
        ("early_stopping_result", " * Run unsuccessful.  * Processed 15 queries.  * Would need  at least 9 more,  if"),
        ("result_query_count", 15),
        ("result_min_duration_met", True),
        ("early_stopping_latency_ss", 0),
        errors=("Ending early: Max test duration reached.",),
    )
    assert logs.read_detail(tmp_path) == logs.Told(
        version="6.0.17",
        valid=False,
        reasons=(
            "Reduce target QPS to improve latency.",
            "Run unsuccessful.",
            "Processed 15 queries.",
            "Would need at least 9 more, if",
            "Ending early: Max test duration reached.",
        ),
        results={"result_query_count": 15.0},
    )


def test_no_result_is_an_error_with_what_there_is_of_a_reason(tmp_path):
    detail(tmp_path, ("loadgen_version", "6"), errors=("Invalid value for server_target_qps requested.",))
    with pytest.raises(logs.LoadGenError, match=r"gave no result: Invalid value for server_target_qps requested\."):
        logs.read_detail(tmp_path)


def test_a_folder_is_emptied_and_what_is_not_kept_goes(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "old").write_text("of an earlier run")
    folder = tmp_path / "one"
    logs.make_empty(folder)
    assert list(folder.iterdir()) == []
    for name in ("mlperf_log_trace.json", "mlperf_log_summary.txt"):
        (folder / name).write_text("")
    logs.tidy(folder)
    assert [path.name for path in folder.iterdir()] == ["mlperf_log_summary.txt"]
