"""Whether the session that is timed does the work: what is asked of it besides time, as evidence, never a verdict.

`correctness.py` and `quality.py` look at answers, `caching.py` and `stages.py` at how they came about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from bench import measure
from bench.audit import caching, correctness, kernels
from workloads.contract import Unsupported

if TYPE_CHECKING:
    from backends.contract import Session
    from bench.measure import Clock
    from bench.queries import Witness
    from workloads.contract import Workload


Audits = Mapping[str, Callable[[], dict[str, Any]]]
"""What is asked, by its name in `results.record.Evidence`."""


def after(
    workload: Workload, session: Session, batch: int, witness: Witness, budget_s: float, clock: Clock = measure.CLOCK
) -> Audits:
    """What is to be asked once the window has closed; `budget_s` bounds the time of the queries made for it."""
    repeats = caching.Audit(workload, session, batch, budget_s, clock)
    return {
        "timed_outputs": partial(correctness.timed_outputs, witness),
        "same_input": repeats.same_input,
        "stages": repeats.stages,
        "kernels": partial(kernels.executed, workload, session, batch),
    }


def asked(audits: Audits) -> dict[str, Any]:
    """What came of each audit. What could not be found is None, and `missing` says why: a window that was measured is
    not lost to an audit. But outputs of a wrong shape raise WrongOutputsError.
    """
    found: dict[str, Any] = dict.fromkeys(audits)
    missing: dict[str, str] = {}
    for name, audit in audits.items():
        try:
            found[name] = audit()
        except correctness.WrongOutputsError:
            raise
        except Unsupported as answer:
            missing[name] = str(answer)
        except Exception as error:  # noqa: BLE001 - whatever an engine raises
            missing[name] = f"{type(error).__name__} after the window: {str(error).partition(chr(10))[0][:500]}"
    return {**found, "missing": missing}
