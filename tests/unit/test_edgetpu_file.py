"""The reader of .tflite files takes whatever it is given, and Coral's pycoral is told from its namesake."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.contract import Device, Unsupported
from backends.engines._edgetpu_file import IDENTIFIER, check_whole, operators
from backends.engines.pycoral import PyCoralEngine

DEVICE = Device("edgetpu", "Coral Edge TPU (PCIe)", {"pycoral": "pci:0"})


@given(st.binary(min_size=4, max_size=4), st.binary(max_size=400))
@settings(max_examples=300)
def test_any_bytes_are_read_or_unsupported(first: bytes, rest: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any.tflite"
        path.write_bytes(first + IDENTIFIER + rest)
        told = ""
        try:
            names = operators(path)
        except Unsupported as reason:
            names, told = [], str(reason)
        assert all(isinstance(name, str) for name in names)
        assert not told or "any.tflite" in told


@pytest.mark.parametrize("content", [b"", b"no", b"\x08\0\0\0ONNX"])
def test_another_kind_of_file_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tflite").write_bytes(content)
    with pytest.raises(Unsupported, match=r"a\.tflite is no \.tflite file"):
        check_whole(tmp_path / "a.tflite")


def test_the_namesake_is_told_by_its_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    assert PyCoralEngine().available(DEVICE).state == "absent"
    (tmp_path / "pycoral").mkdir()
    (tmp_path / "pycoral/__init__.py").write_text("raise ImportError('asking must not import it')")
    presence = PyCoralEngine().available(DEVICE)
    assert presence.state == "broken"
    assert "not Coral's" in presence.reason
    assert "pip uninstall pycoral" in presence.remedy
    (tmp_path / "pycoral/utils").mkdir()
    (tmp_path / "pycoral/utils/edgetpu.py").touch()
    assert PyCoralEngine().available(DEVICE).state == "present"


def test_a_device_without_an_address_is_out_of_reach() -> None:
    assert PyCoralEngine().available(Device("cpu", "a processor", {})).state == "absent"
