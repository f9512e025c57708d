"""What techniques make, on engines that read no ONNX by themselves: the same artefact, and proof of what it ran in."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.contract import Device, Engine, Plan, Session, Unsupported
from backends.engines import _hlo, _libtpu
from backends.engines.edgetpu import EdgeTpuEngine
from backends.engines.jax import JaxEngine
from backends.engines.litert import LiteRtEngine
from backends.engines.onnxruntime_qnn import OnnxRuntimeQnnEngine
from backends.engines.vela import VelaEngine
from bench import parts
from workloads.contract import Model, Technique, Workload

CPU = Device("cpu", "a processor", {"litert": "cpu", "jax": "cpu"})
BATCH = 2
TREATED = [(VelaEngine(), "tflite_int8"), (EdgeTpuEngine(), "tflite_int8"), (LiteRtEngine(), "tflite")]


def calibrated(name: str) -> Model:
    return parts.find(Workload, name).calibrated()


def treated(name: str, technique: str = "int8-static") -> Model:
    return parts.find(Technique, technique).treat(calibrated(name))


def opened(engine: Engine, model: Model, precision: str) -> Session:
    return engine.compile(model, Plan(precision, BATCH, "latency"), CPU)


def kernels(session: Session, name: str) -> dict[str, int]:
    return dict(session.executed(session.put(parts.find(Workload, name).samples("perf", BATCH, 0).inputs)).kernels)


def error(session: Session, name: str) -> float:
    """Of its answers, against golden, as a part of the largest."""
    workload = parts.find(Workload, name)
    (golden,) = workload.golden().outputs.values()
    (found,) = session.get(session.run(session.put(workload.samples("perf", BATCH, 0).inputs))).values()
    return float(abs(found - golden[:BATCH]).max() / abs(golden).max())


@pytest.mark.edge
def test_int8_static_is_one_file_for_all_that_reads_tflite() -> None:
    plain, model = calibrated("kws"), treated("kws")
    alone = Path(plain.form("tflite_int8")).read_bytes()
    forms = {engine.name: engine.form_of(model, "int8") for engine, _ in TREATED}
    assert forms == {"vela": "tflite_int8", "edgetpu": "edgetpu", "litert": "tflite"}
    for form in ("tflite", "tflite_int8"):  # the compiler of the Edge TPU starts from the latter
        assert Path(model.form(form)).read_bytes() == alone


@pytest.mark.parametrize("engine", [VelaEngine(), EdgeTpuEngine(), OnnxRuntimeQnnEngine()], ids=lambda one: one.name)
def test_estimates_start_from_what_the_precision_alone_does(engine: Engine) -> None:
    """The Edge TPU's file is made of the int8 one; a QDQ graph is the treated model's own."""
    plain, model = calibrated("kws"), treated("kws")
    named = engine.form_of(plain, "int8"), engine.form_of(model, "int8")
    assert named in {("tflite_int8",) * 2, ("edgetpu",) * 2, ("onnx_qdq", "onnx")}


@pytest.mark.asic
def test_vela_estimates_the_same_bytes_either_way() -> None:
    from backends.ethos_u import EthosUBackend

    (device,) = EthosUBackend().probe(["ethos_u:u55-128"]).devices
    plan = Plan("int8", 1, "latency")
    first, second = (VelaEngine().estimate(model, plan, device) for model in (calibrated("kws"), treated("kws")))
    assert first.facts.settings["model_sha256"] == second.facts.settings["model_sha256"]
    assert first.cycles == second.cycles


@pytest.mark.asic
def test_an_htp_is_handed_the_same_graph_either_way() -> None:
    plain, model, engine = calibrated("kws"), treated("kws"), OnnxRuntimeQnnEngine()
    paths = [Path(one.form(engine.form_of(one, "int8"))) for one in (plain, model)]
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.edge
@pytest.mark.parametrize(
    ("technique", "says"),
    [
        ("int4-weights", "MatMulNBits"),
        ("int8-weights", "MatMulNBits"),
        ("int8-dynamic", "DynamicQuantizeLinear, MatMulInteger"),
        ("mixed-bf16", "a .tflite file has its precision in it"),
    ],
)
def test_what_a_tflite_file_has_no_operator_for_is_one_line(technique: str, says: str) -> None:
    precision = parts.find(Technique, technique).precision
    with pytest.raises(Unsupported) as refusal:
        opened(LiteRtEngine(), treated("bytelm-small", technique), precision)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.edge
def test_litert_multiplies_bytes_and_says_whence_it_knows() -> None:
    session = opened(LiteRtEngine(), treated("digits-large"), "int8")
    assert kernels(session, "digits-large") == {"int8": 4}
    told = session.executed(None)
    assert (told.share, "no profile" in told.source, "1 parts" in told.source) == (None, True, True)
    assert told.names["CONV_2D int8 x int8"] == 3
    assert error(session, "digits-large") < 0.05
    assert kernels(opened(LiteRtEngine(), calibrated("digits-large"), "fp32"), "digits-large") == {"fp32": 4}


@pytest.mark.edge
def test_a_network_that_a_technique_made_is_lowered_by_its_origin(tmp_path: Path) -> None:
    """As pruned and distilled ones are: the path of an ONNX file takes the place of the graph's name."""
    model = narrowed(tmp_path / "narrow.onnx")
    plain = opened(LiteRtEngine(), model, "fp32")
    assert plain.get(plain.run(plain.put(IMAGE)))["logits"].tolist() == [[0.0] * 10] * BATCH
    static = parts.find(Technique, "int8-static").treat(model)
    assert opened(LiteRtEngine(), static, "int8").executed(None).kernels == {"int8": 1}
    assert static.recipe == ("halved", "int8-static")


IMAGE = {"x": np.ones((BATCH, 1, 8, 8), np.float32)}


def narrowed(path: Path) -> Model:
    """digits-large with nothing left of it but a dense layer of zeros."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    source = calibrated("digits-large")
    ends = [
        helper.make_tensor_value_info(one.name, TensorProto.FLOAT, ["batch", *one.shape[1:]])
        for one in (*source.inputs, *source.outputs)
    ]
    nodes = [helper.make_node("Flatten", [source.inputs[0].name], ["flat"])]
    nodes += [helper.make_node("Gemm", ["flat", "w", "b"], [source.outputs[0].name])]
    stored = {"w": np.zeros((64, 10), np.float32), "b": np.zeros(10, np.float32)}
    tensors = [numpy_helper.from_array(array, name) for name, array in stored.items()]
    graph = helper.make_graph(nodes, "narrow", ends[:1], ends[1:], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return source.treated("halved", origin=str(path), net=None)


@pytest.mark.tpu
def test_jax_takes_a_quantised_network_and_says_what_xla_makes_of_it() -> None:
    """XLA's CPU multiplies matrices of int8 as such, and widens convolutions to int32: its text says which."""
    session = opened(JaxEngine(), treated("digits-large"), "int8")
    told = kernels(session, "digits-large")
    assert sum(told.values()) == 4
    assert set(told) <= {"int8", "int32"}
    assert session.executed(session.put({"x": IMAGE["x"]})).source == "XLA's optimised program"
    assert error(session, "digits-large") < 0.05
    settings = session.facts.settings
    assert (settings["precision"], settings["dtype"], settings["matmul_precision"]) == ("int8", "float32", "highest")
    assert session.weights_bytes is not None
    assert session.weights_bytes < 0.27 * opened_bytes("digits-large")


def opened_bytes(name: str) -> int:
    return parts.find(Workload, name).card.weight_bytes


@pytest.mark.tpu
def test_jax_multiplies_floats_in_fp32_and_does_not_take_int8_for_granted() -> None:
    assert kernels(opened(JaxEngine(), calibrated("digits-large"), "fp32"), "digits-large") == {"fp32": 4}
    with pytest.raises(Unsupported, match="int8 comes with --technique int8-static"):
        opened(JaxEngine(), calibrated("digits-large"), "int8")


@pytest.mark.tpu
def test_a_tpu_would_multiply_bytes() -> None:
    import jax

    def product(x: Any, y: Any) -> Any:
        return jax.lax.dot(x, y, preferred_element_type=np.int32)

    seen = _libtpu.compile_for(jax, "v5e:1x1", product, [jax.ShapeDtypeStruct((256, 256), np.int8)] * 2)
    assert seen.products == "int8:1"


PROGRAM = """HloModule jit_call, is_scheduled=true
%fused (param_0: s8[256,128], param_1: s8[128,256]) -> s32[256,256] {
  %param_0 = s8[256,128]{1,0} parameter(0)
  %param_1 = s8[128,256]{1,0} parameter(1)
  ROOT %dot.19 = s32[256,256]{1,0} dot(%param_0, %param_1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

ENTRY %main (param_0: f32[2,2], w: s8[2,2]) -> (f32[2,2]) {
  %param_0 = f32[2,2]{1,0} parameter(0)
  %w = s8[2,2]{1,0} parameter(1)
  %wide.1 = f32[2,2]{1,0} convert(%w)
  %both = (f32[2,2]{1,0}, s8[2,2]{1,0}) tuple(%param_0, %w)
  %convolution.4 = s32[1,64,25,5]{1,0,3,2:T(1,128)} convolution(%w, %w), window={size=10x4 stride=2x2}
  %dot.2 = f32[2,2]{1,0} dot(%param_0, %wide.1), lhs_contracting_dims={1}
  %lib = bf16[2,2]{1,0} custom-call(%half, %half), custom_call_target="__onednn$matmul"
  %top = f32[2,2]{1,0} custom-call(%param_0, %w), custom_call_target="TopK"
  ROOT %out = (f32[2,2]{1,0}) tuple(%dot.2)
}
"""


def test_products_are_read_from_xlas_text_by_what_they_multiply() -> None:
    program = PROGRAM.replace("  %wide.1", "  %half = bf16[2,2]{1,0} convert(%w)\n  %wide.1")
    found = _hlo.products(program)
    assert found.kernels == {"int8": 2, "fp32": 1, "bf16": 1}
    assert found.names == Counter(
        {
            "dot s8 x s8 -> s32": 1,
            "convolution s8 x s8 -> s32": 1,
            "dot f32 x f32 -> f32": 1,
            "custom-call bf16 x bf16 -> bf16": 1,
        }
    )


def test_an_operand_that_the_text_does_not_define_is_not_guessed() -> None:
    """The name stands in another computation, where it is another value."""
    assert _hlo.products(PROGRAM).kernels == {"int8": 2, "fp32": 1, "unknown": 1}


@pytest.mark.parametrize(
    ("types", "kind"), [(("f8e4m3fn", "f8e5m2"), "fp8"), (("f32", "bf16"), "bf16 by fp32"), (("s8", "u8"), "int8")]
)
def test_types_have_the_names_of_precisions(types: tuple[str, str], kind: str) -> None:
    lines = [f"  %{name} = {type_}[2,2] parameter(0)" for name, type_ in zip("ab", types, strict=True)]
    assert _hlo.products("\n".join([*lines, "  %c = f32[2,2] dot(%a, %b)"])).kernels == {kind: 1}
