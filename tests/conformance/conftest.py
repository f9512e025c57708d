"""One suite for every backend and engine that can be found, third parties' too:

    pytest tests/conformance -k openvino
    pytest tests/conformance -k myengine --parts mypackage

An engine on a device that is here is a `seat`; one that only compiles for a device that is not here is a `bench seat`
of `test_estimates.py`. An engine whose library belongs to a toolchain (`tests/toolchains.py`) is tried under that
marker: `make test-edge`. What cannot be tried is skipped with its reason, and fails where the marker promises it.

What an adapter is known not to do stands in gaps.toml with its reason, as a strict expected failure; a third party's
package brings a gaps.toml of its own.
"""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TypeVar

import pytest

from backends.contract import Backend, Device, Engine, Estimate, Goal, Model, Plan, Session, Unsupported
from bench import parts
from tests import support
from tests.conformance import tiny
from tests.toolchains import marker_of, promised

HERE = Path(__file__).parent
GAPS = HERE / "gaps.toml"
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
"""In the order in which an engine's own one is looked for: the finest that it computes in."""
ERROR_MAX = {"fp32": 1e-5, "tf32": 1e-2, "bf16": 6e-2, "fp16": 1e-2, "fp8": 0.5, "int8": 0.2, "int4": 1.0}
"""Largest |error| allowed on these networks, relative to the largest |golden|: some 30 roundings of each type."""
T = TypeVar("T")
EVIDENCE = {"estimate": "real compiler", "simulator": "simulator"}
"""What an estimate of that provenance proves (`bench.support.LEVELS`)."""


@dataclass(frozen=True)
class Adapter:
    """An engine on a device. `precision` is what it is tried in: the finest that it takes."""

    engine: Engine
    device: Device
    precision: str
    opened: list[Session]
    estimates: dict[tuple[str, str, int], Estimate] = field(default_factory=dict)

    @property
    def error_max(self) -> float:
        return ERROR_MAX[self.precision]

    def compile(
        self, model: Model, precision: str = "", batch: int = 1, goal: Goal = "latency", **options: str
    ) -> Session:
        """A session that the test closes, or its end does."""
        plan = Plan(precision or self.precision, batch, goal, options=options)
        session = self.engine.compile(model, plan, self.device)
        self.opened.append(session)
        return session

    def estimate(self, model: Model, precision: str = "", batch: int = 1) -> Estimate:
        """What was estimated before in this module where that was the same: a vendor's compiler takes its time."""
        key = (model.digest, precision or self.precision, batch)
        if key not in self.estimates:
            self.estimates[key] = self._estimate(model, precision, batch, {})
        return self.estimates[key]

    def estimate_anew(self, model: Model, **options: str) -> Estimate:
        """Its session of `numerics` is closed by the test, or at its end."""
        estimate = self._estimate(model, "", 1, options)
        if estimate.numerics is not None:
            self.opened.append(estimate.numerics)
        return estimate

    def _estimate(self, model: Model, precision: str, batch: int, options: Mapping[str, str]) -> Estimate:
        return self.engine.estimate(
            model, Plan(precision or self.precision, batch, "latency", options=options), self.device
        )

    def close(self, session: Session) -> None:
        self.opened.remove(session)
        session.close()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "engines(*names): about these engines on a CPU only")


def found(config: pytest.Config, base: type) -> list[parts.Found]:
    return parts.collect(base, config.getoption("--parts"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for name, base in (("found_backend", Backend), ("found_engine", Engine)):
        if name in metafunc.fixturenames:
            several = found(metafunc.config, base)
            metafunc.parametrize(name, several, ids=[one.name for one in several])
    extra = tuple(metafunc.config.getoption("--parts"))
    if "seat" in metafunc.fixturenames:
        only = next(metafunc.definition.iter_markers("engines"), None)
        seats = _seats(extra, True)
        metafunc.parametrize("seat", [one for one in seats if only is None or _is_about(one, only.args)])
    if "away_seat" in metafunc.fixturenames:
        metafunc.parametrize("away_seat", _seats(extra, False))


def _is_about(seat, engines: Sequence[str]) -> bool:
    engine, device = seat.values[0]
    return engine.name in engines and device.backend == "cpu"


@cache
def _seats(extra: tuple[str, ...], runs: bool) -> list:
    """Each engine with each device, here (`runs`) or not, that has an address for it."""
    presences = [one.part.probe() for one in parts.collect(Backend, extra) if one.part]
    devices = [device for presence in presences for device in presence.devices if device.runs is runs]
    engines = [one.part for one in parts.collect(Engine, extra) if one.part]
    pairs = [(engine, device) for engine in engines for device in devices if _reaches(engine, device)]
    several = {device.backend for device in devices if sum(device.backend == one.backend for one in devices) > 1}
    return [_seat(engine, device, several) for engine, device in pairs]


def _reaches(engine: Engine, device: Device) -> bool:
    return engine.name in device.address or engine.available(device).state == "present"


def _seat(engine: Engine, device: Device, several: set[str]):
    marker = marker_of(engine.module or engine.name)
    configuration = f":{device.name}" if device.backend in several else ""
    marks = [getattr(pytest.mark, marker)] if marker else []
    return pytest.param((engine, device), id=f"{engine.name}:{device.backend}{configuration}", marks=marks)


@pytest.fixture
def adapter(seat: tuple[Engine, Device], pytestconfig: pytest.Config) -> Iterator[Adapter]:
    """The engine on a device that is here."""
    _usable(*seat, pytestconfig)
    opened: list[Session] = []
    yield Adapter(*seat, _precision(*seat), opened)
    for session in opened:
        session.close()


@pytest.fixture(scope="module")
def kept() -> Iterator[Mapping[str, dict]]:
    """Estimates by device and engine, whose sessions live as long as the module's tests."""
    estimates: dict[str, dict] = defaultdict(dict)
    yield estimates
    for estimate in (one for several in estimates.values() for one in several.values()):
        if estimate.numerics is not None:
            estimate.numerics.close()


@pytest.fixture
def compiler(
    away_seat: tuple[Engine, Device], kept, request: pytest.FixtureRequest, pytestconfig: pytest.Config
) -> Iterator[Adapter]:
    """The engine for a device that is not here."""
    engine, device = away_seat
    _usable(engine, device, pytestconfig)
    precision, provenance, source = _compiled(engine, device)
    support.claim(request.node, device.backend, engine.name, EVIDENCE[provenance], f"{source} for {device.name}")
    opened: list[Session] = []
    yield Adapter(engine, device, precision, opened, kept[f"{engine.name} {device.name}"])
    for session in opened:
        session.close()


def _usable(engine: Engine, device: Device, config: pytest.Config) -> None:
    presence = engine.available(device)
    if presence.state == "present":
        return
    why = f"{presence.state}: {presence.reason}; {presence.remedy}"
    if promised(config):
        pytest.fail(f"{engine.name} for {device.name} is promised here and cannot be used: {why}", pytrace=False)
    pytest.skip(why)


def _once_a_seat(ask: Callable[[Engine, Device], T]) -> Callable[[Engine, Device], T]:
    answers: dict[tuple[str, str], T] = {}

    def asked(engine: Engine, device: Device) -> T:
        key = engine.name, f"{device.backend} {device.name}"
        if key not in answers:
            answers[key] = ask(engine, device)
        return answers[key]

    return asked


def _network() -> Model:
    return tiny.make("convolution", tiny.folder()).model


@_once_a_seat
def _precision(engine: Engine, device: Device) -> str:
    """The finest precision that the engine computes in."""

    def compiled(precision: str) -> None:
        engine.compile(_network(), Plan(precision, 1, "latency"), device).close()

    return _first_taken(engine, compiled)[0]


@_once_a_seat
def _compiled(engine: Engine, device: Device) -> tuple[str, str, str]:
    """The finest precision that the engine compiles for, and provenance and source of what it says of it."""

    def estimated(precision: str) -> Estimate:
        estimate = engine.estimate(_network(), Plan(precision, 1, "latency"), device)
        if estimate.numerics is not None:
            estimate.numerics.close()
        return estimate

    precision, estimate = _first_taken(engine, estimated)
    return precision, estimate.provenance, estimate.source


def _first_taken(engine: Engine, attempt: Callable[[str], T]) -> tuple[str, T]:
    refusals = []
    for precision in PRECISIONS:
        try:
            return precision, attempt(precision)
        except Unsupported as reason:
            refusals.append(f"{precision}: {reason}")
    pytest.fail(f"{engine.name} takes a convolution in no precision: {'; '.join(refusals)}", pytrace=False)


@pytest.fixture(scope="session")
def network() -> Callable[[str], tiny.Tiny]:
    return lambda name: tiny.make(name, tiny.folder())


def pytest_collection_modifyitems(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Turns the ledger into strict expected failures, and claims for the support table what a seat's test is about."""
    here = [item for item in items if HERE in item.path.parents]
    for item in here:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        for name, level in (("seat", "verified on device"), ("away_seat", "real compiler")):
            if name in params:
                engine, device = params[name]
                support.claim(item, device.backend, engine.name, level, device.name)
    known = set(
        re.findall(r"^def (test_\w+)", "".join(one.read_text() for one in HERE.glob("test_*.py")), re.MULTILINE)
    )
    for gap in _gaps(config):
        if gap["test"] not in known:
            raise pytest.UsageError(f"{GAPS.name}: there is no test {gap['test']}; remove its gap")
        for item in here:
            if getattr(item, "originalname", None) == gap["test"] and all(
                word in item.name for word in gap["case"].split()
            ):
                item.add_marker(pytest.mark.xfail(strict=True, reason=gap["reason"]))


def _gaps(config: pytest.Config) -> list[dict[str, str]]:
    packages = [Path(folder) for name in config.getoption("--parts") for folder in import_module(name).__path__]
    ledgers = [GAPS, *(folder / GAPS.name for folder in packages)]
    texts = [ledger.read_text(encoding="utf-8") for ledger in ledgers if ledger.exists()]
    return [gap for text in texts for gap in tomllib.loads(text).get("gap", [])]
