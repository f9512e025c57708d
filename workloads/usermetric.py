"""A user's own metric, `--eval MODULE:FUNCTION` or `--eval FILE.py:FUNCTION`: found, called, and checked.

The function takes nothing and gives a `workloads.contract.Evaluation`. Workers call it again, so it has to give the
same samples every time.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from workloads.contract import Evaluation, Unsupported

if TYPE_CHECKING:
    from workloads.contract import Array, Arrays

HOW = "write --eval MODULE:FUNCTION or --eval FILE.py:FUNCTION"


class MetricError(ValueError):
    """A metric that cannot be used; the message is one line."""


@dataclass(frozen=True)
class Metric:
    """Where it is: `module` is imported with `folder` in front of the path. `sha256` is its `digest`, once known."""

    folder: str
    module: str
    function: str
    sha256: str = ""

    @classmethod
    def parse(cls, text: str, here: Path) -> Metric:
        """Raises MetricError for what names no function."""
        place, colon, function = text.rpartition(":")
        if not (place and colon and function.isidentifier()):
            raise MetricError(f"--eval {text}: {HOW}")
        path = (here / place).absolute()
        if place.endswith(".py"):
            if not path.is_file():
                raise MetricError(f"--eval {text}: there is no file {place}")
            return cls(str(path.parent), path.stem, function)
        return cls(str(here.absolute()), place, function)

    def __str__(self) -> str:
        return f"--eval {self.module}:{self.function}"

    def load(self) -> Evaluation:
        """Import and call it; raises MetricError in one line for whatever goes wrong there."""
        sys.path.insert(0, self.folder)
        self._forget_another()
        try:
            found = getattr(importlib.import_module(self.module), self.function)()
        except Exception as error:
            raise MetricError(f"{self}: {_said(error)}") from error
        finally:
            sys.path.remove(self.folder)
        if not isinstance(found, Evaluation):
            raise MetricError(f"{self} gives a {type(found).__name__}: return a workloads.contract.Evaluation")
        return replace(found, inputs=_arrays(found.inputs), labels=_arrays(found.labels))

    def _forget_another(self) -> None:
        """A module of the same name that lies elsewhere would be taken for this one."""
        top = self.module.partition(".")[0]
        loaded = getattr(sys.modules.get(top), "__file__", None)
        here = (Path(self.folder) / f"{top}.py").exists() or (Path(self.folder) / top).is_dir()
        if loaded and here and not Path(loaded).is_relative_to(self.folder):
            del sys.modules[top]

    def again(self) -> Evaluation:
        """The same as when the model was prepared; raises Unsupported for other samples, or where it fails by now."""
        try:
            found = self.load()
        except MetricError as error:
            raise Unsupported(str(error)) from error
        if digest(found) != self.sha256:
            raise Unsupported(f"{self} gives other samples every time: fix its seed")
        return found

    def grades(self, found: Evaluation, outputs: Arrays, labels: Arrays, count: int) -> Array:
        """Of `count` samples, (count,) float64; raises MetricError for anything else that `score` gives or raises."""
        import numpy as np

        try:
            grades: Array = np.asarray(found.score(outputs, labels), np.float64)
        except Exception as error:
            raise MetricError(f"{self}: its score raised {_said(error)}") from error
        if grades.shape != (count,) or not np.isfinite(grades).all():
            raise MetricError(f"{self}: its score gave {grades.shape} for {count} samples: one finite grade for each")
        return grades


def digest(evaluation: Evaluation) -> str:
    """SHA-256 of its samples and labels, names included, and of what the metric is called."""
    found = hashlib.sha256(repr(evaluation.quality).encode())
    for arrays in (evaluation.inputs, evaluation.labels):
        for name, array in sorted(arrays.items()):
            found.update(f"{name} {array.dtype} {array.shape}".encode())
            found.update(array.tobytes())
    return found.hexdigest()


def _arrays(given: Arrays) -> Arrays:
    import numpy as np

    return {name: np.asarray(array) for name, array in given.items()}


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
