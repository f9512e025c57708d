"""Is our offline throughput that of OpenVINO's own benchmark_app, and is our best configuration as fast as its best?

Both sides are fresh processes on the same ONNX file, in fp32. benchmark_app takes bf16 where the processor has it and
8-bit images where the network takes floats, unless it is told otherwise: both are told.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import parts, supervisor
from bench.protocol import Effort
from bench.selfcheck import paired, subjects
from bench.selfcheck.contract import Asked, Check, Row
from workloads.contract import Workload

if TYPE_CHECKING:
    from bench.protocol import Job
    from workloads.contract import Model

SAME = paired.within(0.05)
NOT_SLOWER = paired.Band(0.98, math.inf)
EFFORT = Effort(warmup_max_s=1, min_duration_s=1.5, min_queries=1, max_duration_s=1.5)
APP_S = 4
"""Whole seconds. It warms up with one inference, and some 8 % are lacking in its first half second."""
STARTS_S = 3
"""What starting, compiling and, on our side, checking outputs and warming up take, for one process of each."""
COMMAND = (sys.executable, "-c", "from openvino.tools.benchmark.main import main; main()")
"""As the console script of the wheel, which need not be on the path."""
PRECISIONS = {"float32": "f32", "int64": "i64", "int32": "i32"}


class BenchmarkAppCheck(Check):
    name = "benchmark_app"
    doing = "comparing with OpenVINO's benchmark_app, in processes of their own"

    def takes_s(self, asked: Asked) -> float:
        return 2 * (EFFORT.min_duration_s + APP_S + STARTS_S) * asked.pairs

    def rows(self, asked: Asked) -> Iterator[Row]:
        model = parts.find(Workload, asked.workload).model()
        with tempfile.TemporaryDirectory(prefix="accelmark-selfcheck-") as folder:
            job = subjects.job(asked.workload, "openvino", "offline", {}, EFFORT, f"{folder}/samples.i64")
            settings = _measured(job)["settings"]
            ours, app = partial(throughput, job), partial(app_throughput, model, folder)
            contenders = {
                "ours": ours,
                "ours again": ours,
                "benchmark_app": partial(app, same_settings(settings)),
                "benchmark_app -hint throughput": partial(app, ("-hint", "throughput")),
            }
            found = paired.alternate(contenders, asked.pairs, warm_up=False)
        streams = f"{settings['streams']} streams of {settings['threads']} threads"
        for theirs, what, band in (
            ("benchmark_app", f"offline, ours / benchmark_app, both {streams}", SAME),
            ("benchmark_app -hint throughput", "offline, ours / benchmark_app -hint throughput", NOT_SLOWER),
        ):
            yield paired.compared(what, found, ("ours", theirs), ("ours again", "ours"), band, paired.PER_S)


def same_settings(settings: dict[str, Any]) -> Sequence[str]:
    """benchmark_app's options for the streams and threads of one of our runs.

    Two requests a stream: with one, a stream waits until benchmark_app's only thread has noticed that it is free, which
    cost it 7 % here; ours starts the next query where the last one completes.
    """
    streams, threads = int(settings["streams"]), int(settings["threads"])
    counts = {"-nstreams": streams, "-nthreads": streams * threads, "-nireq": 2 * streams}
    return ("-hint", "none", *(word for name, count in counts.items() for word in (name, str(count))))


def throughput(job: Job) -> float:
    """Queries per second of a worker."""
    window = _measured(job)["window"]
    return float(window["queries"]) / float(window["duration_ns"]) * 1e9


def _measured(job: Job) -> dict[str, Any]:
    outcome = supervisor.run(job)
    if outcome.result is None:
        raise RuntimeError(f"our own run {outcome.status}: {outcome.reason}")
    return dict(outcome.result)


def app_throughput(model: Model, folder: str, options: Sequence[str]) -> float:
    """Frames per second that benchmark_app reports; its own warm-up is one inference."""
    shapes = ",".join(f"{spec.name}[{','.join(str(n or 1) for n in spec.shape)}]" for spec in model.inputs)
    types = ",".join(f"{spec.name}:{PRECISIONS[spec.dtype]}" for spec in model.inputs)
    same = ("-m", str(model.form("onnx")), "-shape", shapes, "-iop", types, "-infer_precision", "f32", "-api", "async")
    report = ("-json_stats", "-report_type", "no_counters", "-report_folder", folder)
    command = [*COMMAND, *same, *options, "-t", str(APP_S), *report]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(f"benchmark_app ended with {done.returncode}: {_last_line(done.stdout + done.stderr)}")
    return reported(Path(folder, "benchmark_report.json").read_text())


def reported(report: str) -> float:
    """The throughput in a report of `-json_stats`, whose numbers are texts."""
    return float(json.loads(report)["execution_results"]["throughput"])


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "it printed nothing")
