"""Small files of published figures in the shapes of the real ones, with a few real values.

The real ones: mlcommons/inference_results_v5.1 @965182b03376 (2025-09-09), mlcommons/tiny_results_v1.2 @b448c5c71109,
coral.ai/docs/edgetpu/benchmarks, aws-neuron-sdk's benchmark tables of 2026-02-26, OpenVINO 2024.1's benchmark CSV.
"""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from results.published.table import COLUMNS


def mlperf(**changes: Any) -> dict[str, Any]:
    """An entry of summary_results.json."""
    return {
        "ID": "5.1-0013", "Submitter": "Juniper", "Availability": "available", "Category": "closed",
        "Suite": "datacenter", "System": "2 nodes of 8 H200", "Platform": "2xH200x8", "UsedModel": "llama2-70b-99",
        "Model": "llama2-70b-99", "Scenario": "Offline", "Accuracy": "ROUGE1: 44.4", "Nodes": 2,
        "Processor": "Intel(R) Xeon(R) Platinum 8568Y+", "Accelerator": "NVIDIA H200-SXM-141GB", "a#": 8, "p#": 2,
        "Location": "closed/Juniper/results/2xH200x8/llama2-70b-99/Offline", "Software": "TensorRT 10.11, CUDA 12.9",
        "inferred": 0, "has_power": False, "version": "v5.1", "weight_data_types": "fp8",
        "Performance_Result": 69000.0, "Performance_Units": "Tokens/s", **changes,
    }  # fmt: skip


MLPERF = [
    mlperf(),
    mlperf(UsedModel="resnet50", Model="resnet", Accelerator="", Processor="AMD Ryzen 9 7950X 16-Core Processor",
           **{"a#": "", "p#": 1}, Nodes=1, Scenario="SingleStream", Suite="edge", weight_data_types="fp32",
           Performance_Result=3.2, Performance_Units="Latency (ms)"),
    mlperf(Model="llama3.1-8b", UsedModel="llama3.1-8b", Scenario="Interactive", Nodes=1, Performance_Result=102907.0,
           Performance_Units="Queries/s", Accelerator="NVIDIA B200-SXM-180GB", weight_data_types="fp4"),
    mlperf(Nodes=1, Accelerator="NVIDIA B200-SXM-180GB", weight_data_types="fp4", Performance_Result=102909.0,
           Power_Result=10400.9988793425, Power_Units="Watts", has_power=True),
    mlperf(Model="resnet", UsedModel="mobilenet-v1-precision_float-1.0-128", Category="open", Nodes=1, Accelerator="",
           **{"a#": ""}, Scenario="MultiStream", weight_data_types="UNSET", inferred=1, Performance_Result=42.19,
           Performance_Units="Latency (ms)", Power_Result=1241.1387806903, Power_Units="millijoules", has_power=True),
]  # fmt: skip
TINY_HEAD = (
    "Organization", "Availability", "Division", "BoardName", "SystemDesc", "Model", "MlperfModel", "Result",
    "ResultUnit", "Accuracy", "HasPower", "Power", "PowerUnit", "HostProcessorModelName", "HostProcessorFrequency",
    "HostProcessorMemory", "AcceleratorModelName", "AcceleratorFrequency", "AcceleratorMemory", "HardwareNotes",
    "InferenceFramework", "SoftwareLibraries", "SoftwareNotes",
)  # fmt: skip
TINY = [
    ["syntiant", "available", "closed", "NDP9120", "syntiant_9120_0v9_30mhz", "kws", "kws", "228.982", "inf./sec.",
     "91.1", "True", "31.537", "uJ/inf.", "HiFi3 + M0", "30.7 MHz", "304KB SRAM", "Syntiant Core 2", "30.7 MHz", "",
     "", "N/A", "", ""],
    ["Qualcomm", "available", "closed", "Snapdragon 8 Gen 3", "Snapdragon_8", "ic", "ic", "6721.999", "inf./sec.",
     "85.5", "False", "0", "uJ/inf.", "Qualcomm Kryo CPU", "3.4 GHz", "", "", "", "", "", "Qualcomm AI Stack", "", ""],
]  # fmt: skip


def row(hardware: str, workload: str, value: object, unit: str, **changes: object) -> dict[str, object]:
    """A row in the columns of the CSV."""
    usual = {
        "n_accel": "1", "software": "", "dtype": "int8", "batch": "1", "scenario": "single inference",
        "metric": "latency", "source": "https://coral.ai/docs/edgetpu/benchmarks", "date": "undated", "note": "",
    }  # fmt: skip
    return {"hardware": hardware, "workload": workload, "value": value, "unit": unit, **usual, **changes}


USB, PCIE = "Coral USB Accelerator (USB 3.0)", "Coral Dev Board (PCIe)"
CORAL = [
    row(USB, "VGG16 (224x224)", 296, "ms"), row(USB, "VGG19 (224x224)", 308, "ms"),
    row(PCIE, "VGG16 (224x224)", 343, "ms"), row(PCIE, "VGG19 (224x224)", 357, "ms"),
    row(USB, "MobileNet v2 (224x224)", 2.6, "ms"),
    row("Desktop CPU (TFLite)", "VGG16 (224x224)", 867, "ms", n_accel="", dtype="TFLite"),
]  # fmt: skip
_NEURON = {"n_accel": "1", "dtype": "bf16", "source": "aws-neuron-sdk", "scenario": "max load"}
_RATE, _P50 = {**_NEURON, "metric": "throughput"}, {**_NEURON, "metric": "latency p50"}
NEURON = [
    row("inf2.xlarge", "bert-base", 1998, "inferences/s", **_RATE, batch="1"),
    row("inf2.xlarge", "bert-base", 0.999, "ms", **_P50, batch="1"),
    row("inf2.xlarge", "resnet50", 4393, "inferences/s", **_RATE, batch="8"),
    row("inf2.xlarge", "resnet50", 7.283, "ms", **_P50, batch="8"),
]
_IGPU = {"source": "OpenVINO 2024.1 benchmark CSV", "batch": "", "scenario": "throughput", "metric": "throughput"}
IGPU = "Intel Core Ultra 7 165H iGPU"
OPENVINO = [
    row(IGPU, "resnet-50", 537.89, "FPS", **_IGPU),
    row(IGPU, "ssd-resnet34-1200", 537.89, "FPS", **_IGPU),
    row(IGPU, "ssd-resnet34-1200", 9.27, "FPS", **_IGPU, dtype="fp16"),
]
"""The second is a copy of the first: 58 times its own rate in fp16."""


def table(*rows: dict[str, object]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def tiny(*rows: list[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([TINY_HEAD, *rows])
    return buffer.getvalue()


def summary(*entries: dict[str, Any]) -> str:
    return json.dumps(entries)
