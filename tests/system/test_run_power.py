"""A whole run beside a wall meter of known power, which writes its file as such meters do."""

from __future__ import annotations

import csv
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from results.record import Record
from tests.system.run_helpers import bench, measured

WATTS = 75.0
ASKED = ("--backend=fake", "--engine=fake-exact", "--workload=fake-project", "--scenario=single_stream")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """Twenty rows a second, in seconds since 1970."""
    path, stop = tmp_path / "meter.csv", threading.Event()
    path.write_text(f"time,Power (W)\n{time.time() - 0.05:.6f},{WATTS}\n{time.time():.6f},{WATTS}\n")

    def write() -> None:
        with path.open("a", buffering=1) as file:
            while not stop.wait(0.05):
                file.write(f"{time.time():.6f},{WATTS}\n")

    writer = threading.Thread(target=write)
    writer.start()
    yield path
    stop.set()
    writer.join()


@pytest.fixture
def record(log: Path, tmp_path: Path) -> Record:
    done = bench(tmp_path / "runs", *ASKED, f"--meter=csv:{log}")
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = measured(tmp_path / "runs")
    return found


def test_the_energy_of_the_window_is_its_power_times_its_time(record: Record, tmp_path: Path) -> None:
    energy, window = record.energy, record.window
    assert energy is not None
    assert window is not None
    assert (energy.method, energy.meter, energy.scope) == ("sampled", "csv", "wall")
    assert energy.energy_j == pytest.approx(WATTS * window.duration_ns / 1e9, rel=1e-3)
    assert energy.idle_w == pytest.approx(WATTS)
    assert set(energy.power_reasons) >= {"shared_meter"}
    assert energy.readings_file is not None
    text = (tmp_path / "runs" / record.context.run_id / energy.readings_file).read_text()
    rows = list(csv.DictReader(text.splitlines()))
    assert {row["value"] for row in rows} == {str(WATTS)}
    assert int(rows[0]["t_ns"]) <= 0 <= int(rows[1]["t_ns"])
    assert int(rows[-1]["t_ns"]) >= window.duration_ns


@pytest.mark.parametrize(
    ("meter", "cause"),
    [("rappl", "unknown meter rappl (did you mean rapl?)"), ("none,rapl", "none goes with no other")],
)
def test_a_meter_that_cannot_be_meant_is_bad_input(tmp_path: Path, meter: str, cause: str) -> None:
    done = bench(tmp_path, *ASKED, f"--meter={meter}")
    assert done.returncode == 2
    assert done.stderr.startswith("accelmark: --meter ")
    assert cause in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_meter_that_was_asked_for_and_gives_nothing_is_said(tmp_path: Path) -> None:
    path = tmp_path / "none.csv"
    done = bench(tmp_path / "runs", *ASKED, f"--meter=csv:{path}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"--meter: no energy of 1 records: csv: {path}: " in done.stdout
