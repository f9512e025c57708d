"""The house rules that a machine can keep: who imports whom, what stays outside, how long things may get."""

from __future__ import annotations

import ast
import builtins
import json
import re
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("workloads", "backends", "results", "bench")
MAY_IMPORT = {"workloads": (), "backends": ("workloads.contract",), "results": (), "bench": ROOMS}
SHELVES = (
    "workloads.models",
    "workloads.techniques",
    "backends",
    "backends.engines",
    "backends.meters",
    "results.exports",
)
NOT_PARTS = ("contract", "__init__")
VENDORS = frozenset(
    """ai_edge_litert habana_frameworks jax jaxlib libtpu neuronxcc nncf onnx onnx_ir onnxruntime onnxscript openvino
    pycoral pynvml qaic sklearn tensorflow tensorrt tflite_runtime torch torch_neuronx torch_xla torchao transformers
    vllm""".split()  # noqa: SIM905 - forty quoted words read worse
)
DEVELOPER_TOOLS = frozenset({"workloads.rebuild", "workloads.retrain", "workloads.train", "workloads.data.prepare"})
PARENT_ONLY = frozenset({"jinja2", "matplotlib", "pandas", "pydantic", "pytest", "results", "rich"})
FILE_LINES, FUNCTION_LINES = 400, 60


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def sources(*rooms: str) -> list[Path]:
    return sorted(path for room in rooms or ROOMS for path in (ROOT / room).rglob("*.py"))


def imports(tree: ast.AST, module: str) -> Iterator[str]:
    """Dotted names that a module imports anywhere; `from a import b` counts as a.b, as b may be a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(module.split(".")[: -node.level]) if node.level else ""
            source = ".".join(filter(None, (base, node.module)))
            yield from (f"{source}.{alias.name}" for alias in node.names)


def worker_side() -> list[Path]:
    """What may run in a worker: both rooms of parts, and every module of ours that bench.worker reaches."""
    reached: set[Path] = set()
    waiting = [ROOT / "bench/worker.py"]
    while waiting:
        path = waiting.pop()
        reached.add(path)
        names = set(imports(ast.parse(path.read_text(encoding="utf-8")), module_name(path)))
        waiting += [one for one in sources() if one not in reached and any(inside(n, module_name(one)) for n in names)]
    parts = {path for path in sources("workloads", "backends") if module_name(path) not in DEVELOPER_TOOLS}
    return sorted(reached | parts)


def at_import_time(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes that run when the module is imported: no function bodies, nothing under TYPE_CHECKING, no annotations."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield child
        if isinstance(child, ast.AnnAssign):
            if child.value is not None:
                yield from at_import_time(child.value)
                yield child.value
            continue
        yield from at_import_time(child)


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def parts_of(shelf: str) -> set[str]:
    """Modules of a shelf that are parts: public files, no packages."""
    files = (ROOT / shelf.replace(".", "/")).glob("*.py")
    return {f"{shelf}.{file.stem}" for file in files if file.stem not in NOT_PARTS and not file.stem.startswith("_")}


@pytest.fixture(scope="module")
def trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sources()}


def test_rooms_import_only_what_they_may(trees: dict[Path, ast.Module]) -> None:
    wrong = [
        f"{module_name(path)} imports {name}"
        for path, tree in trees.items()
        for name in imports(tree, module_name(path))
        if (room := name.split(".")[0]) in ROOMS
        and room != (own := module_name(path).split(".")[0])
        and not any(inside(name, allowed) for allowed in MAY_IMPORT[own])
    ]
    assert wrong == []


def test_no_vendor_library_is_imported_at_module_level(trees: dict[Path, ast.Module]) -> None:
    wrong = [
        f"{module_name(path)} imports {name}"
        for path, tree in trees.items()
        for node in at_import_time(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in imports(ast.Module([node], []), module_name(path))
        if name.split(".")[0] in VENDORS
    ]
    assert wrong == []


def test_importing_every_module_loads_no_vendor_library() -> None:
    """In a fresh process, so that no other test has loaded one; an import guarded by try is seen as well."""
    script = """
        import importlib, json, sys
        wanted, modules, vendors = [], json.loads(sys.argv[1]), set(json.loads(sys.argv[2]))

        class Watch:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in vendors:
                    wanted.append(name)
                return None

        sys.meta_path.insert(0, Watch())
        for module in modules:
            seen = len(wanted)
            importlib.import_module(module)
            wanted[seen:] = [f"{module} loads {name}" for name in wanted[seen:]]
        print(json.dumps(wanted))
    """
    modules = [module_name(path) for path in sources() if path.stem != "__main__"]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), json.dumps(modules), json.dumps(sorted(VENDORS))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_parts_of_a_shelf_never_import_each_other(trees: dict[Path, ast.Module]) -> None:
    wrong = [
        f"{module} imports {name}"
        for shelf in SHELVES
        for path, tree in trees.items()
        if (module := module_name(path)) in (parts := parts_of(shelf))
        for name in imports(tree, module)
        if any(inside(name, part) for part in parts - {module})
    ]
    assert wrong == []


def test_nobody_names_a_part_of_a_shelf(trees: dict[Path, ast.Module]) -> None:
    """Parts are discovered; the tools that make committed files know whose they make."""
    parts = {part for shelf in SHELVES for part in parts_of(shelf)}
    wrong = [
        f"{module_name(path)} imports {name}"
        for path, tree in trees.items()
        if module_name(path) not in DEVELOPER_TOOLS
        for name in imports(tree, module_name(path))
        if any(inside(name, part) for part in parts)
    ]
    assert wrong == []


@pytest.mark.parametrize("path", worker_side(), ids=module_name)
def test_worker_side_keeps_to_python_39_and_to_its_few_libraries(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 9))
    foreign = {name for name in imports(tree, module_name(path)) if name.split(".")[0] in PARENT_ONLY}
    assert foreign == set()
    if any(isinstance(node, ast.AnnAssign | ast.FunctionDef) for node in ast.walk(tree)):
        assert "from __future__ import annotations" in source
    assert list(runtime_39_errors(tree)) == []


def runtime_39_errors(tree: ast.Module) -> Iterator[str]:
    """What the grammar of 3.9 accepts and its runtime does not."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in ("isinstance", "issubclass") and any(isinstance(arg, ast.BinOp) for arg in node.args):
                yield f"line {node.lineno}: {name} with X | Y"
            if name.endswith("dataclass") and {"slots", "kw_only"} & {word.arg for word in node.keywords}:
                yield f"line {node.lineno}: dataclass(slots=, kw_only=) came with 3.10"
            if name == "zip" and "strict" in {word.arg for word in node.keywords}:
                yield f"line {node.lineno}: zip(strict=) came with 3.10"
    for node in at_import_time(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr) and _names_a_type(node):
            yield f"line {node.lineno}: {ast.unparse(node)} is evaluated when imported"


def _names_a_type(node: ast.BinOp) -> bool:
    names = {leaf.id for leaf in ast.walk(node) if isinstance(leaf, ast.Name)}
    empty = any(isinstance(leaf, ast.Constant) and leaf.value is None for leaf in ast.walk(node))
    return empty or any(name in dir(builtins) or (name[0].isupper() and not name.isupper()) for name in names)


def test_importing_the_worker_needs_no_library_of_the_parent() -> None:
    script = "import sys, bench.worker; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert PARENT_ONLY & set(done.stdout.split()) == set()


@pytest.mark.parametrize(
    ("source", "complaints"),
    [
        ("Setting = str | int", 1),
        ("if TYPE_CHECKING:\n    Setting = str | int", 0),
        ("def f(x: int | None) -> None: ...", 0),
        ("x: int | None = None", 0),
        ("FLAGS = READ | WRITE", 0),
        ("Done = Callable[[int | None], None]", 1),
        ("class A:\n    alias = dict[str, int | None]", 1),
        ("def f(x):\n    return isinstance(x, int | str)", 1),
        ("@dataclass(frozen=True, slots=True)\nclass A: ...", 1),
    ],
)
def test_the_39_check_sees_what_it_should(source: str, complaints: int) -> None:
    assert len(list(runtime_39_errors(ast.parse(source)))) == complaints


def own_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Without functions and classes inside: networks are classes in functions, as torch is imported there."""
    inner = [n for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    spans = [(n.end_lineno or n.lineno) - n.lineno + 1 for n in (node, *inner)]
    return spans[0] - sum(spans[1:])


def test_files_and_functions_stay_short(trees: dict[Path, ast.Module]) -> None:
    long_files = [
        f"{module_name(path)}: {lines} lines"
        for path in trees
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > FILE_LINES
    ]
    long_functions = [
        f"{module_name(path)}:{node.lineno} {node.name}: {lines} lines"
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (lines := own_lines(node)) > FUNCTION_LINES
    ]
    assert long_files + long_functions == []


def test_tests_hide_no_room() -> None:
    """A package tests/bench/ would be imported instead of bench/ in pytest's default import mode."""
    assert [str(path) for room in ROOMS for path in (ROOT / "tests").rglob(f"{room}/__init__.py")] == []


def requirements() -> dict[str, list[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {"": project["dependencies"], **project["optional-dependencies"]}


def distribution(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement)[0].replace("-", "_").lower()


def test_no_extra_resolves_to_a_foreign_package() -> None:
    """On the public index these names are somebody else's: a tool for coral reefs, and placeholders."""
    foreign = {"pycoral", "neuronx_cc", "torch_neuronx", "libneuronxla", "jax_neuronx", "neuronperf", "edgetpu"}
    asked = {
        f"{extra}: {one}"
        for extra, several in requirements().items()
        for one in several
        if distribution(one) in foreign
    }
    assert asked == set()


def test_core_has_no_engine_and_no_extra_has_both_onnxruntimes() -> None:
    wanted = {extra: {distribution(one) for one in several} for extra, several in requirements().items()}
    assert wanted[""] & VENDORS == set()
    runtimes = {"onnxruntime", "onnxruntime_gpu"}
    assert [extra for extra, several in wanted.items() if runtimes <= several] == []


def test_constraints_pin_everything_that_an_extra_names() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {distribution(line) for line in lines if "==" in line}
    wanted = {distribution(one) for several in requirements().values() for one in several}
    assert wanted - pinned - {"onnxruntime_gpu"} == set()
