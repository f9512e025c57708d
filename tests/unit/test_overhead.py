from __future__ import annotations

import re

import numpy as np

from bench import overhead


def test_both_sides_hold_the_samples_and_the_table_has_all_its_figures(capsys):
    assert overhead.main(["--count", "200000"]) == 0
    printed = capsys.readouterr().out
    figures = {side: float(size) for side, size in re.findall(r"(worker|pytest|at once) +([\d.]+) bytes", printed)}
    assert set(figures) == {"worker", "pytest", "at once"}
    assert figures["at once"] == max(figures["worker"], figures["pytest"])


def test_the_worker_side_writes_what_the_other_reads(tmp_path):
    path = tmp_path / "samples.i64"
    overhead.worker_bytes(path, 5000)
    assert len(np.fromfile(path, "<i8")) == 5000
    overhead.pytest_bytes(path, 5000)
