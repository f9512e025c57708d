"""An Edge TPU without its chip: a delegate that LiteRT really loads, a compiler's stand-in, and Coral's own package.

The delegate takes the operators that the real one takes, one by one, and copies its input to its output: right for a
network that gives what it gets. Layouts: tensorflow/lite/core/c/common.h; behaviour: libedgetpu's tflite/.
"""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from pathlib import Path

from workloads.contract import Model, TensorSpec

DELEGATE = r"""
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
typedef struct { int size; int data[]; } Ints;
typedef struct { int type; void *data; Ints *dims; struct { float scale; int32_t zero; } params; int allocation;
  size_t bytes; const void *source; const char *name; void *delegate; int handle; bool stale, variable;
  struct { int type; void *params; } quantization; void *sparsity; const Ints *signature; } Tensor;
typedef struct { Ints *inputs, *outputs; } Node;
typedef struct Context Context;
typedef struct { void *(*init)(Context *, const char *, size_t); void (*free)(Context *, void *);
  int (*prepare)(Context *, Node *); int (*invoke)(Context *, Node *);
  const char *(*profile)(const Context *, const Node *); int32_t builtin; const char *custom_name; int version;
  void *external; void *async; uint64_t inplace; } Registration;
typedef struct Delegate Delegate;
struct Context { size_t count; int (*plan)(Context *, Ints **); Tensor *tensors; void *impl;
  int (*resize)(Context *, Tensor *, Ints *); void (*report)(Context *, const char *, ...);
  int (*add)(Context *, int, int *); int (*node)(Context *, int, Node **, Registration **);
  int (*replace)(Context *, Registration, const Ints *, Delegate *); };
struct Delegate { void *data; int (*prepare)(Context *, Delegate *); void *from, *to, *free; int64_t flags;
  void *opaque; };
static int ready(Context *c, Node *n) { return 0; }
static int copy(Context *c, Node *n) {
  Tensor *in = &c->tensors[n->inputs->data[0]], *out = &c->tensors[n->outputs->data[0]];
  memcpy(out->data, in->data, out->bytes); return 0; }
static int prepare(Context *c, Delegate *d) {
  Ints *plan; if (c->plan(c, &plan)) return 1;
  Ints *taken = calloc(1, sizeof(int) * (1 + plan->size));
  for (int i = 0; i < plan->size; i++) { Node *n; Registration *r;
    if (c->node(c, plan->data[i], &n, &r)) return 1;
    if (r->custom_name && !strcmp(r->custom_name, TAKES)) taken->data[taken->size++] = plan->data[i]; }
  Registration r = {.prepare = ready, .invoke = copy, .custom_name = "EdgeTpuDelegateForCustomOp", .version = 1};
  int status = taken->size ? c->replace(c, r, taken, d) : 0; free(taken); return status; }
const char *edgetpu_version(void) { return "a fake of 2026"; }
Delegate *tflite_plugin_create_delegate(char **k, char **v, size_t n, void (*error)(const char *)) {
  for (size_t i = 0; i < n; i++) {
    if (!strcmp(k[i], "device") && strcmp(v[i], "usb:0")) { error("no chip there"); return 0; }
    if (!strcmp(k[i], "Performance") && strcmp(v[i], "Max") && strcmp(v[i], "Low")) return 0; }
  Delegate *d = calloc(1, sizeof *d); d->prepare = prepare; d->flags = 1; return d; }
void tflite_plugin_destroy_delegate(Delegate *d) { free(d); }
"""
COMPILER = """#!{python}
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.fakes.fake_edgetpu import as_compiled
if sys.argv[1:] == ["--version"]:
    print("Edge TPU Compiler version 16.0.384591198")
    sys.exit()
assert sys.argv[1:3] == ["--show_operations", "--out_dir"], sys.argv
folder, source = map(Path, sys.argv[3:])
if {refusal!r}:
    sys.exit({refusal!r})
(folder / f"{{source.stem}}_edgetpu.tflite").write_bytes(as_compiled(source.read_bytes()))
"""
PYCORAL = '''"""What coral.ai documents of pycoral.utils.edgetpu, over LiteRT and the fake library."""
from ai_edge_litert import interpreter as tflite
def get_runtime_version():
    return "a fake of 2026"
def make_interpreter(model_path_or_content, device=None, delegate=None):
    delegates = [delegate or tflite.load_delegate({library!r}, {{"device": device}} if device else {{}})]
    kernels = tflite.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return tflite.Interpreter(
        model_path=model_path_or_content, experimental_delegates=delegates, experimental_op_resolver_type=kernels)
'''


def compile_library(folder: Path, takes: str = "edgetpu-custom-op") -> Path:
    """libedgetpu.so.1 in `folder`, which takes operators of that name."""
    if (compiler := shutil.which("cc")) is None:
        raise RuntimeError("no C compiler makes the delegate: apt-get install build-essential")
    source, library = folder / "delegate.c", folder / "libedgetpu.so.1"
    source.write_text(f'#define TAKES "{takes}"\n{DELEGATE}')
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True, capture_output=True)
    return library


def install_compiler(folder: Path, refusal: str = "") -> None:
    """An edgetpu_compiler in `folder`, which fails with `refusal` if there is one."""
    program = folder / "edgetpu_compiler"
    root = str(Path(__file__).parents[2])
    program.write_text(COMPILER.format(python=sys.executable, root=root, refusal=refusal))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def install_pycoral(folder: Path, library: Path) -> None:
    utils = folder / "pycoral/utils"
    utils.mkdir(parents=True)
    for package in (utils, utils.parent):
        (package / "__init__.py").touch()
    (utils / "edgetpu.py").write_text(PYCORAL.format(library=str(library)))


def as_compiled(data: bytes, left: int = 0) -> bytes:
    """An INT8 file as the compiler leaves it: one operator in the place of all but the first `left`."""
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    from workloads.forms._tflite.file import packed, unpacked

    model = unpacked(schema, data)
    graph = model.subgraphs[0]
    code, operator = schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode, code.version = "edgetpu-custom-op", 1
    operator.opcodeIndex = len(model.operatorCodes)
    operator.inputs = graph.operators[left].inputs[:1]
    operator.outputs, operator.customOptions = graph.outputs, np.zeros(16, np.uint8)
    model.operatorCodes.append(code)
    graph.operators = [*graph.operators[:left], operator]
    return packed(model)


def echo(folder: Path) -> Model:
    """A network that gives what it gets: x (n, 2, 4, 4) in -1 to 1, negated twice by convolutions of one channel."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from workloads.contract import Samples

    shape = ["batch", 2, 4, 4]
    minus = -np.eye(2, dtype=np.float32).reshape(2, 2, 1, 1)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "minus"], ["m"]), helper.make_node("Conv", ["m", "minus"], ["y"])],
        "echo",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(minus, "minus")],
    )
    path = folder / "echo.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)

    def calibration(n: int) -> Samples:
        return Samples({"x": np.random.default_rng(1).uniform(-1, 1, (n, 2, 4, 4)).astype(np.float32)})

    specs = (TensorSpec("x", "float32", (None, 2, 4, 4)),), (TensorSpec("y", "float32", (None, 2, 4, 4)),)
    return Model("echo", f"echo of {__name__}", *specs, origin=str(path), calibration=calibration)
