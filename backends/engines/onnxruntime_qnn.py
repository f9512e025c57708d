"""Qualcomm's HTP, simulated: what an x86 build of its compiler and kernels answers, and never how fast.

The package brings proprietary libraries under Qualcomm's AI Stack License, so it is an extra of its own.
"""

from __future__ import annotations

import hashlib
import platform
import time
from pathlib import Path
from typing import Any

from backends._providers import Provider
from backends.contract import Device, Engine, Estimate, Facts, Model, Plan, Presence, Session, Setting, Unsupported
from backends.engines._onnxruntime import OPERATORS_SHOWN, HostSession, numbers, open_session, placement, usable
from backends.engines._tuning import CHECKOUT, check_options, check_precision, installed, unreachable

PROVIDER = "QNNExecutionProvider"
PACKAGE = "onnxruntime-qnn"
OLDEST = (2, 7)
"""The release that was tried; those before 2.0 replaced onnxruntime instead of extending it."""
FP16_FROM = 73
"""For v68 the simulator runs a graph in fp32 in fp32 indeed (the error on kws is 4e-7, where v73's is 6e-4), which the
chip has no arithmetic for; for v69 it answers kws wrongly in fp16 (a centred cosine of -0.4). Seen with QAIRT 2.51."""
ACTIVATIONS = ("Relu", "Clip")
NO_ARITHMETIC = ("Constant", "DequantizeLinear", "QuantizeLinear")
TENSOR_FLOAT, TENSOR_FLOAT16, TENSOR_BFLOAT16 = 1, 10, 16
"""Of onnx.TensorProto.DataType."""
CAVEAT = "the simulator computes what the chip would; no time, clock or memory of it means anything for the chip"
NO_TIME = "the simulator's time is the host's"
NOT_SAID = "the simulator does not say"
MISSING = {
    **dict.fromkeys(("latency_ns", "cycles", "clock_mhz"), NO_TIME),
    **dict.fromkeys(("flops", "memory_peak_bytes", "memory_limit_bytes", "sram_peak_bytes", "weights_bytes"), NOT_SAID),
}


class OnnxRuntimeQnnEngine(Engine):
    """No options: what the provider could be told more bears on speed or memory, of which nothing is known here.

    int8 is a QDQ graph, fp16 the graph in fp32, which an HTP runs in fp16 as it has no fp32.
    """

    name = "onnxruntime_qnn"

    def form_for(self, precision: str) -> str:
        return {"int8": "onnx_qdq", "fp16": self.form}.get(precision, "")

    def available(self, device: Device) -> Presence:
        if self.name not in device.address:
            if device.backend != "qualcomm":
                return unreachable(self.name, device.name)
            why = f"{self.name} simulates an HTP, and accelmark has no engine for {device.name}"
            return Presence("absent", why, "simulate one: --target qualcomm:htp-v75")
        if platform.machine() not in ("x86_64", "AMD64"):
            why = f"the simulator is part of {PACKAGE} for x86-64 only, and this is {platform.machine()}"
            return Presence("absent", why, "run on x86-64 Linux; a board's own HTP is not driven yet")
        if (version := installed(PACKAGE)) is None:
            return Presence("absent", f"{self.name} needs the package {PACKAGE}", CHECKOUT.format(extra="qualcomm"))
        if numbers(version) < OLDEST:
            return Presence("broken", f"{PACKAGE} {version} is older than 2.7", f"pip install -U {PACKAGE}")
        return usable(self.name, "qualcomm")

    def compile(self, model: Model, plan: Plan, device: Device) -> Session:
        raise Unsupported(f"{self.name} only simulates: nothing here runs on {device.name}")

    def estimate(self, model: Model, plan: Plan, device: Device) -> Estimate:
        """`compile_ns` loads the plug-in, partitions, compiles for the HTP and prepares the simulator."""
        arch, soc_model = device.address[self.name].split(":")
        check_options(self.name, plan, ())
        check_precision(self.name, plan, ("int8", "fp16"), "an HTP has no other arithmetic that is simulated")
        path = Path(model.form(self.form_of(model, plan.precision)))
        started = time.monotonic_ns()
        import onnxruntime
        import onnxruntime_qnn

        imported = time.monotonic_ns()
        proto = _checked(path, plan, int(arch))
        told = {"htp_arch": arch, "soc_model": soc_model, "backend_path": onnxruntime_qnn.get_qnn_htp_path()}
        told |= {"enable_htp_fp16_precision": "1", "offload_graph_io_quantization": "0"}
        provider = Provider(PROVIDER, told, library=onnxruntime_qnn.get_library_path())
        session = open_session(onnxruntime, str(path), _options(onnxruntime, proto, plan), provider, strict=True)
        qairt = onnxruntime_qnn.build_and_package_info.qnn_version
        settings: dict[str, Setting] = {
            "precision": plan.precision,
            "htp_arch": f"v{arch}",
            "soc_model": soc_model,
            "qairt": qairt,
            "onnxruntime": onnxruntime.__version__,
            "graph_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "in_fp16": ", ".join(floating(proto)) or "none",
        }
        compile_ns = time.monotonic_ns() - imported
        facts = Facts(settings, placement(session, PROVIDER, device), imported - started, None, compile_ns)
        return Estimate(
            "simulator",
            f"HTP simulator of {PACKAGE} {onnxruntime_qnn.__version__} (QAIRT {qairt})",
            facts,
            CAVEAT,
            HostSession(session, facts),
            fallback_operators=0,
            missing=MISSING,
        )


def floating(proto: Any) -> list[str]:
    """Kinds of operators of an onnx.ModelProto that compute in floats: not all that they read and write is quantised.

    An activation may stand behind an operator: both are computed together.
    """
    import onnx

    graph = onnx.shape_inference.infer_shapes(proto).graph
    types = {one.name: one.data_type for one in graph.initializer}
    types |= {one.name: one.type.tensor_type.elem_type for one in (*graph.input, *graph.value_info, *graph.output)}
    floats = {name for name, kind in types.items() if kind in (TENSOR_FLOAT, TENSOR_FLOAT16, TENSOR_BFLOAT16)}
    read_from = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    ends = {one.name for one in graph.output}
    found = set()
    for node in (one for one in graph.node if one.op_type not in NO_ARITHMETIC):
        behind = node.op_type in ACTIVATIONS
        plain = [name for name in node.input if name in floats and name not in read_from and not behind]
        kept = [name for name in node.output if name in floats and (name in ends or not _quantised(graph, name))]
        if plain or kept:
            found.add(node.op_type)
    return sorted(found)


def _quantised(graph: Any, name: str) -> bool:
    """Whether all that reads a value quantises it, at once or behind an activation."""
    readers = [node for node in graph.node if name in node.input]
    return all(
        node.op_type == "QuantizeLinear" or (node.op_type in ACTIVATIONS and _quantised(graph, node.output[0]))
        for node in readers
    )


def _checked(path: Path, plan: Plan, arch: int) -> Any:
    """The graph without its weights; raises Unsupported for floats that the simulator is wrong about."""
    import onnx

    proto = onnx.load(path, load_external_data=False)
    if arch < FP16_FROM and (floats := floating(proto)):
        kinds = ", ".join(floats[:OPERATORS_SHOWN])
        raise Unsupported(
            f"the simulator's fp16 is right from v{FP16_FROM} on only: in {plan.precision}, {kinds} need it"
        )
    return proto


def _options(onnxruntime: Any, proto: Any, plan: Plan) -> Any:
    """An HTP takes fixed sizes only, so the sample axis, whatever it is called, becomes the batch."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    for value in proto.graph.input:
        sizes = value.type.tensor_type.shape.dim
        if free := [size.dim_param or "?" for size in sizes[1:] if not size.HasField("dim_value")]:
            raise Unsupported(f"an HTP needs fixed sizes, and {', '.join(free)} of {value.name} is free")
        if sizes and sizes[0].dim_param:
            options.add_free_dimension_override_by_name(sizes[0].dim_param, plan.batch)
    return options
