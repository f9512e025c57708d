"""The Edge TPU's engines over a delegate that LiteRT really loads, and files as the compiler leaves them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backends._host import Host
from backends.contract import Device, Plan, Unsupported
from backends.engines import edgetpu as module
from backends.engines._edgetpu_file import OPERATOR, check_whole, operators
from backends.engines.edgetpu import EdgeTpuEngine
from backends.engines.pycoral import PyCoralEngine
from tests.fakes import fake_edgetpu
from workloads.contract import Model

pytestmark = pytest.mark.edge

DEVICE = Device("edgetpu", "Coral Edge TPU (USB 5000 Mb/s)", {"edgetpu": "usb:0", "pycoral": "usb:0"})
ELSEWHERE = Device("edgetpu", "Coral Edge TPU (PCIe)", {"edgetpu": "pci:0", "pycoral": "pci:0"})
INT8 = Plan("int8", 1, "latency")
STAND_IN = "a compiled delegate with libedgetpu's interface"
FAKED = pytest.mark.support("edgetpu", "edgetpu", level="fake", on=STAND_IN)
PYCORAL = pytest.mark.support("edgetpu", "pycoral", level="fake", on=f"a package with pycoral's calls, and {STAND_IN}")
BOTH = [pytest.param("engine", marks=FAKED), pytest.param("pycoral", marks=PYCORAL)]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_edgetpu.compile_library(tmp_path_factory.mktemp("runtime"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    """The network with its compiled file, made by edgetpu_compiler's stand-in."""
    folder = tmp_path_factory.mktemp("made")
    fake_edgetpu.install_compiler(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELMARK_CACHE", str(folder / "cache"))
        patch.setenv("PATH", str(folder), prepend=":")
        model = fake_edgetpu.echo(folder)
        forms = {form: model.form(form) for form in ("tflite", "tflite_int8", "edgetpu")}
        yield replace(model, given=forms)


@pytest.fixture
def echo(made: Model) -> Model:
    """Not compiled yet."""
    return replace(made, given={form: path for form, path in made.given.items() if form != "edgetpu"})


@pytest.fixture
def compiled(made: Model) -> Model:
    return made


@pytest.fixture
def engine(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EdgeTpuEngine:
    monkeypatch.setenv("LD_LIBRARY_PATH", str(library.parent))
    return EdgeTpuEngine(Host(tmp_path))


@pytest.fixture
def pycoral(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PyCoralEngine]:
    """On a path of its own, and forgotten afterwards."""
    fake_edgetpu.install_pycoral(tmp_path / "site", library)
    monkeypatch.syspath_prepend(tmp_path / "site")
    yield PyCoralEngine()
    for name in [name for name in sys.modules if name.partition(".")[0] == "pycoral"]:
        del sys.modules[name]


def carried(model: Model, data: bytes, folder: Path) -> Model:
    path = folder / "carried_edgetpu.tflite"
    path.write_bytes(data)
    return replace(model, given={"edgetpu": path})


def samples(seed: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(seed).uniform(-1, 1, (1, 2, 4, 4)).astype(np.float32)}


@pytest.mark.parametrize("which", BOTH)
def test_it_computes_through_the_delegate(which: str, compiled: Model, request: pytest.FixtureRequest) -> None:
    one = request.getfixturevalue(which)
    assert one.available(DEVICE).state == "present"
    session = one.compile(compiled, INT8, DEVICE)
    for seed in range(3):
        arrays = samples(seed)
        answer = session.get(session.run(session.put(arrays)))["y"]
        assert answer.dtype == np.float32
        assert abs(answer - arrays["x"]).max() < 0.02
    settings, placement = session.facts.settings, session.facts.placement
    assert (settings["device"], settings["libedgetpu"], settings["precision"]) == ("usb:0", "a fake of 2026", "int8")
    assert settings["exceeds_on_chip_memory"] is False
    assert (placement.device, placement.share) == (DEVICE.name, 1.0)
    assert OPERATOR in placement.proof
    session.close()


@pytest.mark.parametrize("which", BOTH)
def test_a_file_that_was_not_compiled_is_refused(
    which: str, echo: Model, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model = carried(echo, echo.form("tflite_int8").read_bytes(), tmp_path)
    with pytest.raises(Unsupported, match="not compiled for the Edge TPU"):
        request.getfixturevalue(which).compile(model, INT8, DEVICE)


@pytest.mark.parametrize("which", BOTH)
def test_a_file_that_would_fall_back_is_refused(
    which: str, echo: Model, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model = carried(echo, fake_edgetpu.as_compiled(echo.form("tflite_int8").read_bytes(), left=1), tmp_path)
    with pytest.raises(Unsupported, match="the host would run 1 of 2 operators, 1 of built-in 3"):
        request.getfixturevalue(which).compile(model, INT8, DEVICE)


@pytest.mark.parametrize("which", BOTH)
@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (Plan("fp32", 1, "latency"), "integer arithmetic"),
        (Plan("int8", 2, "throughput"), "batch 2"),
        (Plan("int8", 1, "latency", mode="train"), "train"),
        (Plan("int8", 1, "latency", options={"threads": "2"}), "threads"),
    ],
)
def test_what_it_cannot_do_is_said(
    which: str, plan: Plan, says: str, compiled: Model, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(Unsupported, match=says):
        request.getfixturevalue(which).compile(compiled, plan, DEVICE)


@FAKED
def test_performance_is_set_and_recorded(engine: EdgeTpuEngine, compiled: Model) -> None:
    low = Plan("int8", 1, "latency", options={"performance": "low"})
    assert engine.compile(compiled, low, DEVICE).facts.settings["performance"] == "low"
    assert engine.compile(compiled, INT8, DEVICE).facts.settings["performance"] == "max"


@FAKED
def test_a_chip_that_is_not_there_is_a_failure_with_the_runtimes_words(engine: EdgeTpuEngine, compiled: Model) -> None:
    with pytest.raises(RuntimeError, match=r"opening an Edge TPU at pci:0: .*no chip there"):
        engine.compile(compiled, INT8, ELSEWHERE)


@FAKED
def test_a_delegate_that_takes_nothing_is_no_silent_run_on_the_host(
    compiled: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", str(fake_edgetpu.compile_library(tmp_path, takes="nothing").parent))
    with pytest.raises(RuntimeError, match="took no operator"):
        EdgeTpuEngine(Host(tmp_path)).compile(compiled, INT8, DEVICE)


def test_a_library_that_cannot_be_loaded_says_why(
    compiled: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "libedgetpu.so.1").write_bytes(b"\x7fELF and no more")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"libedgetpu.so.1 cannot be loaded: .*libusb"):
        EdgeTpuEngine(Host(tmp_path)).compile(compiled, INT8, DEVICE)


def test_a_library_that_vanished_says_so(
    engine: EdgeTpuEngine, compiled: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "runtime", lambda host: None)
    with pytest.raises(RuntimeError, match="is gone"):
        engine.compile(compiled, INT8, DEVICE)


def test_without_the_compiler_the_remedy_is_to_bring_a_file(
    echo: Model, engine: EdgeTpuEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unsupported, match=r"--artifact FILE_edgetpu\.tflite"):
        engine.compile(echo, INT8, DEVICE)


def test_what_the_compiler_refuses_is_unsupported_in_its_words(
    echo: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELMARK_CACHE", str(tmp_path / "cache"))
    fake_edgetpu.install_compiler(tmp_path, refusal="Internal compiler error. Aborting!")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(Unsupported, match="refused the model: Internal compiler error"):
        echo.form("edgetpu")


def test_the_compiler_gets_fixed_shapes_and_its_file_is_kept(compiled: Model) -> None:
    path = compiled.form("edgetpu")
    assert check_whole(path) == 1
    assert path.name.endswith("_edgetpu.tflite")
    assert b"serving_default" in path.read_bytes()
    assert replace(compiled, given={}).form("edgetpu") == path


def test_operators_are_read_as_litert_reads_them(echo: Model) -> None:
    from ai_edge_litert import schema_py_generated as schema

    for form in ("tflite", "tflite_int8"):
        data = echo.form(form).read_bytes()
        model = schema.ModelT.InitFromPackedBuf(data, 0)
        codes = [model.operatorCodes[one.opcodeIndex].builtinCode for one in model.subgraphs[0].operators]
        assert operators(echo.form(form)) == [f"built-in {code}" for code in codes]


def test_a_file_that_was_cut_off_is_unsupported(compiled: Model, tmp_path: Path) -> None:
    data = compiled.form("edgetpu").read_bytes()
    path = tmp_path / "cut.tflite"
    for length in range(8, len(data) - 1, 7):
        path.write_bytes(data[:length])
        with pytest.raises(Unsupported):
            check_whole(path)


def test_a_library_that_crashes_takes_its_process_only(compiled: Model, tmp_path: Path) -> None:
    """As Google's own build of 2021 does with today's LiteRT: what a worker's supervisor sees."""
    source, crashing = tmp_path / "crash.c", tmp_path / "libedgetpu.so.1"
    source.write_text("__attribute__((constructor)) static void crash(void) { *(volatile int *)0 = 1; }")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", crashing, source], check=True)
    script = (
        "import sys, pathlib; from backends.engines.edgetpu import _loaded; from backends._edgetpu import Runtime\n"
        "_loaded(Runtime(pathlib.Path(sys.argv[1]), 'unknown'))"
    )
    done = subprocess.run([sys.executable, "-c", script, crashing], capture_output=True, cwd=Path.cwd(), timeout=60)
    assert done.returncode < 0
