"""One suite for every backend and engine that can be found, third parties' too:

    pytest tests/conformance -k openvino
    pytest tests/conformance -k myengine --parts mypackage

What an adapter is known not to do stands in gaps.toml with its reason, as a strict expected failure; a third party's
package brings a gaps.toml of its own.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

from backends.contract import Backend, Device, Engine, Goal, Model, Plan, Session
from bench import parts
from tests.conformance import tiny

GAPS = Path(__file__).parent / "gaps.toml"


@dataclass(frozen=True)
class Adapter:
    """An engine on a device that is here."""

    engine: Engine
    device: Device
    open_sessions: list[Session]

    def compile(
        self, model: Model, precision: str = "fp32", batch: int = 1, goal: Goal = "latency", **options: str
    ) -> Session:
        """A session that the test closes, or its end does."""
        session = self.engine.compile(model, Plan(precision, batch, goal, options=options), self.device)
        self.open_sessions.append(session)
        return session

    def close(self, session: Session) -> None:
        self.open_sessions.remove(session)
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
    if "seat" in metafunc.fixturenames:
        only = next(metafunc.definition.iter_markers("engines"), None)
        metafunc.parametrize("seat", _seats(metafunc.config, only.args if only else ()))


def _seats(config: pytest.Config, only: Sequence[str]) -> list:
    """Each engine with each device that has an address for it; what cannot be used is skipped with its reason."""
    presences = [one.part.probe() for one in found(config, Backend) if one.part]
    devices = [device for presence in presences for device in presence.devices]
    engines = [one.part for one in found(config, Engine) if one.part]
    pairs = [(engine, device) for engine in engines for device in devices if _reaches(engine, device)]
    return [_seat(*pair) for pair in pairs if not only or (pair[0].name in only and pair[1].backend == "cpu")]


def _reaches(engine: Engine, device: Device) -> bool:
    return engine.name in device.address or engine.available(device).state == "present"


def _seat(engine: Engine, device: Device):
    presence = engine.available(device)
    away = pytest.mark.skip(reason=f"{presence.state}: {presence.reason}; {presence.remedy}")
    marks = [away] if presence.state != "present" else []
    if engine.name == "torch":
        marks.append(pytest.mark.torch)
    return pytest.param((engine, device), id=f"{engine.name}:{device.backend}", marks=marks)


@pytest.fixture
def adapter(seat: tuple[Engine, Device]) -> Iterator[Adapter]:
    opened: list[Session] = []
    yield Adapter(*seat, opened)
    for session in opened:
        session.close()


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tiny.Tiny]:
    folder = tmp_path_factory.mktemp("tiny")
    return lambda name: tiny.make(name, folder)


def pytest_collection_modifyitems(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Turns the ledger into strict expected failures; a gap of a test that does not exist is an error."""
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    tests = {item.originalname for item in here if isinstance(item, pytest.Function)}
    for gap in _gaps(config):
        if gap["test"] not in tests and "test_deterministic" in tests:
            raise pytest.UsageError(f"{GAPS.name}: there is no test {gap['test']}; remove its gap")
        for item in here:
            if item.originalname == gap["test"] and all(word in item.name for word in gap["case"].split()):
                item.add_marker(pytest.mark.xfail(strict=True, reason=gap["reason"]))


def _gaps(config: pytest.Config) -> list[dict[str, str]]:
    packages = [Path(folder) for name in config.getoption("--parts") for folder in import_module(name).__path__]
    ledgers = [GAPS, *(folder / GAPS.name for folder in packages)]
    texts = [ledger.read_text(encoding="utf-8") for ledger in ledgers if ledger.exists()]
    return [gap for text in texts for gap in tomllib.loads(text).get("gap", [])]
