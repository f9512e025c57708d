"""Makes artefacts before anything is measured, so that no measuring worker pays for them and none is made twice.

They are made in a process of their own, `python -m bench.build FD REQUEST`: a form may need a vendor's library, which
has no business where results are kept. A worker finds them in the cache, and makes what it does not find.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from backends.contract import Engine
from bench import ROOT, artefact, parts, protocol, recipes
from workloads.contract import Unsupported, Workload
from workloads.user import UserModel

TIMEOUT_S = 900.0
"""For one artefact, as long as a worker may take for it."""


class Wanted(NamedTuple):
    """A workload's model, or a user's own in the folder `model`, treated by `technique`, in `form`.

    In place of the form, an `engine` says what it starts from in `precision`.
    """

    workload: str
    form: str = ""
    technique: str = recipes.NONE
    model: str = ""
    engine: str = ""
    precision: str = "fp32"


@dataclass(frozen=True)
class Built:
    """What was wanted, by its number: how long it took, or in `problem` why there is none."""

    number: int
    build_ns: int
    problem: str = ""


def prebuild(
    wanted: Iterable[Wanted],
    extra: Sequence[str] = (),
    python: str = sys.executable,
    timeout_s: float = TIMEOUT_S,
) -> Iterator[tuple[Wanted, Built]]:
    """Make each distinct one, giving it as soon as it is made; `extra` are packages with parts.

    Never raises for an artefact that cannot be made: the item that needs it says so too, and is recorded.
    """
    left = dict(enumerate(one for one in dict.fromkeys(wanted) if one.form or one.engine))
    if not left:
        return
    reading, writing = os.pipe()
    request = json.dumps({"wanted": list(left.values()), "extra": list(extra)})
    command = [python, "-m", "bench.build", str(writing), request]
    process = subprocess.Popen(command, cwd=ROOT, pass_fds=[writing], stdin=subprocess.DEVNULL, stdout=sys.stderr)
    os.close(writing)
    try:
        for line in _lines(reading, process, timeout_s):
            built = Built(**json.loads(line))
            yield left.pop(built.number), built
        status = process.wait()
        for number, one in left.items():
            yield one, Built(number, 0, f"the building process ended with status {status} and did not make it")
    finally:
        process.kill()
        process.wait()


def _lines(reading: int, process: subprocess.Popen[bytes], timeout_s: float) -> Iterator[str]:
    """What the process writes, line by line; one that is silent for `timeout_s` is killed."""
    with os.fdopen(reading, encoding="utf-8") as lines:
        while True:
            watchdog = threading.Timer(timeout_s, process.kill)
            watchdog.start()
            try:
                line = lines.readline()
            finally:
                watchdog.cancel()
            if not line:
                return
            yield line


def make(number: int, wanted: Wanted, extra: Sequence[str]) -> Built:
    """Make one artefact here, and the right answers of what techniques made another function of."""
    begin_ns = time.monotonic_ns()
    problem = ""
    try:
        recipe = recipes.parse(wanted.technique, extra)
        base = UserModel(wanted.model) if wanted.model else parts.find(Workload, wanted.workload, extra)
        workload = recipe.of(base)
        model = workload.calibrated()
        form = wanted.form or parts.find(Engine, wanted.engine, extra).form_of(model, wanted.precision)
        artefact.make(model, form, recipe.packing)
        if recipe.techniques:
            workload.golden()
    except Unsupported as answer:
        problem = str(answer)
    except Exception as error:  # noqa: BLE001 - a lowering is foreign code, and the others are still to be made
        problem = f"{type(error).__name__}: {error}"
    return Built(number, time.monotonic_ns() - begin_ns, problem)


def main(argv: Sequence[str]) -> int:
    request = json.loads(argv[1])
    protocol.end_with_reader(int(argv[0]))
    with os.fdopen(int(argv[0]), "w", encoding="utf-8") as stream:
        for number, wanted in enumerate(request["wanted"]):
            stream.write(json.dumps(asdict(make(number, Wanted(*wanted), request["extra"]))) + "\n")
            stream.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
