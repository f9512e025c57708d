"""A workload is exported, carried, verified and measured, by the commands that a user types; or refused in one line."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.system.run_helpers import ENVIRONMENT, ROOT, measured

FORMS = [
    pytest.param(("onnx", "fp32", "onnxruntime"), id="onnx"),
    pytest.param(("tflite_int8", "int8", "litert"), id="tflite_int8", marks=pytest.mark.edge),
]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    chosen = ("bench/", "-p", "no:cacheprovider", f"--results={folder / 'runs'}", "--scenario=offline", *arguments)
    return run(folder, "pytest", *chosen)


@pytest.fixture(scope="module", params=FORMS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str, str]:
    form, precision, engine = request.param
    folder = tmp_path_factory.mktemp("carried")
    done = run(folder, "bench.cli", "export", "kws", "--target", form, "--out", str(folder))
    assert done.returncode == 0, done.stderr
    assert f"verified: {engine} on " in done.stdout
    assert "12 of 12 outputs right" in done.stdout
    return folder / f"kws-{form}-{precision}.zip", form, precision, engine


def test_the_bundle_holds_what_it_says(exported: tuple[Path, str, str, str]) -> None:
    path, form, precision, _ = exported
    with zipfile.ZipFile(path) as archive:
        told = json.loads(archive.read("manifest.json"))
        content = {name: archive.read(name) for name in archive.namelist() if name != "manifest.json"}
    assert {name: hashlib.sha256(held).hexdigest() for name, held in content.items()} == {
        name: one["sha256"] for name, one in told["files"].items()
    }
    assert (told["workload"], told["form"], told["precision"]) == ("kws", form, precision)
    assert told["tools"]["numpy"]
    assert b"Apache License" in content["LICENSE"]
    assert b"https://github.com/mlcommons/tiny" in content["NOTICE"]
    assert str(ROOT).encode() not in path.read_bytes()


def test_exported_twice_is_the_same_bytes(exported: tuple[Path, str, str, str], tmp_path: Path) -> None:
    path, form, _, _ = exported
    assert run(tmp_path, "bench.cli", "export", "kws", "--target", form, "--out", str(tmp_path)).returncode == 0
    assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_it_is_verified(exported: tuple[Path, str, str, str], tmp_path: Path) -> None:
    path, _, _, engine = exported
    done = run(tmp_path, "bench.cli", "verify", str(path))
    assert done.returncode == 0, done.stdout
    assert re.search(rf"^ok +golden: {engine} on .* 12 of 12 outputs right", done.stdout, re.MULTILINE)


def test_it_is_measured_in_place_of_what_would_be_made(exported: tuple[Path, str, str, str], tmp_path: Path) -> None:
    path, _, precision, engine = exported
    done = bench(tmp_path, f"--artifact={path}", f"--engine={engine}", "--backend=cpu")
    assert done.returncode == 0, done.stdout
    (record,) = measured(tmp_path / "runs")
    assert (record.identity.workload, record.identity.precision, record.status) == ("kws", precision, "ok")
    assert len(str(record.context.settings["artifact_sha256"])) == 64
    assert record.evidence is not None
    assert record.evidence.outputs is not None
    assert record.evidence.outputs.identity_hits == 12


@pytest.mark.parametrize("exported", FORMS[1:], indirect=True)
def test_an_engine_of_another_form_says_so(exported: tuple[Path, str, str, str], tmp_path: Path) -> None:
    """Named, it is a record; where none is named, only those that start from it are asked."""
    path, *_ = exported
    done = bench(tmp_path, f"--artifact={path}", "--engine=reference", "--backend=cpu")
    assert done.returncode == 0, done.stdout
    (record,) = measured(tmp_path / "runs")
    assert record.status == "unsupported"
    assert "the artefact is tflite_int8, and in int8 this engine starts from onnx" in record.reason
    assert bench(tmp_path, f"--artifact={path}", "--backend=cpu").returncode == 0
    assert {one.identity.engine for one in measured(tmp_path / "runs")} == {"reference", "litert"}


@pytest.mark.tpu
def test_what_is_exported_for_a_tpu_is_taken_by_its_engine(tmp_path: Path) -> None:
    """JAX's function is made of the ONNX file that was carried."""
    done = run(tmp_path, "bench.cli", "export", "kws", "--target", "tpu", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "verified: jax on " in done.stdout
    path = tmp_path / "kws-tpu-fp32.zip"
    assert bench(tmp_path, f"--artifact={path}", "--engine=jax", "--backend=cpu").returncode == 0
    (record,) = measured(tmp_path / "runs")
    assert (record.status, record.identity.engine) == ("ok", "jax")
    assert record.evidence is not None
    assert record.evidence.outputs is not None
    assert record.evidence.outputs.identity_hits == 12


@pytest.mark.parametrize(
    ("target", "precision", "says"),
    [("onnx", "int8", "what onnx holds is fp32"), ("qualcomm", "fp32", "qualcomm"), ("openvino", "int8", "openvino")],
)
def test_a_precision_that_the_target_does_not_take_is_refused_in_one_line(
    tmp_path: Path, target: str, precision: str, says: str
) -> None:
    asked = ("--target", target, "--precision", precision, "--out", str(tmp_path))
    done = run(tmp_path, "bench.cli", "export", "kws", *asked)
    assert done.returncode == 2, done.stdout
    (line,) = done.stderr.splitlines()
    assert says in line
    assert not list(tmp_path.iterdir())


@pytest.mark.asic
def test_an_ethos_u_gets_what_its_firmware_loads(tmp_path: Path) -> None:
    """The int8 file is what is verified; Vela's output of it lies beside, for each configuration asked for."""
    done = run(tmp_path, "bench.cli", "export", "kws", "--target", "ethos_u:u55-128", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "verified: vela compiling for Arm Ethos-U55-128" in done.stdout
    with zipfile.ZipFile(tmp_path / "kws-ethos_u-u55-128-int8.zip") as archive:
        (name,) = (name for name in archive.namelist() if name.startswith("device/"))
        assert "ethos-u55-128" in name
        assert b"ethos-u" in archive.read(name)
        assert b"ethos-u" not in archive.read("artefact/kws.tflite")


def changed(path: Path, target: Path, entry: str, content: bytes) -> Path:
    """A copy of which one entry holds something else, as somebody would write it who knows ZIP and no hashes."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as sink:
        for one in source.infolist():
            sink.writestr(one, content if one.filename == entry else source.read(one))
    return target


def test_a_tampered_bundle_is_refused(exported: tuple[Path, str, str, str], tmp_path: Path) -> None:
    path, *_ = exported
    with zipfile.ZipFile(path) as archive:
        artefact = json.loads(archive.read("manifest.json"))["artefact"]
        held = archive.read(artefact)
    bad = changed(path, tmp_path / "bad.zip", artefact, held[:-1] + bytes([held[-1] ^ 1]))
    verified = run(tmp_path, "bench.cli", "verify", str(bad))
    assert verified.returncode == 1
    assert f"{artefact} is not what the manifest says" in verified.stdout
    asked = bench(tmp_path, f"--artifact={bad}")
    assert asked.returncode == 2
    assert asked.stderr.splitlines() == [line for line in asked.stderr.splitlines() if line.startswith("accelmark: ")]
    assert f"{artefact} is not what the manifest says" in asked.stderr
    assert not (tmp_path / "runs").exists()


def test_a_bundle_that_answers_wrongly_is_not_verified(exported: tuple[Path, str, str, str], tmp_path: Path) -> None:
    """Its hashes are right: somebody exported another network under this one's name."""
    path, *_ = exported
    with zipfile.ZipFile(path) as archive:
        told = json.loads(archive.read("manifest.json"))
        golden = archive.read("golden/outputs.npz")
    array = bytearray(golden)
    start = len(array) // 2  # in the middle of the numbers
    array[start : start + 200] = array[start + 200 : start + 400]
    told["files"]["golden/outputs.npz"]["sha256"] = hashlib.sha256(array).hexdigest()
    half = changed(path, tmp_path / "half.zip", "golden/outputs.npz", bytes(array))
    bad = changed(half, tmp_path / "bad.zip", "manifest.json", json.dumps(told).encode())
    done = run(tmp_path, "bench.cli", "verify", str(bad))
    assert done.returncode == 1, done.stdout
    assert re.search(r"^FAILED +golden: ", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("export", "kws", "--target", "abacus"), "unknown target abacus"),
        (("export", "kws", "--target", "openvino", "--precision", "tf32"), "kws has no tolerance for tf32"),
        (("export", "kws", "--target", "torch"), "torch takes no file: name a form"),
        (("export", "kws", "--target", "weights"), "unknown target weights"),
        (("export", "kws", "--target", "tflite_int8", "--precision", "fp32"), "what tflite_int8 holds is int8"),
        (("export", "nothing", "--target", "onnx"), "unknown workload nothing"),
        (("verify", "README.md"), "no bundle: accelmark export makes one"),
        (("verify", "docs"), "docs: is a folder; name the .zip file"),
        (("support", "--take", "LICENSE"), "LICENSE is no support table: "),
        (("verify", "no/such/file.zip"), "there is no such file"),
    ],
)
def test_what_cannot_be_done_is_one_line(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    out = ("--out", str(tmp_path)) if arguments[0] == "export" else ()
    done = run(tmp_path, "bench.cli", *arguments, *out)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
