"""What a target means, and that nothing is written which answers wrongly."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from backends.contract import Backend, Device, Engine, Presence
from bench import parts
from bench.bundle import export as exporting
from bench.bundle import trial
from bench.bundle.aim import Aim, aim, forms
from bench.bundle.export import export
from bench.bundle.manifest import BundleError
from bench.bundle.trial import Verdict
from bench.parts import Found
from workloads.contract import Unsupported, Workload


class Everything(Engine):
    name, form = "everything", "onnx"

    def available(self, device: Device) -> Presence:
        return Presence("present")

    def compile(self, model, plan, device):
        raise AssertionError


class Integers(Everything):
    name, form = "integers", "tflite_int8"

    def form_for(self, precision: str) -> str:
        return "tflite_int8" if precision == "int8" else ""


class Delivers(Integers):
    name = "delivers"

    def deliver(self, model, plan, device, folder: Path) -> None:
        if device.name == "too small":
            raise Unsupported("it needs 4 MB, and there are 2")
        (folder / f"{model.name}.bin").write_bytes(device.name.encode())


class Both(Everything):
    name = "both"

    def form_for(self, precision: str) -> str:
        return {"fp32": "tflite", "int8": "tflite_int8"}.get(precision, "tflite")


class Halves(Everything):
    """Refuses fp32 as engines do that make nothing for it."""

    name = "halves"

    def form_for(self, precision: str) -> str:
        return {"fp16": "onnx", "int8": "onnx_qdq"}.get(precision, "")


class Module(Everything):
    name, form = "module", "weights"


class Formless(Everything):
    name, form = "formless", ""


def backend(kind: str, *engines: str) -> Backend:
    class Made(Backend):
        name = kind

        def probe(self, targets=()):
            if targets and "u9" not in targets[0]:
                return Presence("absent", "it knows u9 only", "name u9")
            device = Device(kind, "Chip u9 (1 GHz)", dict.fromkeys(engines, "0"), runs=False)
            return Presence("present" if targets else "absent", "none", "fetch one", (device,))

    return Made()


@pytest.fixture(autouse=True)
def shelf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts with known forms, in place of those that there are; workloads stay."""
    engines = [Everything(), Integers(), Both(), Halves(), Module(), Formless()]
    backends = [backend("mixed", "everything", "both"), backend("npu", "integers"), backend("bare", "nobody")]
    shelves = {Engine: engines, Backend: backends}
    collect = parts.collect

    def collected(base, extra=()):
        if base in shelves:
            return [Found(part.name, part, None, "here") for part in shelves[base]]
        return collect(base, extra)

    monkeypatch.setattr(parts, "collect", collected)


@pytest.mark.parametrize(
    ("target", "precision", "form", "chosen"),
    [
        ("onnx", "", "onnx", "fp32"),
        ("onnx", "fp32", "onnx", "fp32"),
        ("onnx_qdq", "", "onnx_qdq", "int8"),
        ("everything", "bf16", "onnx", "bf16"),
        ("halves", "", "onnx", "fp16"),
        ("halves", "int8", "onnx_qdq", "int8"),
        ("tflite", "", "tflite", "fp32"),
        ("tflite_int8", "", "tflite_int8", "int8"),
        ("integers", "", "tflite_int8", "int8"),
        ("npu", "", "tflite_int8", "int8"),
        ("npu:u9", "", "tflite_int8", "int8"),
        ("both", "", "tflite", "fp32"),
        ("both", "int8", "tflite_int8", "int8"),
    ],
)
def test_targets(target: str, precision: str, form: str, chosen: str) -> None:
    found = aim(target, precision)
    assert (found.form, found.precision) == (form, chosen)
    assert [device.backend for _, device in found.away] == (["npu"] if target.startswith("npu") else [])


@pytest.mark.parametrize(
    ("target", "precision", "says"),
    [
        ("nowhere", "", "unknown target nowhere"),
        ("integer", "", r"did you mean integers\?"),
        ("npu:u8", "", "--target npu:u8: it knows u9 only; name u9"),
        ("nowhere:x", "", "unknown target nowhere:x"),
        ("bare", "", "no engine here is known to drive bare"),
        ("mixed", "", r"start from onnx \(everything\), tflite \(both\): name a form"),
        ("formless", "", "formless takes no file"),
        ("integers", "fp32", "integers takes no file in fp32"),
        ("tflite_int8", "fp32", "what tflite_int8 holds is int8; name onnx or tflite with"),
        ("onnx", "int8", "--precision int8: what onnx holds is fp32; name onnx_qdq or tflite_int8 with --target"),
        ("onnx", "bf16", "what onnx holds is fp32; name the engine that computes in it"),
        ("everything", "int8", "everything takes no file in int8"),
        ("module", "", "module takes no file"),
        ("weights", "", "unknown target weights"),
        ("torch", "", "unknown target torch"),
    ],
)
def test_targets_that_mean_nothing(target: str, precision: str, says: str) -> None:
    with pytest.raises(BundleError, match=says):
        aim(target, precision)


def test_only_the_engine_that_is_alone_decides_for_a_target(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [aim(target).engine for target in ("onnx", "npu", "halves")] == ["", "integers", "halves"]
    monkeypatch.setattr(Both, "form_for", lambda *_: "onnx")
    assert (aim("mixed").engine, len(aim("mixed").away)) == ("", 2)


def test_every_target_that_is_offered_means_something_and_stands_there_once() -> None:
    with pytest.raises(BundleError, match="there are: ") as refusal:
        aim("nowhere")
    offered = str(refusal.value).partition("there are: ")[2].split(", ")
    assert offered == [
        *("bare", "both", "everything", "halves", "integers", "mixed", "npu"),
        *("onnx", "onnx_qdq", "tflite", "tflite_int8"),
    ]


def test_an_exported_form_has_the_precision_that_engines_start_from_it_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the engines that there really are."""
    monkeypatch.undo()
    found = {form: aim(form).precision for form in forms()}
    eight_bits = dict.fromkeys(("onnx_qdq", "onnx_qdq_symmetric", "tflite_int8", "edgetpu"), "int8")
    assert found == {"onnx": "fp32", "onnx_fp16": "fp16", "onnx_bf16": "bf16", "tflite": "fp32", **eight_bits}


def tried(monkeypatch: pytest.MonkeyPatch, *verdicts: Verdict) -> None:
    """Have the engines that can be found here answer so, one after the other."""
    left = list(verdicts)
    device = Device("cpu", "CPU", {})
    monkeypatch.setattr(trial, "engines", lambda *_: [(Everything(), device) for _ in verdicts])
    monkeypatch.setattr(trial, "run", lambda *_: left.pop(0))


def refused(text: str) -> Verdict:
    return Verdict(None, text, refused=True)


def test_what_its_own_engine_refuses_is_not_exported_for_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tried(monkeypatch, refused("everything on CPU: does not compute in bf16 here, only in fp32"))
    with pytest.raises(BundleError, match="only in fp32; name another --precision"):
        export("digits-small", Aim("everything", "onnx", "bf16", "everything"), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("state", "verdict", "outcome"),
    [
        ("present", refused("it does not take fp32"), "does not take digits-small as onnx: it does not take fp32"),
        ("absent", refused("it does not take fp32"), "it does not take fp32"),
        ("present", Verdict(False, "nonsense"), "is not what it should be"),
        ("present", Verdict(True, "compiled, 12 of 12"), "compiled, 12 of 12"),
        ("absent", Verdict(False, "no module of that name"), ""),
    ],
)
def test_a_device_that_is_not_here_is_compiled_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, state: str, verdict: Verdict, outcome: str
) -> None:
    """Without its toolchain only a refusal counts, which comes before any import."""
    monkeypatch.setattr(trial, "engines", lambda *_: [])
    monkeypatch.setattr(trial, "run", lambda *asked: verdict if asked[-1] == "npu:u9" else None)
    monkeypatch.setattr(Everything, "available", lambda *_: Presence(state))
    away = ((Everything(), Device("npu", "Chip u9", {"everything": "0"}, runs=False)),)
    target = Aim("npu:u9", "onnx", "fp32", "everything", away)
    if verdict.ok or not outcome:
        assert told(export("digits-small", target, tmp_path)[0])["verified"] == outcome
    else:
        with pytest.raises(BundleError, match=outcome):
            export("digits-small", target, tmp_path)


def told(path: Path) -> dict:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("manifest.json"))


def test_a_wrong_answer_means_no_bundle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tried(monkeypatch, Verdict(False, "3 of 12 outputs are nearer to another sample's golden"))
    with pytest.raises(BundleError, match="nothing is written: 3 of 12"):
        export("digits-small", Aim("onnx", "onnx", "fp32"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_who_verified_it_is_written_down(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tried(monkeypatch, Verdict(None, "engine a: does not take it"), Verdict(True, "engine b: 12 of 12"))
    path, _ = export("digits-small", Aim("onnx", "onnx", "fp32"), tmp_path)
    assert (told(path)["verified"], told(path)["unverified"]) == ("engine b: 12 of 12", "")


@pytest.mark.parametrize(
    ("verdicts", "why"),
    [
        ((), "no engine here runs onnx in fp32"),
        ((Verdict(None, "engine a: does not take it"),), "engine a: does not take"),
    ],
)
def test_what_nobody_ran_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, verdicts: tuple[Verdict, ...], why: str
) -> None:
    tried(monkeypatch, *verdicts)
    path, _ = export("digits-small", Aim("onnx", "onnx", "fp32"), tmp_path)
    assert told(path)["verified"] == ""
    assert why in told(path)["unverified"]


def test_golden_samples_are_the_workloads_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tried(monkeypatch)
    path, manifest = export("digits-small", Aim("onnx", "onnx", "fp32"), tmp_path)
    workload = parts.find(Workload, "digits-small")
    with zipfile.ZipFile(path) as archive:
        inputs, outputs = (dict(np.load(archive.open(name))) for name in ("golden/inputs.npz", "golden/outputs.npz"))
    golden = workload.golden().outputs
    assert {name: array.dtype for name, array in outputs.items()} == dict.fromkeys(golden, np.dtype("float32"))
    assert all(np.allclose(outputs[name], golden[name], rtol=1e-6, atol=1e-6) for name in golden)
    wanted = workload.samples("perf", len(next(iter(golden.values()))), 0).inputs
    assert all(np.array_equal(inputs[name], wanted[name]) for name in wanted)
    assert manifest.digest == workload.model().digest


def test_what_the_firmware_loads_lies_beside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tried(monkeypatch)
    monkeypatch.setattr(trial, "run", lambda *_: Verdict(True, "compiled"))
    away = tuple((Delivers(), Device("npu", name, {"delivers": "0"}, runs=False)) for name in ("Chip u9 (1 GHz)", "B"))
    path, manifest = export("digits-small", Aim("npu:all", "onnx", "fp32", "delivers", away), tmp_path)
    assert path.name == "digits-small-npu-all-fp32.zip"
    names = ["device/b/digits-small.bin", "device/chip-u9-1-ghz/digits-small.bin"]
    assert sorted(name for name in manifest.files if name.startswith("device")) == names
    with zipfile.ZipFile(path) as archive:
        assert archive.read(names[1]) == b"Chip u9 (1 GHz)"


def test_what_does_not_fit_a_device_is_not_exported_for_it(tmp_path: Path) -> None:
    away = ((Delivers(), Device("npu", "too small", {"delivers": "0"}, runs=False)),)
    with pytest.raises(BundleError, match="too small: it needs 4 MB"):
        export("digits-small", Aim("onnx", "onnx", "fp32", "delivers", away), tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_has_no_tolerance_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"cannot be exported in fp8: .* no tolerance"):
        export("digits-small", Aim("onnx", "onnx", "fp8"), tmp_path)


def test_somebody_elses_workload_is_not_given_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is ours says so; of another's nothing is promised."""
    workload, notices = parts.find(Workload, "digits-small"), []
    for package in ("workloads.models.digits", "elsewhere.models"):
        monkeypatch.setattr(type(workload), "__module__", package)
        exporting._legal(workload, tmp_path)
        notices.append((tmp_path / "NOTICE").read_text())
    assert "written anew for accelmark" in notices[0]
    assert "written anew for accelmark" not in notices[1]
    assert "It comes from the package elsewhere" in notices[1]
    assert "Apache License" in (tmp_path / "LICENSE").read_text()
