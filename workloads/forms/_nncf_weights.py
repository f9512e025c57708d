"""OpenVINO's IR with weights that NNCF compressed. Builds no form itself.

NNCF can write ONNX too, but NNCF 3.4 gives int8 scales of one dimension too many, which neither ONNX Runtime 1.31 nor
OpenVINO 2026.4 reads, and multiplies by an embedding that should be looked up.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workloads.contract import Model, Unsupported
from workloads.forms._cache import cached
from workloads.forms._matrices import matrices, refuse_crumbs
from workloads.forms._nncf import quiet
from workloads.forms._packages import installed
from workloads.forms._source import whole

VERSION = 1
"""Goes up with every change of what is written, as files are kept between runs."""
MODES: Mapping[str, Mapping[str, Any]] = {
    "int8": {"mode": "int8_sym"},
    "int4": {"mode": "int4_sym", "group_size": 32, "ratio": 1.0, "all_layers": True},
}
"""Symmetric, as MatMulNBits beside it. What cannot be grouped by 32, and tables of embeddings, NNCF keeps in int8."""


def build(model: Model, precision: str) -> Path:
    """The path of the .xml file, its weights in a .bin file beside it, in the cache."""
    form = f"openvino_{precision}_weights"
    tools = installed(form, "techniques", "nncf", "openvino", "onnx")
    source = Path(model.form("onnx"))

    def make(to: Path) -> None:
        proto = whole(source, form)
        refuse_crumbs(proto.graph, matrices(proto.graph, "compress"))
        compress(proto, precision, to)
        to.with_suffix(".bin").replace(to.with_name(f"{model.name}.bin"))

    return cached(model, form, (VERSION, *tools), f"{model.name}.xml", make)


def compress(proto: Any, precision: str, to: Path) -> None:
    """Write the graph to `to`, which ends in .xml, and its weights beside it; raises what NNCF raises."""
    import openvino

    del proto.graph.value_info[:]
    graph = openvino.Core().read_model(proto.SerializeToString())
    how = MODES[precision]
    with quiet() as nncf:
        made = nncf.compress_weights(graph, **{**how, "mode": nncf.CompressWeightsMode(how["mode"])})
    openvino.save_model(made, to, compress_to_fp16=False)


def refuse(name: str) -> object:
    raise Unsupported(f"{name} makes OpenVINO's IR, which only openvino loads: use {name.removesuffix('-nncf')}")
