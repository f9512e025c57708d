"""The command line of a run: what was asked for, checked for form. Whether there is such a part, `expand` finds out."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Literal

from bench import INSTALL, parts, scenarios
from results.names import is_name, scenario_name
from workloads.contract import Bound

PRECISIONS = ("fp32", "tf32", "bf16", "fp16", "fp8", "int8", "int4")
GOALS = ("latency", "throughput")
RULES = ("accelmark", "mlperf")
MODES = ("infer", "train")
TRAIN_BATCH = "32"
"""Of `--mode train` where no `--batch` is given: one sample at a time nobody trains."""
BATCH_MAX = 65_536
"""Far beyond what raises throughput any more: inputs of a mistyped batch would fill the memory first."""


class SelectionError(ValueError):
    """Something asked for cannot be meant; the message is one line with the remedy."""


def parse_bound(text: str) -> Bound:
    """15, 15ms or 15@99: milliseconds, and the percentile of queries that must keep them; raises SelectionError."""
    latency, _, percentile = text.partition("@")
    with contextlib.suppress(ValueError):
        bound = Bound(float(latency.removesuffix("ms")), float(percentile or 99))
        if 0 < bound.latency_ms < math.inf and 0 < bound.percentile <= 100:
            return bound
    raise SelectionError(f"--bound {text}: write milliseconds, or milliseconds@percentile, as in 15@99")


@dataclass(frozen=True)
class Selection:
    """The command line, checked for form; empty means every one, or the default. Names are checked by `expand`.

    `models` are folders of users' own models, prepared by `bench/usermodel/`; with them, workloads are those named.
    `artifact` was brought in place of what `form` would be lowered to (`bench/bundle/chosen.py`); "": nothing was.
    """

    backends: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    workloads: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ("fp32",)
    techniques: tuple[str, ...] = ("none",)
    scenarios: tuple[str, ...] = tuple(name for name, kind in scenarios.SCENARIOS.items() if kind.default)
    batches: tuple[str, ...] = ()
    goal: str | None = None
    rules: str = "accelmark"
    mode: str = "infer"
    models: tuple[str, ...] = ()
    artifact: str = ""
    form: str = ""
    targets: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    bounds: tuple[Bound, ...] = ()
    parts: tuple[str, ...] = ()
    pythons: Mapping[str, str] = field(default_factory=dict)

    def python(self, engine: str, backend: str) -> str | None:
        """The interpreter that was named for the workers of an engine, or of a backend whatever its engine."""
        return self.pythons.get(engine) or self.pythons.get(backend)

    def __post_init__(self) -> None:
        _check("precision", self.precisions, PRECISIONS)
        _check("mode", (self.mode,), MODES)
        if scenarios.COMPILE in self.scenarios:
            raise SelectionError(
                "--scenario compile is what --target gives hardware that is not here; leave --scenario out"
            )
        if self.mode == "train":
            self._refuse_answers()
        elif scenarios.TRAIN_STEPS in self.scenarios:
            raise SelectionError("--scenario train_steps is what --mode=train measures: give that, and no scenario")
        else:
            _check("scenario", [scenario_name(text) for text in self.scenarios], tuple(scenarios.SCENARIOS))
        if self.artifact and self.techniques != Selection.techniques:
            raise SelectionError("--artifact is as it was made elsewhere: leave --technique out")
        for text in self.scenarios:
            parsed(text)
        _check("goal", (self.goal,) if self.goal else (), GOALS)
        _check("rules", (self.rules,), RULES)
        if self.rules == "mlperf" and find_spec("mlperf_loadgen") is None:
            raise SelectionError(f"--rules mlperf needs MLPerf's LoadGen: {INSTALL.format(extra='mlperf')}")
        for batch in self.batches:
            number = int(batch) if batch.isdecimal() else 0
            if batch != "auto" and not (1 <= number <= BATCH_MAX and batch == str(number)):
                raise SelectionError(f"--batch {batch}: a number from 1 to {BATCH_MAX:,}, or auto")
        for text in (*self.options, *self.options.values()):
            checked_name("--option", text)

    def _refuse_answers(self) -> None:
        """What is asked of answers is none of training's; `scenarios` are what the plugin gives where none is named."""
        asked = {
            "--scenario": self.scenarios != (scenarios.TRAIN_STEPS,),
            "--technique": self.techniques != Selection.techniques,
            "--rules": self.rules != Selection.rules,
            "--artifact": bool(self.artifact),
            "--bound": bool(self.bounds),
        }
        if option := next((option for option, given in asked.items() if given), ""):
            raise SelectionError(f"--mode train times steps, and {option} is about answers: leave it out")


def parsed(text: str) -> scenarios.Scenario:
    """Raises SelectionError for what is no scenario."""
    try:
        return scenarios.parse(text)
    except ValueError as error:
        raise SelectionError(str(error)) from error


def _check(
    what: Literal["precision", "mode", "scenario", "goal", "rules"], given: Sequence[str], names: Sequence[str]
) -> None:
    for name in given:
        if name not in names:
            raise SelectionError(parts.no_such(what, name, names))


def checked_name(what: str, text: str) -> str:
    """`text`; raises SelectionError where a record could not take it as a name."""
    if not is_name(text):
        raise SelectionError(
            f"{what} is {text!r}: names have letters, digits, spaces and ._:/+@()[]=,>%#~*- only, and at most 160"
        )
    return text
