"""Which engines the backends here could ever be driven by: every address that some machine's device would have."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from backends.contract import Backend, Device, Engine
from bench import parts

TARGETS = {"inferentia": ("inferentia:cores=1",)}
"""Of hardware that is there, which give it addresses that it has not without: JAX computes on one core."""


def pairs() -> list[tuple[str, str]]:
    """(backend, engine) of every device that test_probes.py describes, that is here, or that can be compiled for."""
    engines = {one.name for one in parts.collect(Engine) if one.part}
    return sorted({(one.backend, engine) for one in (*_here(), *_described()) for engine in engines & set(one.address)})


def _here() -> Iterator[Device]:
    for one in parts.collect(Backend):
        if one.part:
            yield from one.part.probe().devices


def _described() -> Iterator[Device]:
    from tests.conformance.test_probes import CASES, machine

    with tempfile.TemporaryDirectory() as folder:
        for number, (kind, files, denied, *_) in enumerate(CASES):
            backend = kind(machine(Path(folder) / str(number), files, denied))
            for targets in ((), TARGETS.get(backend.name, ())):
                yield from backend.probe(targets).devices
