"""Preparing users' own models: in a process of its own, once for the same content, whatever its weights lie in."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import ROOT, usermodel
from bench.selection import SelectionError
from bench.usermodel import preparing
from tests.unit import user_models as models
from tests.unit.user_models import asked, assert_right, check, given, prepared
from workloads import onnxfile, user
from workloads.onnxfile import ModelFileError


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ACCELMARK_CACHE", str(tmp_path / "cache"))


def test_preparing_in_a_process_of_its_own_is_kept_by_content(tmp_path: Path) -> None:
    path = models.saved(models.tokens(), tmp_path)
    (first,) = usermodel.prepare([asked(path, dims={"seq": 16})])
    made = Path(first, "card.json").stat().st_mtime_ns
    assert usermodel.prepare([asked(path, dims={"seq": 16})]) == (first,)
    assert Path(first, "card.json").stat().st_mtime_ns == made
    assert usermodel.prepare([asked(path, dims={"seq": 8})]) != (first,)
    models.saved(models.two_inputs(), tmp_path)
    assert usermodel.prepare([asked(path)]) != (first,)


def test_a_problem_comes_back_as_one_line_with_the_file(tmp_path: Path) -> None:
    path = models.saved(models.one("Log"), tmp_path)
    with pytest.raises(SelectionError) as caught:
        usermodel.prepare([asked(path)])
    assert str(caught.value).startswith(f"--model {path}: its output y has NaN or infinity in it")


def test_a_dimension_that_no_model_has_is_told(tmp_path: Path) -> None:
    path = models.saved(models.cnn(), tmp_path)
    with pytest.raises(SelectionError, match="--dim sq=16: no model has a free dimension of that name; there"):
        usermodel.prepare([asked(path, dims={"sq": 16})])


@pytest.mark.parametrize(
    ("library", "message"),
    [
        (
            "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)",
            r"crashed \(SIGSEGV\) while computing",
        ),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "most likely for want of memory"),
        ("raise RuntimeError('a b\\nc d')", r"c d \(while computing its right outputs"),
        ("import time\ntime.sleep(600)", "preparing it took more than 6 s; give it longer with --timeout-s"),
    ],
)
def test_a_model_that_takes_its_process_down_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, message: str
) -> None:
    """A broken onnxruntime stands in for the model that breaks it."""
    (tmp_path / "onnxruntime.py").write_text(library)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(SelectionError, match=message):
        usermodel.prepare([asked(models.saved(models.cnn(), tmp_path))], timeout_s=6)


def test_without_the_package_onnx_there_is_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usermodel, "find_spec", lambda _name: None)
    with pytest.raises(SelectionError, match=r"--model needs the package onnx: pip install -e '.\[model\]'"):
        usermodel.prepare([asked(tmp_path / "any.onnx")])


def test_without_onnxruntime_a_given_reference_still_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "find_spec", lambda _name: None)
    path = models.saved(models.one("Tanh"), tmp_path)
    with pytest.raises(ModelFileError, match=r"need the package onnxruntime: .*; or give --inputs and --reference"):
        prepared(path)
    x = np.linspace(-1, 1, 12 * 4, dtype=np.float32).reshape(12, 4)
    np.savez(tmp_path / "right.npz", y=np.tanh(x))
    assert prepared(path, inputs=given(tmp_path, x=x), reference=str(tmp_path / "right.npz")).card.name == "mine"


@pytest.mark.parametrize(
    ("location", "data", "message"),
    [
        ("weights.bin", None, "its external data weights.bin is missing: put it beside the model"),
        ("weights.bin", b"short", "its external data weights.bin is cut off: 5 of 48 bytes; copy it again"),
        ("../weights.bin", b"", "its external data '../weights.bin' leaves the model's folder"),
        ("sub/../../weights.bin", None, "its external data 'sub/../../weights.bin' leaves the model's folder"),
        ("/etc/hostname", None, "its external data '/etc/hostname' leaves the model's folder"),
        ("", None, "its external data '' leaves the model's folder"),
    ],
)
def test_external_data_that_cannot_be_read_is_one_line(
    tmp_path: Path, location: str, data: bytes | None, message: str
) -> None:
    (folder := tmp_path / "folder").mkdir()
    with pytest.raises(ModelFileError) as caught:
        prepared(models.with_external(folder, location, data))
    assert message in str(caught.value)


def test_a_link_that_leaves_the_folder_is_refused_and_a_cache_of_links_is_not(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir(), snapshot.mkdir()  # type: ignore[func-returns-value]
    path = models.with_external(snapshot, data=b"")
    (snapshot / "weights.bin").rename(blobs / "aa")
    (snapshot / "weights.bin").symlink_to(blobs / "aa")
    with pytest.raises(ModelFileError, match="leaves the model's folder"):
        prepared(path)
    path.rename(blobs / "bb")
    path.symlink_to(blobs / "bb")
    assert_right(check(prepared(path), "openvino", 1))


def test_external_data_is_linked_and_follows_no_change_to_it(tmp_path: Path) -> None:
    path = models.with_external(tmp_path, data=b"")
    original = (tmp_path / "weights.bin").read_bytes()
    (folder,) = usermodel.prepare([asked(path)])
    linked = Path(folder) / "graph" / "weights.bin"
    assert linked.samefile(tmp_path / "weights.bin")
    (tmp_path / "weights.bin").write_bytes(original[::-1])  # in place: the link shares it
    (other,) = usermodel.prepare([asked(path)])
    assert other != folder
    (tmp_path / "weights.bin").write_bytes(original)
    assert usermodel.prepare([asked(path)]) == (folder,)
    assert linked.read_bytes() == original
    assert json.loads((Path(folder) / "external.json").read_text())["weights.bin"][1] == linked.stat().st_mtime_ns


def test_external_data_called_like_the_graph_never_overwrites_it(tmp_path: Path) -> None:
    path = models.with_external(tmp_path, "model.onnx", b"")
    with pytest.raises(ModelFileError, match=r"its external data may not be called model.onnx"):
        prepared(path)
    assert len((tmp_path / "model.onnx").read_bytes()) == 48


def test_data_is_copied_where_it_cannot_be_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_names: Any) -> None:
        raise OSError

    monkeypatch.setattr(onnxfile.os, "link", refuse)
    workload = prepared(models.with_external(tmp_path, data=b""))
    copied = Path(workload.folder) / "graph" / "weights.bin"
    assert copied.read_bytes() == (tmp_path / "weights.bin").read_bytes()
    assert not copied.samefile(tmp_path / "weights.bin")


PREPARE = """
import resource, sys
from pathlib import Path
from bench import usermodel
from tests.unit.user_models import asked
print(*usermodel.prepare([asked(Path(sys.argv[1]))]))
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""


def test_over_two_gigabytes_are_never_loaded(tmp_path: Path) -> None:
    """Asked by a process whose only child is the one that prepares: ru_maxrss is the largest of all children."""
    command = [sys.executable, "-c", PREPARE, str(models.huge(tmp_path))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    folder, peak_bytes = done.stdout.splitlines()
    linked = Path(folder) / "graph" / "table.bin"
    assert linked.samefile(tmp_path / "table.bin")
    assert linked.stat().st_size > 2**31
    assert user.UserModel(folder).card.parameters == 2_200_000 * 256
    assert int(peak_bytes) < 1.5e9
