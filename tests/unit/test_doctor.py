"""The doctor against engines that crash, lie or are not there, and against packages with a false name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from backends.contract import Device
from bench import doctor
from bench.doctor import Finding
from bench.inventory import metered
from tests.fakes import fake_meters

FAKES = ("tests.fakes",)


def findings(*engines: str) -> dict[str, Finding]:
    return {one.name: one for one in doctor.examine(FAKES, engines=engines) if one.kind == "engine"}


def test_an_engine_that_crashes_is_a_row_and_the_next_one_is_examined() -> None:
    found = findings("fake-crash", "fake-exact")
    crashed, exact = found["fake-crash on Fake 1"], found["fake-exact on Fake 1"]
    assert crashed.state == "broken"
    assert "SIGABRT" in crashed.detail
    assert "assertion failed in kernel.cc:42" in crashed.detail
    assert crashed.remedy
    assert exact.state == "present"
    assert "12 of 12 outputs right" in exact.detail


@pytest.mark.parametrize("engine", ["fake-nan", "fake-constant", "fake-wrong-sample"])
def test_an_engine_that_answers_wrongly_is_broken(engine: str) -> None:
    finding = findings(engine)[f"{engine} on Fake 1"]
    assert finding.state == "broken"
    assert "of 12 outputs are nearer to another sample's golden" in finding.detail


@pytest.mark.parametrize(
    ("tail", "words"),
    [("", ""), ("a\nb", "b"), ("no AMX\nFatal Python error: Aborted\n\nThread 1:\n  x", "no AMX"),
     ("Fatal Python error: Segmentation fault\n\nExtension modules: numpy (total: 1)", "")],
)  # fmt: skip
def test_last_words_are_the_engines_own(tail: str, words: str) -> None:
    assert doctor._last_words(tail) == words


def test_an_engine_that_takes_no_workload_says_so() -> None:
    finding = findings("fake-unsupported")["fake-unsupported on Fake 1"]
    assert finding.state == "broken"
    assert "no kernel for tanh" in finding.detail


def test_an_engine_that_is_not_installed_is_no_fault() -> None:
    finding = findings("fake-not-installed")["fake-not-installed"]
    assert (finding.state, finding.is_fault) == ("absent", False)
    assert finding.remedy == "pip install fakelib"


def test_nothing_computes_when_only_looking() -> None:
    found = {one.name: one for one in doctor.examine(FAKES, compute=False, engines=("fake-crash",))}
    assert found["fake-crash on Fake 1"].detail == "not computed with"


def test_broken_and_forbidden_backends_are_faults_and_absent_ones_are_not() -> None:
    found = {one.name: one for one in doctor.examine(FAKES, engines=()) if one.kind == "backend"}
    faults = {name for name, one in found.items() if name.startswith("fake") and one.is_fault}
    assert faults == {"fake-forbidden", "fake-broken"}
    assert found["fake-absent"].remedy == "plug one in"


def test_a_part_that_cannot_be_imported_is_listed_with_its_exception(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "halves"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "torn.py").write_text("import a_library_that_is_nowhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = [one for one in doctor.examine(("halves",), engines=()) if one.name == "torn"]
    assert found
    assert all(one.is_fault and "a_library_that_is_nowhere" in one.detail for one in found)


@dataclass
class Installed:
    """An installed distribution as importlib.metadata shows it."""

    name: str
    version: str
    folder: Path

    @property
    def metadata(self) -> dict[str, str]:
        return {"Name": self.name}

    def locate_file(self, path: str) -> Path:
        return self.folder / path


def test_both_onnxruntimes_together_are_rejected(tmp_path: Path) -> None:
    both = [Installed(name, "1.31.1", tmp_path) for name in ("onnxruntime", "onnxruntime_gpu")]
    (finding,) = doctor.packages(both)
    assert finding.is_fault
    assert finding.name == "onnxruntime + onnxruntime-gpu"
    assert list(doctor.packages(both[:1])) == list(doctor.packages(both[1:])) == []


@pytest.mark.parametrize("name", doctor.MODULES)
def test_a_foreign_package_is_told_from_the_vendors_by_its_files(name: str, tmp_path: Path) -> None:
    installed = Installed(name, "0.2.0", tmp_path)
    (finding,) = doctor.packages([installed])
    assert finding.is_fault
    assert "0.2.0" in finding.detail
    assert f"pip uninstall {name}" in finding.remedy
    file = tmp_path / doctor.MODULES[name][0]
    file.parent.mkdir(parents=True)
    file.touch()
    assert list(doctor.packages([installed])) == []


def test_every_meter_is_a_row_that_says_what_it_reads_or_why_not() -> None:
    rows = [one for one in doctor.examine(compute=False, engines=()) if one.kind == "meter"]
    assert {one.name.partition(" ")[0] for one in rows} >= {"rapl", "nvml", "hwmon", "csv"}
    assert all(one.detail for one in rows)
    assert not any(one.is_fault for one in rows)


@pytest.mark.parametrize(("state", "fault"), [("no_permission", False), ("broken", True), ("absent", False)])
def test_a_meter_for_root_only_is_no_fault(state: str, fault: bool) -> None:
    assert Finding("meter", "rapl", state, "why").is_fault is fault
    assert Finding("backend", "cuda", "no_permission", "why").is_fault


def test_of_several_answers_the_one_that_tells_most_is_shown() -> None:
    clock = fake_meters.Clock()
    devices = [Device("cpu", "a processor", {}), fake_meters.DEVICE]
    assert metered(fake_meters.counter(clock), devices).reason == "Fake 1"
    assert metered(fake_meters.counter(clock), devices[:1]).reason == "it reads fakes"
    assert metered(fake_meters.failing(clock, "permission"), devices).state == "no_permission"
    assert metered(fake_meters.counter(clock), []).reason == "no device is here"


def test_an_engine_for_integers_only_is_tried_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is broken for having no floating point."""
    really = doctor._run
    asked = []

    def run(workload: str, precision: str, *arguments):
        asked.append((workload, precision))
        refused = doctor.supervisor.Outcome("unsupported", "compile", "it has integer arithmetic only")
        return refused if precision == "fp32" else really(workload, "fp32", *arguments)

    monkeypatch.setattr(doctor, "_run", run)
    found = findings("fake-exact")["fake-exact on Fake 1"]
    assert found.state == "present"
    assert " int8: 12 of 12 outputs right" in found.detail
    assert [precision for _, precision in asked] == ["fp32"] * doctor.WORKLOADS_TRIED + ["int8"]


def test_hardware_that_is_not_here_says_how_far_it_was_proved() -> None:
    found = {one.name: one for one in doctor.examine((), compute=False) if one.kind == "backend"}
    assert "proved so far: vela: real compiler" in found["ethos_u"].detail
    assert "can be compiled for: Arm Ethos-U55" in found["ethos_u"].detail
    assert "proved so far" not in found["cpu"].detail
