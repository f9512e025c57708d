from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backends.contract import Backend, Engine
from bench import parts
from bench.parts import Found, PartError
from workloads.contract import Workload

BACKEND = """
from abc import abstractmethod
from backends.contract import Backend, Presence
from tests_elsewhere import Imported

class Acme(Backend):
    name = "acme"
    def probe(self, targets=()):
        return Presence("absent")

class _Helper(Acme):
    name = "helper"

class Base(Acme):
    name = "base"
    @abstractmethod
    def more(self): ...
"""
ELSEWHERE = """
from backends.contract import Backend, Presence
class Imported(Backend):
    name = "imported"
    def probe(self, targets=()):
        return Presence("absent")
"""
PLAIN = """
from backends.contract import Backend, Presence
class Plain(Backend):
    name = "{name}"
    def probe(self, targets=()):
        return Presence("absent")
"""

Package = Callable[[dict[str, str]], str]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    """Writes modules into a package of their own, and gives its name."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(modules: dict[str, str]) -> str:
        name = f"shelf_{os.urandom(4).hex()}"
        for file, text in {"__init__.py": "", **modules}.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        return name

    (tmp_path / "tests_elsewhere.py").write_text(ELSEWHERE)
    yield write
    for name in set(sys.modules) - before:
        if name.startswith(("shelf_", "tests_elsewhere")):
            del sys.modules[name]


def test_only_public_concrete_classes_defined_in_the_module_are_parts(package: Package) -> None:
    found = parts.discover(Backend, package({"acme.py": BACKEND}))
    assert [(one.name, one.error) for one in found] == [("acme", None)]


def test_a_module_that_fails_to_import_is_listed_with_its_exception(package: Package) -> None:
    found = parts.discover(
        Backend, package({"broken.py": "import nothing_like_this", "good.py": PLAIN.format(name="a")})
    )
    assert [one.name for one in found] == ["broken", "a"]
    assert found[0].part is None
    assert found[0].error == "ModuleNotFoundError: No module named 'nothing_like_this'"
    assert found[0].file.endswith("broken.py")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("def __init__(self, needed): ...", "TypeError"),
        ("def __init__(self): raise RuntimeError('no luck')", "RuntimeError: no luck"),
        ("name = property(lambda self: 1 / 0)", "ZeroDivisionError"),
    ],
)
def test_a_class_that_cannot_be_made_is_listed_with_its_exception(package: Package, body: str, error: str) -> None:
    text = f"from backends.contract import Backend\nclass Half(Backend):\n    {body}\n    def probe(self, t=()): ...\n"
    (found,) = parts.discover(Backend, package({"half.py": text}))
    assert found.part is None
    assert error in str(found.error)


def test_a_file_whose_only_class_lacks_a_method_is_listed_with_what_it_lacks(package: Package) -> None:
    text = "from backends.contract import Engine\nclass Half(Engine):\n    name = 'half-made'\n"
    name = package({"half_made.py": text})
    (found,) = parts.discover(Engine, name)
    assert (found.name, found.part, found.error) == ("half_made", None, "Half lacks available, compile")
    assert parts.discover(Backend, name) == []
    with pytest.raises(
        PartError, match=r"^engine half-made cannot be loaded: Half lacks available, compile \(.*half_made"
    ):
        parts.find(Engine, "half-made", (name,))


def test_contracts_private_modules_and_sub_packages_are_no_shelf(package: Package) -> None:
    text = PLAIN.format(name="a")
    modules = {"contract.py": text, "_shared.py": text, "deeper/__init__.py": text, "deeper/b.py": text}
    assert parts.discover(Backend, package(modules)) == []


def test_a_package_may_hold_parts_of_any_kind(package: Package) -> None:
    name = package({"acme.py": PLAIN.format(name="acme")})
    assert "acme" in [one.name for one in parts.collect(Backend, (name,))]
    assert "acme" not in [one.name for one in parts.collect(Engine, (name,))]


def test_a_name_that_two_parts_share_is_an_error_that_names_both_files(package: Package) -> None:
    name = package({"one.py": PLAIN.format(name="same"), "two.py": PLAIN.format(name="same")})
    with pytest.raises(PartError, match=r"two backends are named same: .*one\.py and .*two\.py"):
        parts.collect(Backend, (name,))


def test_finding_imports_the_file_that_is_named_like_the_part_and_no_other(package: Package) -> None:
    text = PLAIN.format(name="acme-large")
    name = package({"aaa.py": "raise SystemError('imported for nothing')", "acme.py": text, "zzz.py": "1 / 0"})
    assert parts.find(Backend, "acme-large", (name,)).name == "acme-large"
    assert f"{name}.acme" in sys.modules
    assert not {f"{name}.aaa", f"{name}.zzz"} & set(sys.modules)


def test_finding_goes_on_past_a_broken_file(package: Package) -> None:
    name = package({"acme.py": "1 / 0", "other.py": PLAIN.format(name="acme")})
    assert parts.find(Backend, "acme", (name,)).name == "acme"


def test_an_unknown_name_lists_the_names_and_suggests_a_close_one(package: Package) -> None:
    name = package({"acme.py": PLAIN.format(name="acme")})
    with pytest.raises(PartError) as caught:
        parts.find(Backend, "acne", (name,))
    assert "unknown backend acne (did you mean acme?); there are: acme" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_broken_part_that_is_asked_for_answers_with_its_own_error(package: Package) -> None:
    name = package({"acme.py": "raise RuntimeError('line one\\nline two')"})
    with pytest.raises(PartError, match=r"backend acme cannot be loaded: RuntimeError: line one \("):
        parts.find(Backend, "acme", (name,))


def test_a_package_that_is_not_there_is_one_line(package: Package) -> None:
    with pytest.raises(PartError, match="parts package no_such_package cannot be imported: ModuleNotFoundError"):
        parts.collect(Backend, ("no_such_package",))


def test_our_own_shelves_load_without_an_error() -> None:
    found: list[Found[object]] = [
        one
        for base in (Workload, Backend, Engine)
        for one in parts.collect(base)  # type: ignore[type-abstract]
    ]
    assert [f"{one.file}: {one.error}" for one in found if one.error] == []
    assert {"cpu", "onnxruntime", "resnet50"} <= {one.name for one in found}


def test_loading_every_part_imports_no_vendor_library() -> None:
    program = """
import sys
from backends.contract import Backend, Engine
from bench import parts
from workloads.contract import Workload
for base in (Workload, Backend, Engine):
    parts.collect(base)
heavy = {"torch", "onnx", "onnxruntime", "openvino", "pandas", "matplotlib", "pydantic", "jax", "tensorrt", "sklearn"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
