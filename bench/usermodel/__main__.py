"""The process that prepares one model: `python -m bench.usermodel FD REQUEST` answers on the inherited pipe FD."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

from bench import protocol
from bench.usermodel import Asked, preparing
from bench.usermodel.preparing import Say
from workloads.onnxfile import ModelFileError
from workloads.usermetric import Metric, MetricError, digest
from workloads.weights import cache_root, sha256_of

VERSION = 2
"""Of what is prepared and how: another one makes every model anew."""


def main(argv: Sequence[str]) -> int:
    """Prepare one model, telling what is being done, then the folder or the problem, as lines of JSON."""
    asked = json.loads(argv[1])
    model = Asked(**{**asked, "metric": Metric(**asked["metric"]) if asked["metric"] else None})
    protocol.end_with_reader(int(argv[0]))
    with os.fdopen(int(argv[0]), "w", encoding="utf-8") as stream:
        try:
            _tell(stream, **_made(model, lambda doing: _tell(stream, doing=doing)))
        except (ModelFileError, MetricError) as error:
            _tell(stream, problem=" ".join(str(error).split()))
        except OSError as error:
            _tell(stream, problem=f"{error.filename or 'the cache'}: {error.strerror}")
    return 0


def _tell(stream: IO[str], **event: Any) -> None:
    stream.write(json.dumps(event) + "\n")
    stream.flush()


def _made(model: Asked, say: Say) -> dict[str, Any]:
    say("reading it")
    source = preparing.find(model.source, model.dims)
    model = replace(model, dims={name: size for name, size in model.dims.items() if name in source.free})
    if model.metric:
        say("asking its metric for samples")
        model = replace(model, metric=replace(model.metric, sha256=digest(model.metric.load())))
    files = [sha256_of(Path(path)) if path else "" for path in (model.inputs, model.reference, model.calibration)]
    metric = asdict(model.metric) if model.metric else None
    key = json.dumps([VERSION, model.name, source.digest, sorted(model.dims.items()), files, metric])
    home = cache_root() / "models" / hashlib.sha256(key.encode()).hexdigest()[:16]
    with _locked(home):
        preparing.prepare(model, source, home, say)
    return {"folder": str(home), "free": list(source.free)}


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Of two processes one prepares and the other waits; the lock goes with its process."""
    home.parent.mkdir(parents=True, exist_ok=True)
    with home.with_name(f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
