"""Which HTPs can be simulated, and what is said where neither a card nor the simulator is here."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends._host import Host
from backends.contract import Device, Plan, Presence, Unsupported
from backends.engines import _onnxruntime, _tuning, onnxruntime_qnn
from backends.engines.onnxruntime_qnn import OnnxRuntimeQnnEngine
from backends.qualcomm import HTPS, QualcommBackend
from results import names

ENGINE = OnnxRuntimeQnnEngine()


def probe(*targets: str) -> Presence:
    return QualcommBackend(Host(Path("/nowhere"))).probe(targets)


def test_without_a_card_one_htp_can_be_simulated() -> None:
    presence = probe()
    assert presence.state == "absent"
    (device,) = presence.devices
    assert (device.name, device.runs) == ("Qualcomm HTP v75 (SM8650)", False)
    assert device.address["onnxruntime_qnn"] == "75:57"


@pytest.mark.parametrize("name", HTPS)
def test_each_target_is_a_device(name: str) -> None:
    presence = probe(f"qualcomm:{name}")
    (device,) = presence.devices
    assert presence.state == "present"
    assert not device.runs
    assert names.is_name(device.name)
    assert f" v{name[5:]} " in device.name


def test_targets_are_told_apart_and_taken_once() -> None:
    devices = probe("qualcomm:htp-v68", "qualcomm:htp-v81", "qualcomm:htp-v68").devices
    assert [device.address["onnxruntime_qnn"] for device in devices] == ["68:30", "81:87"]


@pytest.mark.parametrize(
    "target", ["qualcomm:", "qualcomm:v75", "qualcomm:htp-v74", "qualcomm:htp-v75:fast", "htp-v75"]
)
def test_an_unknown_target_names_the_known_ones(target: str) -> None:
    presence = probe("qualcomm:htp-v75", target)
    assert (presence.state, presence.devices) == ("no_such_target", ())
    assert target in presence.reason
    assert "qualcomm:htp-v68, qualcomm:htp-v69" in presence.remedy


@pytest.mark.parametrize(
    ("installed", "machine", "state", "says"),
    [
        ({}, "x86_64", "absent", "pip install -e '.[qualcomm]'"),
        ({"onnxruntime-qnn": "2.7.0"}, "x86_64", "absent", "needs the package onnxruntime"),
        ({"onnxruntime-qnn": "2.7.0", "onnxruntime": "1.31.1"}, "x86_64", "present", ""),
        ({"onnxruntime-qnn": "2.6.1", "onnxruntime": "1.31.1"}, "x86_64", "broken", "older than 2.7"),
        ({"onnxruntime-qnn": "1.24.0"}, "x86_64", "broken", "pip install -U onnxruntime-qnn"),
        ({"onnxruntime-qnn": "2.7.0", "onnxruntime": "1.20.0"}, "x86_64", "broken", "older than 1.24"),
        (
            {"onnxruntime-qnn": "2.7.0", "onnxruntime": "1.31.1", "onnxruntime-gpu": "1.31.1"},
            "x86_64",
            "broken",
            "pip uninstall -y onnxruntime onnxruntime-gpu",
        ),
        ({"onnxruntime-qnn": "2.7.0", "onnxruntime": "1.31.1"}, "aarch64", "absent", "not driven yet"),
    ],
)
def test_half_installed_simulators(
    installed: dict[str, str], machine: str, state: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (onnxruntime_qnn, _onnxruntime):
        monkeypatch.setattr(module, "installed", installed.get)
    monkeypatch.setattr(_tuning, "find_spec", lambda name: object())
    monkeypatch.setattr("platform.machine", lambda: machine)
    presence = ENGINE.available(probe().devices[0])
    assert presence.state == state
    assert says in f"{presence.reason} {presence.remedy}"
    assert presence.state == "present" or (presence.reason and presence.remedy)


def test_a_card_has_no_engine_and_that_is_said() -> None:
    presence = ENGINE.available(Device("qualcomm", "Qualcomm Cloud AI 100", {}))
    assert presence.state == "absent"
    assert "no engine for Qualcomm Cloud AI 100" in presence.reason
    assert ENGINE.available(Device("cpu", "CPU", {})).remedy != presence.remedy


def test_nothing_runs_on_a_simulated_device() -> None:
    with pytest.raises(Unsupported, match="only simulates"):
        ENGINE.compile(None, Plan("int8", 1, "latency"), probe().devices[0])
