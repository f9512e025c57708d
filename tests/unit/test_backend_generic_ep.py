"""Targets of the form ep:NAME?key=value: read, written, named, and measured on the providers that this build has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends._providers import KNOWN, RESERVED, SUFFIX, Provider, addressed, full_name, parse
from backends.contract import Device, Plan, Session, Unsupported
from backends.engines.onnxruntime import OnnxRuntimeEngine
from backends.generic_ep import GenericEpBackend
from bench import parts
from results import names
from tests.conformance import tiny
from workloads.contract import Workload

ENGINE = OnnxRuntimeEngine()
KEYS = st.text(min_size=1, max_size=12).filter(lambda key: key not in RESERVED)
PROVIDERS = st.builds(
    Provider,
    st.from_regex(r"[A-Za-z0-9][^\n]{0,30}", fullmatch=True).map(full_name),
    st.dictionaries(KEYS, st.text(max_size=30), max_size=4),
    st.text(max_size=40),
    st.text(max_size=10),
    st.none() | st.integers(0, 999),
)


@given(PROVIDERS)
def test_what_is_written_is_read_back(provider: Provider) -> None:
    assert parse(provider.text) == provider


@given(PROVIDERS)
def test_every_title_fits_a_record(provider: Provider) -> None:
    assert names.is_name(provider.title)


@given(PROVIDERS, PROVIDERS)
def test_other_options_are_another_device(one: Provider, other: Provider) -> None:
    assert (one.title == other.title) == (one == other)


@given(st.text(max_size=60))
def test_any_text_is_a_provider_or_has_a_reason(text: str) -> None:
    presence = GenericEpBackend().probe((f"ep:{text}",))
    assert presence.state == "present" or (presence.reason and "ep:NAME" in presence.remedy)


@pytest.mark.parametrize("name", KNOWN)
def test_short_names_are_those_of_the_library(name: str) -> None:
    import onnxruntime

    assert full_name(name.lower()) == full_name((name + SUFFIX).upper()) == name + SUFFIX
    assert name + SUFFIX in onnxruntime.get_all_providers()


@pytest.mark.parametrize(
    ("target", "title"),
    [
        ("ep:cpu", "CPUExecutionProvider"),
        ("ep:MyOwnProvider", "MyOwnProvider"),
        ("ep:openvino?device_type=NPU", "OpenVINOExecutionProvider(device_type=NPU)"),
        ("ep:openvino?precision=FP16&device_type=NPU", "OpenVINOExecutionProvider(device_type=NPU,precision=FP16)"),
    ],
)
def test_titles(target: str, title: str) -> None:
    (device,) = GenericEpBackend().probe((target,)).devices
    assert device.name == title
    assert device.runs


def test_a_long_title_ends_in_a_hash_and_the_whole_is_kept() -> None:
    targets = [f"ep:vitisai?config_file=/opt/vendor/{'x' * 90}&target={n}" for n in (1, 2)]
    devices = GenericEpBackend().probe(targets).devices
    assert len({device.name for device in devices}) == 2
    assert all(len(device.name) < 130 and "~" in device.name for device in devices)
    assert addressed(devices[0].address["onnxruntime"]).options["config_file"].endswith("x" * 90)


def test_a_library_is_named_without_its_folder_and_is_not_confused_with_its_namesake() -> None:
    one, other = (parse(f"ep:Npu?library={folder}/libnpu.so").title for folder in ("/opt/a", "/opt/b"))
    assert one != other
    assert "/opt" not in one
    assert "libnpu.so" in one


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("ep:", "names no"),
        ("ep:?a=b", "names no"),
        ("tpu:v5e", "names no"),
        ("ep:cpu?", "key=value"),
        ("ep:cpu?a", "key=value"),
        ("ep:cpu?=b", "key=value"),
        ("ep:cpu?a=1&a=2", "twice"),
        ("ep:cpu?device=first", "whole number"),
        ("ep:cpu?library=", "no value"),
    ],
)
def test_what_is_no_target_is_told(target: str, says: str) -> None:
    presence = GenericEpBackend().probe((target,))
    assert (presence.state, presence.devices) == ("no_such_target", ())
    assert says in presence.reason


def test_without_a_target_it_is_absent_and_says_how_to_name_one() -> None:
    presence = GenericEpBackend().probe()
    assert presence.state == "absent"
    assert "--target 'ep:NAME?key=value&key=value'" in presence.remedy


@pytest.mark.parametrize(("address", "index"), [("CUDAExecutionProvider:1", "1"), ("CPUExecutionProvider", None)])
def test_addresses_of_other_backends(address: str, index: str | None) -> None:
    provider = addressed(address)
    assert provider.name == address.partition(":")[0]
    assert provider.options.get("device_id") == index


def compiled(target: str, model: object, precision: str = "fp32", **options: str) -> Session:
    (device,) = GenericEpBackend().probe((target,)).devices
    assert ENGINE.available(device).state == "present"
    return ENGINE.compile(model, Plan(precision, 1, "latency", options=options), device)


@pytest.fixture
def network(tmp_path: Path) -> tiny.Tiny:
    return tiny.make("convolution", tmp_path)


@pytest.mark.parametrize("target", ["ep:CPUExecutionProvider", "ep:cpu?device=0"])
def test_a_provider_computes(target: str, network: tiny.Tiny) -> None:
    session = compiled(target, network.model)
    arrays = network.inputs(1, 3)
    right = network.answer(arrays)["scores"]
    assert np.allclose(session.get(session.run(session.put(arrays)))["scores"], right, rtol=1e-5, atol=1e-6)
    assert session.facts.placement.share == 1.0
    assert session.facts.settings["target"] == parse(target).text
    session.close()


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("ep:azure", r"takes 0 of \d+ nodes, and the CPU would run .*Conv"),
        ("ep:openvino?device_type=NPU", "no OpenVINOExecutionProvider, only Azure.*library=PATH"),
        ("ep:NobodyHasThis", "no NobodyHasThis, only"),
        ("ep:cpu?vendor=nobody", "lists no device that fits .*CPUExecutionProvider on CPU"),
        ("ep:cpu?device=7", "lists no device"),
        ("ep:Npu?library=/nowhere/libnpu.so", "cannot load library=/nowhere/libnpu.so"),
        ("ep:cpu?arena=1", "silently drops provider options, so not arena"),
    ],
)
def test_what_would_run_elsewhere_is_unsupported(target: str, says: str, network: tiny.Tiny) -> None:
    with pytest.raises(Unsupported, match=says):
        compiled(target, network.model)


@pytest.mark.parametrize("machine", ["x86_64", "AMD64"])
def test_a_simulator_is_not_measured(machine: str, network: tiny.Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    with pytest.raises(Unsupported, match="--target qualcomm"):
        compiled("ep:qnn?library=/opt/libonnxruntime_providers_qnn.so", network.model)


@pytest.mark.parametrize("precision", ["fp16", "bf16", "tf32", "int4"])
def test_the_cpu_provider_takes_no_precision_that_it_does_not_compute_in(precision: str, network: tiny.Tiny) -> None:
    with pytest.raises(Unsupported, match=precision):
        compiled("ep:cpu", network.model, precision)


def test_int8_is_a_quantised_graph() -> None:
    workload = parts.find(Workload, "digits-small")
    session = compiled("ep:cpu", workload.calibrated(), "int8")
    asked = workload.samples("perf", 1, 0).inputs
    error = abs(session.get(session.run(session.put(asked)))["logits"] - workload.golden().outputs["logits"][:1]).max()
    assert 1e-4 < error / abs(workload.golden().outputs["logits"]).max() < 0.05
    assert session.facts.settings["precision"] == "int8"
    session.close()


def test_a_device_of_another_backend_is_not_reached() -> None:
    assert ENGINE.available(Device("generic_ep", "something", {})).state == "absent"
