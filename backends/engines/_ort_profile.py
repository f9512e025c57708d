"""What ONNX Runtime executed, from the trace that its profiler writes. Holds no part.

The trace has an event for each kernel, with the operator after all optimisation, its provider, the types of its inputs
and its time (onnxruntime.ai/docs/performance/tune-performance/profiling-tools.html). Profiling slows a session down, so
it is done in a second one: of the same file, with the same options, on the same provider.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from backends.contract import Executed, Facts
from backends.engines._executed import Kernel, check_again, told

if TYPE_CHECKING:
    Event = Mapping[str, Any]

INTEGER = {
    "ConvInteger", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "MatMulInteger", "MatMulIntegerToFloat",
    "QAttention", "QGemm", "QLinearConv", "QLinearConvTranspose", "QLinearMatMul",
}  # fmt: skip
"""They multiply integers of eight bits, whatever comes in and goes out."""
BY_INPUT = {
    "Attention", "Conv", "ConvTranspose", "Einsum", "FusedConv", "FusedGemm", "FusedMatMul", "FusedMatMulActivation",
    "GRU", "Gemm", "GemmFastGelu", "GroupQueryAttention", "LSTM", "MatMul", "MultiHeadAttention", "NhwcConv",
    "NhwcFusedConv", "RNN", "TransposeMatMul",
}  # fmt: skip
PACKED_WEIGHTS = "MatMulNBits"
WIDTHS = (2, 4, 8)
TYPES = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16", "double": "fp64", "uint8": "int8", "int8": "int8"}
UNPACKED = {"session.disable_prepacking": "1"}
COMPILE_MAX_S = 10.0
"""A second session is all that there is to look at; one that takes longer would hold up the next item for too long."""
RUNS = 5


@dataclass(frozen=True)
class Profiler:
    """`open` gives a session like the timed one: what it takes is done to the options before.

    `timed`: whether a kernel's time in the trace is the device's own; of a GPU it is the host's, of the launch.
    """

    open: Callable[[Callable[[Any], None]], Any]
    path: Path
    timed: bool

    def executed(self, facts: Facts, run: Callable[[Any], object]) -> Executed:
        """What one `run` of a session executes."""
        check_again(facts, self.path, COMPILE_MAX_S)
        events = self._last_run(run, {})
        widths: dict[str, str] = {}
        if any(_hides_weights(event) for event in events):
            widths = {event["name"]: weights_of(event["args"]) for event in self._last_run(run, UNPACKED)}
        kernels = [
            Kernel(
                _name(event["args"]),
                widths.get(event["name"]) or precision_of(event["args"]),
                float(event["dur"]) if self.timed else None,
            )
            for event in events
        ]
        return told("onnxruntime's profile of a second session", kernels)

    def _last_run(self, run: Callable[[Any], object], entries: Mapping[str, str]) -> list[Event]:
        with TemporaryDirectory(prefix="accelmark-profile-") as folder:

            def profiling(options: Any) -> None:
                options.enable_profiling = True
                options.profile_file_prefix = f"{folder}/trace"
                for name, value in entries.items():
                    options.add_session_config_entry(name, value)

            session = self.open(profiling)
            for _ in range(RUNS):
                run(session)
            return last_run(json.loads(Path(session.end_profiling()).read_text()))


def last_run(events: Sequence[Event]) -> list[Event]:
    """Kernels of the last run, each with the least time of all runs: what else the machine did is in no share."""
    began = max((event["ts"] for event in events if event.get("name") == "model_run"), default=0)
    kernels = [event for event in events if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")]
    least: dict[str, float] = {}
    for event in kernels:
        least[event["name"]] = min(event["dur"], least.get(event["name"], event["dur"]))
    return [{**event, "dur": least[event["name"]]} for event in kernels if event["ts"] >= began]


def precision_of(args: Mapping[str, Any]) -> str:
    """What a matrix product or convolution computes in; "" for any other kernel."""
    if args["op_name"] in INTEGER:
        return "int8"
    if args["op_name"] == PACKED_WEIGHTS:
        return weights_of(args)
    return TYPES.get(_first_type(args), "") if args["op_name"] in BY_INPUT else ""


def weights_of(args: Mapping[str, Any]) -> str:
    """ "int4 weights" of MatMulNBits, and "" of other kernels and where the trace does not have its weights.

    Packed weights are uint8 of (columns, blocks, bytes of a block), and the rows are the last size of what comes in;
    of those the last block may have too few, so the width is the largest known one that fits.
    """
    if args["op_name"] != PACKED_WEIGHTS:
        return ""
    shapes = [(kind, shape) for one in args["input_type_shape"] for kind, shape in one.items()]
    packed = next((shape for kind, shape in shapes if kind == "uint8" and len(shape) == 3), None)
    if packed is None:
        return ""
    bits = 8 * packed[1] * packed[2] / shapes[0][1][-1]
    return f"int{max((width for width in WIDTHS if width <= bits), default=min(WIDTHS))} weights"


def _hides_weights(event: Event) -> bool:
    """Weights that a kernel has packed for itself are no longer among its inputs."""
    return bool(event["args"]["op_name"] == PACKED_WEIGHTS and not weights_of(event["args"]))


def _name(args: Mapping[str, Any]) -> str:
    return f"{args['op_name']} {_first_type(args)}".strip()


def _first_type(args: Mapping[str, Any]) -> str:
    return next((kind for one in args["input_type_shape"] for kind in one), "")
