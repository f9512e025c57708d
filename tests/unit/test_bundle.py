"""Bundles as they come from elsewhere: whole, damaged, and made to do harm."""

from __future__ import annotations

import json
import os
import stat
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.contract import Engine
from bench import parts, sut
from bench.bundle import archive, carried, manifest
from bench.bundle.archive import pack, unpack
from bench.bundle.chosen import choose
from bench.bundle.manifest import BundleError, DamagedError, Manifest, content_of
from bench.protocol import Effort
from bench.selection import SelectionError
from tests.fakes.fake_engines import FakeEngine
from tests.fakes.jobs import fake_job
from workloads.contract import Bound, Card, Model, Quality, TensorSpec, Tolerance, Unsupported

CARD = Card(
    "toy", "nothing", "vector", 4, 2, 8, 16, 3, (Bound(5.0, 90.0),), Quality("accuracy", "share", "higher", 0.5), "here"
)
SPECS = (TensorSpec("x", "float32", (None, 2)),), (TensorSpec("y", "float32", (None, 2)),)
FILES = {"artefact/toy.tflite": b"TFL3" * 100, "LICENSE": b"free", "NOTICE": b"ours"}


def write(folder: Path, **changes: object) -> Manifest:
    """A bundle's files in a folder, and their manifest."""
    (folder / "golden").mkdir(parents=True)
    (folder / "artefact").mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    np.savez(folder / manifest.INPUTS, x=np.arange(6, dtype=np.float32).reshape(3, 2))
    np.savez(folder / manifest.OUTPUTS, y=np.arange(6, dtype=np.float32).reshape(3, 2))
    names = (*FILES, manifest.INPUTS, manifest.OUTPUTS)
    told = Manifest(
        format=manifest.FORMAT, workload="toy", precision="int8", form="tflite_int8", artefact="artefact/toy.tflite",
        card=CARD, digest="d" * 64, inputs=SPECS[0], outputs=SPECS[1], steps=1, feedback={"y": "x"},
        tolerance=Tolerance(0.9, None), tools={"python": "3.11"}, commit="c", verified="by hand", unverified="",
        files={name: content_of(folder / name) for name in names},
    )  # fmt: skip
    return replace(told, **changes)


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ACCELMARK_CACHE", str(tmp_path / "cache"))
    told = write(tmp_path / "source")
    pack(tmp_path / "source", told, tmp_path / "toy.zip")
    return tmp_path / "toy.zip"


def test_round_trip(bundle: Path) -> None:
    folder, told = unpack(bundle)
    assert told == write(bundle.parent / "again")
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES


def test_same_content_is_the_same_bytes(bundle: Path) -> None:
    other = bundle.with_name("other.zip")
    pack(bundle.parent / "source", write(bundle.parent / "later"), other)
    assert other.read_bytes() == bundle.read_bytes()


def test_no_half_bundle_is_left_where_packing_fails(bundle: Path) -> None:
    (bundle.parent / "source/NOTICE").unlink()
    with pytest.raises(FileNotFoundError):
        pack(bundle.parent / "source", write(bundle.parent / "other"), bundle.with_name("none.zip"))
    assert not list(bundle.parent.glob("none*"))


def test_an_unpacked_bundle_that_was_changed_is_unpacked_anew(bundle: Path) -> None:
    folder, _ = unpack(bundle)
    for name in (*FILES, manifest.MANIFEST):
        (folder / name).write_bytes(b"changed")
        assert unpack(bundle)[0] == folder
        assert (folder / name).read_bytes() != b"changed"


def test_a_changed_folder_is_not_used(bundle: Path) -> None:
    folder, told = unpack(bundle)
    assert carried.find(str(folder)).sha256 == told.files[told.artefact].sha256
    (folder / told.artefact).write_bytes(FILES[told.artefact][:-1] + b"4")
    with pytest.raises(BundleError, match=r"artefact/toy\.tflite was changed"):
        carried.find(str(folder))


Entry = tuple[zipfile.ZipInfo, bytes]


def rewritten(bundle: Path, change: Callable[[list[Entry]], list[Entry]]) -> Path:
    """A copy of the archive with other entries."""
    with zipfile.ZipFile(bundle) as source:
        entries = [(entry, source.read(entry)) for entry in source.infolist()]
    other = bundle.with_name("changed.zip")
    with pytest.MonkeyPatch.context() as patch, zipfile.ZipFile(other, "w") as sink:
        patch.setattr("warnings.warn", lambda *_, **__: None)  # zipfile warns of names that come twice
        for entry, content in change(entries):
            sink.writestr(entry, content)
    return other


def added(name: str, content: bytes = b"x", mode: int = stat.S_IFREG, kind: int = zipfile.ZIP_STORED):
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (mode | 0o644) << 16
    entry.compress_type = kind
    return lambda entries: [*entries, (entry, content)]


def without(name: str):
    return lambda entries: [one for one in entries if one[0].filename != name]


def replaced(name: str, content: bytes):
    return lambda entries: [(entry, content if entry.filename == name else old) for entry, old in entries]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (added("../escape"), "'../escape' has a name that no bundle has"),
        (added("/etc/passwd"), "'/etc/passwd' has a name"),
        (added("artefact/../../escape"), "has a name"),
        (added("artefact\\..\\escape"), "has a name"),
        (added("artefact/.hidden"), "has a name"),
        (added("folder/"), "has a name"),
        (added("a\nb"), "has a name"),
        (added("foreign"), "does not name foreign"),
        (added("LICENSE"), "two of its entries have one name"),
        (added("bomb", b"\0" * 10_000_000, kind=zipfile.ZIP_DEFLATED), "bomb is compressed"),
        (added("link", b"/etc/passwd", stat.S_IFLNK), "link is no plain file"),
        (without("NOTICE"), "NOTICE is missing"),
        (without(manifest.MANIFEST), "has no manifest.json"),
        (replaced("artefact/toy.tflite", b"TFL4" * 100), "artefact/toy.tflite is not what the manifest says"),
        (replaced("artefact/toy.tflite", b"short"), "artefact/toy.tflite has another length"),
        (replaced(manifest.MANIFEST, b"{}"), "manifest.json is damaged"),
        (replaced(manifest.MANIFEST, b"[]"), "manifest.json is damaged"),
        (replaced(manifest.MANIFEST, b"\xff\xfe"), "damaged"),
        (replaced(manifest.MANIFEST, b"[" * 100_000), "damaged"),
        (
            replaced(manifest.MANIFEST, b" " * (manifest.MANIFEST_BYTES_MAX + 1)),
            "its manifest.json is over",
        ),
        (replaced(manifest.MANIFEST, b'{"format": 2}'), "of format 2, and this checkout reads 1"),
    ],
)
def test_what_is_wrong_is_refused_in_one_line(bundle: Path, change: Callable, says: str) -> None:
    before = {path for path in bundle.parent.rglob("*") if "cache" not in path.parts}
    with pytest.raises(BundleError) as refused:
        unpack(changed := rewritten(bundle, change))
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert str(changed) in str(refused.value)
    assert {path for path in bundle.parent.rglob("*") if "cache" not in path.parts} == {*before, changed}
    assert not list((bundle.parent / "cache").glob("bundles/*"))


def test_overlapping_entries_are_refused(bundle: Path) -> None:
    """The other way to make much of little: many names for the same bytes, here by pointing at one local header."""
    big = b"\0" * 1_000_000
    path = bundle.with_name("overlap.zip")
    with zipfile.ZipFile(path, "w") as sink:
        for name in ("a", "b", "c"):
            sink.writestr(zipfile.ZipInfo(name), big if name == "a" else b"")
        first = sink.infolist()[0]
        for entry in sink.infolist()[1:]:
            entry.header_offset, entry.CRC = first.header_offset, first.CRC
            entry.file_size = entry.compress_size = first.file_size
        sink._didModify = True  # type: ignore[attr-defined]
    with pytest.raises(BundleError, match="overlap"):
        unpack(path)


@pytest.mark.parametrize("content", [b"", b"PK", b"not a bundle at all", b"PK\x05\x06" + b"\0" * 18])
def test_another_file_is_no_bundle(bundle: Path, content: bytes) -> None:
    bundle.write_bytes(content)
    with pytest.raises(BundleError, match="no bundle"):
        unpack(bundle)


def changed_manifest(bundle: Path, **values: object) -> Path:
    with zipfile.ZipFile(bundle) as source:
        told = json.loads(source.read(manifest.MANIFEST))
    return rewritten(bundle, replaced(manifest.MANIFEST, json.dumps({**told, **values}).encode()))


@pytest.mark.parametrize(
    "values",
    [
        {"artefact": "../../etc/passwd"}, {"artefact": "LICENSE"}, {"artefact": "artefact/other"}, {"form": 3},
        {"files": {}}, {"files": None}, {"files": {"../x": {"sha256": "0" * 64, "bytes": 1}}}, {"card": {}},
        {"inputs": [{"name": "x"}]}, {"tolerance": {}},
        {"tolerance": {"centred_cosine_min": float("nan")}}, {"tolerance": None}, {"steps": "many"}, {"more": 1},
        {"workload": None}, {"card": None},
    ],
)  # fmt: skip
def test_a_manifest_that_no_export_writes_is_refused(bundle: Path, values: dict) -> None:
    with pytest.raises(BundleError, match=r"manifest.json is damaged|does not name"):
        unpack(changed_manifest(bundle, **values))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_flipped_byte_is_refused_or_changes_nothing(bundle: Path, data: st.DataObject) -> None:
    """What changes nothing: times, rights and comments, which no bundle has."""
    whole = bundle.read_bytes()
    spot = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[spot] ^= data.draw(st.integers(1, 255))
    other = bundle.with_name("flipped.zip")
    other.write_bytes(flipped)
    try:
        folder, told = unpack(other)
    except BundleError:
        return
    assert told == unpack(bundle)[1]
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 3000))
def test_a_file_that_was_cut_is_refused(bundle: Path, cut: int) -> None:
    whole = bundle.read_bytes()
    other = bundle.with_name("cut.zip")
    other.write_bytes(whole[: max(0, len(whole) - 1 - cut)])
    with pytest.raises(BundleError):
        unpack(other)


MODEL = Model("toy", "d" * 64, *SPECS, origin="toy")


def test_what_is_carried_is_what_the_engine_gets(bundle: Path) -> None:
    found = carried.find(str(unpack(bundle)[0]))
    model = carried.given(found, MODEL, "tflite_int8", "int8")
    assert model.form("tflite_int8").read_bytes() == FILES["artefact/toy.tflite"]
    assert model.digest == found.sha256


@pytest.mark.parametrize(
    ("model", "form", "precision", "says"),
    [
        (MODEL, "onnx", "int8", "the artefact is tflite_int8, and in int8 this engine starts from onnx"),
        (MODEL, "", "int8", "starts from none"),
        (MODEL, "tflite_int8", "fp32", "made for int8, not for fp32"),
        (replace(MODEL, digest="e" * 64), "tflite_int8", "int8", "another network than this checkout's"),
    ],
)
def test_what_does_not_fit_is_unsupported(bundle: Path, model: Model, form: str, precision: str, says: str) -> None:
    with pytest.raises(Unsupported, match=says):
        carried.given(carried.find(str(unpack(bundle)[0])), model, form, precision)


def test_a_bundle_is_a_workload_of_its_own(bundle: Path) -> None:
    workload = carried.Bundled(str(unpack(bundle)[0]))
    assert workload.card == CARD
    assert workload.feedback == {"y": "x"}
    assert workload.model().inputs == SPECS[0]
    assert workload.samples("perf", 4, 0).inputs["x"].tolist() == [[0, 1], [2, 3], [4, 5], [0, 1]]
    assert workload.golden().outputs["y"].shape == (3, 2)
    assert workload.tolerance("int8") == Tolerance(0.9, None)
    for ask in (lambda: workload.tolerance("fp32"), lambda: workload.samples("calibration", 1, 0)):
        with pytest.raises(Unsupported):
            ask()


def test_the_selection_is_the_bundles(bundle: Path) -> None:
    chosen = choose(bundle, (), ())
    assert (chosen.form, chosen.workloads, chosen.precisions) == ("tflite_int8", ("toy",), ("int8",))
    assert choose(bundle, ("toy",), ("int8",)) == chosen
    for asked in ((("kws",), ()), ((), ("fp32",)), (("toy", "kws"), ())):
        with pytest.raises(SelectionError, match="leave the option out"):
            choose(bundle, *asked)


def test_a_compiled_file_needs_the_name_of_its_workload(tmp_path: Path) -> None:
    file = tmp_path / "net_quant_edgetpu.tflite"
    file.write_bytes(b"edgetpu-custom-op")
    chosen = choose(file, ("mobilenetv2",), ())
    assert (chosen.artifact, chosen.form, chosen.precisions) == (str(file), "edgetpu", ("int8",))
    found = carried.find(chosen.artifact)
    assert carried.given(found, MODEL, "edgetpu", "int8").form("edgetpu") == file
    for several in ((), ("kws", "resnet8")):
        with pytest.raises(SelectionError, match="name that one"):
            choose(file, several, ())


@pytest.mark.parametrize("name", ["net.tflite", "net.onnx", "edgetpu.tflite.txt"])
def test_a_file_that_says_nothing_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(SelectionError, match="no bundle"):
        choose(tmp_path / name, ("kws",), ())


def test_a_folder_is_called_one(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"is a folder; name the \.zip file"):
        unpack(tmp_path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_bundle_that_was_cut_off_is_called_damaged(bundle: Path, share: float) -> None:
    os.truncate(bundle, int(bundle.stat().st_size * share))
    with pytest.raises(DamagedError, match="damaged: it begins as a bundle and has no end: fetch it again"):
        unpack(bundle)


def test_a_damaged_bundle_is_told_from_another_file(bundle: Path) -> None:
    with pytest.raises(DamagedError):
        unpack(rewritten(bundle, without("LICENSE")))
    assert not list(bundle.parent.glob("cache/bundles/part-*"))
    assert archive.AGAIN


def worker(monkeypatch: pytest.MonkeyPatch, form: str, **job: str) -> sut.SystemUnderTest:
    """What a worker makes of a job for an engine that starts from `form`."""

    class Starter(FakeEngine):
        name = "fake-exact"

        def form_for(self, precision: str) -> str:
            return form

    find = parts.find
    monkeypatch.setattr(parts, "find", lambda base, *which: Starter() if base is Engine else find(base, *which))
    effort = Effort(warmup_max_s=0, min_duration_s=0, min_queries=1, max_duration_s=1)
    return sut.SystemUnderTest.find(fake_job(effort, **job))


def test_a_worker_takes_a_compiled_file_for_what_it_would_make(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "kws_edgetpu.tflite"
    file.write_bytes(b"compiled elsewhere")
    found = worker(monkeypatch, "edgetpu", workload="kws", precision="fp32", artifact=str(file))
    found.build()
    assert found.model.form("edgetpu") == file
    assert found.artifact_sha256 == content_of(file).sha256
    with pytest.raises(Unsupported, match="carried here as edgetpu, and this engine needs onnx"):
        found.model.form("onnx")


def test_an_engine_may_lower_the_carried_onnx_file_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JAX has its function made of it: of that file and not of this checkout's network."""
    monkeypatch.setenv("ACCELMARK_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "net.onnx"
    file.write_bytes(b"no graph")
    model = replace(MODEL, net=lambda: None)
    found = carried.given(carried.Carried(file, "onnx", "a" * 64, None), model, "onnx", "fp32")
    assert (found.form("onnx"), found.form("weights"), found.origin, found.digest) == (file, file, str(file), "a" * 64)
    assert found.net is None
    lowered = []
    monkeypatch.setitem(sys.modules, "workloads.forms.jax", SimpleNamespace(build=lambda one: lowered.append(one)))
    found.form("jax")
    assert lowered == [found]


def test_a_worker_refuses_what_was_changed_since(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, told = unpack(bundle)
    (folder / told.artefact).write_bytes(b"other")
    with pytest.raises(BundleError, match="was changed after it was unpacked"):
        worker(monkeypatch, "tflite_int8", workload="kws", precision="int8", artifact=str(folder))


def test_a_bundle_that_is_verified_stands_for_its_workload(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(unpack(bundle)[0])
    found = worker(monkeypatch, "tflite_int8", workload="toy", precision="int8", artifact=folder, model=folder)
    assert found.workload.card == CARD
    assert found.model.form("tflite_int8").read_bytes() == FILES["artefact/toy.tflite"]


def test_without_an_artefact_nothing_is_different(monkeypatch: pytest.MonkeyPatch) -> None:
    found = worker(monkeypatch, "onnx", workload="kws")
    assert found.artifact_sha256 == ""
    assert found.model.given == {}
