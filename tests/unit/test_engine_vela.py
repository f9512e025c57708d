"""The vela engine: how it reads Vela's reports, and (marked asic) what the real Vela says of real networks."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends._ethos_u import parsed
from backends._host import Host
from backends.contract import Device, Estimate, Facts, Plan, Unsupported
from backends.engines import _vela
from backends.ethos_u import ALL, EthosUBackend
from bench import parts
from workloads.contract import Model, Workload

NOWHERE = Host(Path("/nowhere"))
CHOSEN = parsed("u55-128")
SUMMARY = {
    "core_clock": "500000000.0",
    "inference_time": "0.000189658",
    **dict.fromkeys(_vela.COUNTS, "0.0"),
    "cycles_total": "94829",
    "nn_macs": "2664768",
    "sram_memory_used": "21.90625",
}
SAID = "\nCPU operators = 2 (14.3%)\n   CPU: Passthrough = NPU operators = 9\nNPU operators = 12 (85.7%)\n"
LAYERS = "Original Operator,NNG Operator,Op Cycles,Name\n"


def summary(path: Path, columns: dict[str, str]) -> Path:
    path.write_text(f"{','.join(columns)}\n{','.join(columns.values())}\n")
    return path


def test_summary_is_read_by_the_names_of_its_columns(tmp_path: Path) -> None:
    there = _vela._summary(summary(tmp_path / "a.csv", SUMMARY))
    back = _vela._summary(summary(tmp_path / "b.csv", dict(reversed({**SUMMARY, "new": "1"}.items()))))
    assert there == back
    clock_hz, inference_s, counts = there
    assert (clock_hz, inference_s, counts["cycles_total"], counts["sram_memory_used"]) == (
        5e8,
        0.000189658,
        94829,
        22432,
    )


@pytest.mark.parametrize("gone", ["core_clock", "cycles_total", "dram_memory_used"])
def test_a_summary_of_another_version_is_an_error_that_names_the_column(tmp_path: Path, gone: str) -> None:
    columns = {name: value for name, value in SUMMARY.items() if name != gone}
    with pytest.raises(RuntimeError, match=f"vela's summary has no {gone}"):
        _vela._summary(summary(tmp_path / "a.csv", columns))


@given(st.text(alphabet="0123456789.,einf-\n ", max_size=40))
def test_no_summary_gives_a_figure_by_accident(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("summary") / "a.csv"
    path.write_text(f"{','.join(SUMMARY)}\n{text}")
    with suppress(RuntimeError):
        _, _, counts = _vela._summary(path)
        assert set(counts) == set(_vela.COUNTS)


def test_operators_are_read_from_the_screen() -> None:
    assert (_vela._operators(SAID, "NPU"), _vela._operators(SAID, "CPU")) == (12, 2)
    with pytest.raises(RuntimeError, match=re.escape("its line 'CPU operators = N'")):
        _vela._operators(SAID.replace("CPU operators", "Operators on CPU"), "CPU")


@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])), st.integers(0, 10**9))))
def test_layers_keep_their_names_whatever_is_in_them(
    tmp_path_factory: pytest.TempPathFactory, layers: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("layers")
    rows = "".join(f"Conv2D,Conv2D,{cycles},{name}\n" for name, cycles in layers)
    (folder / "net_per-layer.csv").write_text(LAYERS + rows, encoding="utf-8")
    found = [(layer.name, layer.cycles) for layer in _vela._layers(folder)]
    assert sorted(found) == sorted((name, cycles) for name, cycles in layers if cycles)
    assert [cycles for _, cycles in found] == sorted((cycles for _, cycles in found), reverse=True)


@pytest.mark.parametrize("text", ["Operator,Cycles\n", LAYERS + "Conv2D,Conv2D,many,name\n", LAYERS + "Conv2D\n"])
def test_a_table_of_layers_of_another_version_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "net_per-layer.csv").write_text(text)
    with pytest.raises(RuntimeError, match="vela's table of layers"):
        _vela._layers(tmp_path)


def interpreter(folder: Path, script: str) -> str:
    """A command in place of python, which gets vela's arguments."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("script", "kind", "says"),
    [
        (
            "echo \"ethosu.vela.errors.ConfigOptionError: 'Error: Invalid arena (must be Sram)'\" >&2; exit 1",
            Unsupported,
            "vela refuses u55-128?system=Ethos_U55_High_End_Embedded&memory=Shared_Sram: Invalid arena (must be Sram)",
        ),
        (
            "echo 'RuntimeError: Compilation failed: No networks defined'; exit 1",
            RuntimeError,
            "vela failed compiling for u55-128?system=Ethos_U55_High_End_Embedded&memory=Shared_Sram: RuntimeError: "
            "Compilation failed: No networks defined",
        ),
        ("exit 3", RuntimeError, "Shared_Sram: nothing"),
        (
            "printf 'CPU operators = 0 (0)\\nNPU operators = 1 (1)\\n'",
            RuntimeError,
            "vela wrote 0 files *_summary_*.csv",
        ),
        ("exec sleep 60", RuntimeError, "vela did not end within 0.2 s"),
    ],
    ids=["refused", "failed", "silent", "no summary", "stuck"],
)
def test_what_goes_wrong_is_one_line_with_its_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, kind: type[Exception], says: str
) -> None:
    monkeypatch.setattr(sys, "executable", interpreter(tmp_path, script))
    monkeypatch.setattr(_vela, "TIMEOUT_S", 0.2 if "sleep" in script else 60.0)
    with pytest.raises(kind) as caught:
        _vela.compiled(tmp_path / "net.tflite", CHOSEN, "Performance", tmp_path)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def _calibrated(network: str) -> Model:
    return parts.find(Workload, network, ()).calibrated()


def _device(target: str) -> Device:
    (device,) = EthosUBackend(NOWHERE).probe([f"ethos_u:{target}"]).devices
    return device


def _estimated(model: Model, target: str, batch: int = 1, precision: str = "int8", **options: str) -> Estimate:
    from backends.engines.vela import VelaEngine

    return VelaEngine().estimate(model, Plan(precision, batch, "latency", options=options), _device(target))


def _figures(estimate: Estimate) -> str:
    """All that is said, but for how long the command took."""
    settings, placement = estimate.facts.settings, estimate.facts.placement
    return repr(replace(estimate, numerics=None, facts=Facts(settings, placement, 0, None, 0)))


@pytest.mark.asic
@pytest.mark.parametrize("network", ["kws", "resnet8", "autoencoder", "mobilenetv2"])
def test_the_small_networks_run_on_the_npu_alone_and_are_estimated_the_same_twice(network: str) -> None:
    model, card = _calibrated(network), parts.find(Workload, network, ()).card
    estimates = {target: _estimated(model, target) for target in ALL}
    for target, one in estimates.items():
        assert _figures(one) == _figures(_estimated(model, target))
        assert (one.fallback_operators, one.facts.placement.share) == (0, 1.0)
        assert one.cycles
        assert one.clock_mhz
        assert one.latency_ns == pytest.approx(one.cycles * 1000 / one.clock_mhz)
        assert one.flops == pytest.approx(card.flops, rel=0.06)  # U85 takes a mean without multiplying
        assert 0.5 * card.parameters < one.weights_bytes < 1.2 * card.parameters  # one byte each, and encoded
        unknown = {one.name for one in fields(Estimate) if getattr(estimates[target], one.name) is None}
        assert unknown == set(one.missing)
    latency = {target: one.latency_ns for target, one in estimates.items()}
    assert latency["u55-256"] <= latency["u55-128"]
    assert latency["u65-512"] < latency["u65-256"] < latency["u55-256"]
    assert latency["u85-1024"] < latency["u85-256"]


@pytest.mark.asic
def test_multipliers_do_not_help_a_network_that_waits_for_its_weights() -> None:
    small, large = (_estimated(_calibrated("autoencoder"), target) for target in ("u55-128", "u55-256"))
    assert small.latency_ns == large.latency_ns
    assert small.facts.settings["cycles_off_chip_flash_access"] > 5 * small.facts.settings["cycles_npu"]


@pytest.mark.asic
@pytest.mark.filterwarnings("ignore:.*preserve_all_tensors:UserWarning")  # the quantizer's own, of what it does itself
def test_time_is_withheld_where_an_operator_falls_to_the_processor(tmp_path: Path) -> None:
    """The same network with its last layer in fp32, which no Ethos-U has."""
    model = _calibrated("kws")
    whole, partly = _estimated(model, "u55-128"), _estimated(_with_a_float_layer(model, tmp_path), "u55-128")
    assert (partly.fallback_operators or 0) > 0
    assert 0.0 < partly.facts.placement.share < 1.0
    for name in ("latency_ns", "cycles", "flops", "weights_bytes"):
        assert getattr(whole, name) is not None
        assert getattr(partly, name) is None
        assert "fall to the CPU" in partly.missing[name]


def _with_a_float_layer(model: Model, folder: Path) -> Model:
    from ai_edge_quantizer import quantizer, recipe

    tool = quantizer.Quantizer(str(model.form("tflite")))
    tool.load_quantization_recipe(recipe.static_wi8_ai8())
    tool.update_quantization_recipe(".*", "FULLY_CONNECTED", algorithm_key="no_quantize")
    assert model.calibration
    sample = {name: np.moveaxis(array, 1, -1) for name, array in model.calibration(1).inputs.items()}  # NHWC
    path = folder / "mixed.tflite"
    path.write_bytes(tool.quantize(tool.calibrate({"serving_default": [sample]})).quantized_model)
    return replace(model, given={"tflite_int8": path})


@pytest.mark.asic
def test_what_does_not_fit_is_an_answer_with_the_figures() -> None:
    model = _calibrated("resnet8")
    with pytest.raises(Unsupported, match=r"does not fit: [\d,]+ bytes of SRAM are needed, and .* has 20,480"):
        _estimated(model, "u55-128?sram_kib=20")
    with pytest.raises(Unsupported, match=r"vela refuses .* Invalid configuration of arena_mem_area"):
        _estimated(model, "u55-128?memory=Dedicated_Sram")


@pytest.mark.asic
def test_memory_modes_and_optimising_for_size_change_the_estimate() -> None:
    model = _calibrated("resnet8")
    usual, small, alone = (
        _estimated(model, "u55-128"),
        _estimated(model, "u55-128", optimise="size"),
        _estimated(model, "u55-128?memory=Sram_Only"),
    )
    assert small.sram_peak_bytes < usual.sram_peak_bytes
    assert small.latency_ns > usual.latency_ns
    assert alone.latency_ns < usual.latency_ns
    assert alone.sram_peak_bytes > usual.sram_peak_bytes + alone.weights_bytes * 0.5
    assert alone.memory_peak_bytes is None
    assert "SRAM" in alone.missing["memory_peak_bytes"]


@pytest.mark.asic
@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"batch": 2}, "one sample at a time"),
        ({"precision": "fp32"}, "does not compute in fp32"),
        ({"optimise": "luck"}, "optimise=luck"),
        ({"threads": "2"}, "no option threads"),
    ],
)
def test_what_vela_cannot_is_said_before_anything_is_made(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(Unsupported, match=says):
        _estimated(Model("never lowered", "0", (), (), "nowhere"), "u55-128", **asked)
