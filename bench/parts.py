"""Finds parts on their shelves: one file is one part, or one family of them, and nothing is registered anywhere.

A part is a concrete class of a shelf's module, public, defined there, that subclasses the shelf's base and is made
without arguments. A module whose classes are all abstract is listed with what the first of them lacks.

Workers use this too, so it needs the standard library only and keeps to the syntax of Python 3.9.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Generic, TypeVar

from backends.contract import Backend, Engine, Meter
from workloads.contract import Technique, Workload

SHELVES: dict[type, str] = {
    Workload: "workloads.models",
    Technique: "workloads.techniques",
    Backend: "backends",
    Engine: "backends.engines",
    Meter: "backends.meters",
}
ENTRY_POINTS = "accelmark.parts"
"""Entry-point group of installed packages that bring parts of any kind; an entry's value is a package's name."""

T = TypeVar("T")


class PartError(ValueError):
    """A part that was asked for cannot be had; the message is one line that says why and what there is."""


@dataclass(frozen=True)
class Found(Generic[T]):
    """A part, or the reason why its module gave none: then `part` is None and `name` is the module's."""

    name: str
    part: T | None
    error: str | None
    file: str


def kind(base: type) -> str:
    """What a shelf's parts are called in messages: "workload", "technique", "backend", "engine", "meter"."""
    return base.__name__.lower()


def discover(base: type[T], package: str) -> list[Found[T]]:
    """Every part in the modules of `package`, in the order of their files; what fails to import is listed too."""
    return [found for name in _modules(package) for found in _parts(base, name)]


def collect(base: type[T], extra: Sequence[str] = ()) -> list[Found[T]]:
    """Every part of the shelf of `base` and of the packages `extra`; raises PartError where two share a name."""
    everything = [found for package in (SHELVES[base], *extra) for found in discover(base, package)]
    seen: dict[str, Found[T]] = {}
    for found in everything:
        other = seen.setdefault(found.name, found)
        if other is not found and found.part is not None and other.part is not None:
            raise PartError(f"two {kind(base)}s are named {found.name}: {other.file} and {found.file}; rename one")
    return everything


def find(base: type[T], name: str, extra: Sequence[str] = ()) -> T:
    """The part called `name`, importing as few modules as it takes: the files named most like it come first."""
    wanted = name.replace("-", "_").lower()
    modules = [module for package in (SHELVES[base], *extra) for module in _modules(package)]
    modules.sort(key=lambda module: -_common_prefix(module.rpartition(".")[2], wanted))
    missed: list[Found[T]] = []
    for module in modules:
        for found in _parts(base, module):
            if found.name == name and found.part is not None:
                return found.part
            missed.append(found)
    raise PartError(unknown(base, name, missed))


def unknown(base: type, name: str, found: Sequence[Found[Any]], families: Sequence[str] = ()) -> str:
    """One line for a name that no part has: its own import error, or the names (and families) that are there."""
    for one in found:
        if one.error and one.name.replace("_", "-") == name.replace("_", "-"):  # a file's name has no hyphen
            return f"{kind(base)} {name} cannot be loaded: {one.error} ({one.file})"
    return no_such(kind(base), name, sorted({one.name for one in found if one.part is not None} | set(families)))


def no_such(what: str, name: str, names: Sequence[str]) -> str:
    """One line for a name that is not among `names`."""
    import difflib  # only ever needed on the way to an error

    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    suggestion = f" (did you mean {' or '.join(close)}?)" if close else ""
    return f"unknown {what} {name}{suggestion}; there are: {', '.join(names) or 'none'}"


def installed() -> tuple[str, ...]:
    """Packages with parts that other distributions announce through the entry-point group."""
    import importlib.metadata  # 40 ms that workers do not need to pay

    try:
        entries: Any = importlib.metadata.entry_points(group=ENTRY_POINTS)
    except TypeError:  # Python 3.9 has no selection by group
        entries = dict(importlib.metadata.entry_points()).get(ENTRY_POINTS, ())
    return tuple(dict.fromkeys(entry.value for entry in entries))


def _modules(package: str) -> list[str]:
    try:
        module = importlib.import_module(package)
    except Exception as error:
        raise PartError(f"parts package {package} cannot be imported: {_line(error)}") from error
    if not hasattr(module, "__path__"):
        return [package]
    names = (info.name for info in pkgutil.iter_modules(module.__path__) if not info.ispkg)
    return [f"{package}.{name}" for name in sorted(names) if name != "contract" and not name.startswith("_")]


def _parts(base: type[T], module_name: str) -> Iterator[Found[T]]:
    stem = module_name.rpartition(".")[2]
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # noqa: BLE001 - a foreign file may raise anything, and is listed with it
        yield Found(stem, None, _line(error), _file(module_name))
        return
    classes = _classes(base, module)
    whole = [one for one in classes if not inspect.isabstract(one)]
    if classes and not whole:  # somebody's new part, not yet complete: silence would leave its author guessing
        missing = ", ".join(sorted(getattr(classes[0], "__abstractmethods__", ())))
        yield Found(stem, None, f"{classes[0].__name__} lacks {missing}", str(module.__file__))
    for part_class in whole:
        try:
            part = part_class()
            yield Found(_name(part), part, None, str(module.__file__))
        except Exception as error:  # noqa: BLE001 - as above: a constructor is foreign code too
            yield Found(stem, None, f"{part_class.__name__}: {_line(error)}", str(module.__file__))


def _classes(base: type[T], module: ModuleType) -> list[type[T]]:
    return [
        value
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and not name.startswith("_")
        and issubclass(value, base)
        and value.__module__ == module.__name__
    ]


def _common_prefix(one: str, other: str) -> int:
    return max(n for n in range(len(other) + 1) if one.startswith(other[:n]))


def _name(part: Any) -> str:
    return str(part.card.name if hasattr(part, "card") else part.name)


def _file(module_name: str) -> str:
    spec = importlib.util.find_spec(module_name)
    return spec.origin if spec and spec.origin else module_name


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
