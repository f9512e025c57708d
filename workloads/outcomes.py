"""What techniques ship for a workload: `workloads/graphs/<workload>+<technique>`, a graph, a manifest, weights.

An outcome has no golden file: its right answers are computed from its fp32 graph (`workloads/answers.py`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from workloads import weights
from workloads.seeded import Committed

if TYPE_CHECKING:
    from workloads.contract import Samples, Split


class Outcome(Committed):
    """The network that `technique` trained for `base`, as `made` says. Of its card the name alone is its own."""

    trained = True

    def __init__(self, base: Committed, technique: str, made: weights.Made) -> None:
        self.card = replace(base.card, name=f"{base.card.name}+{technique}")
        self.outputs = base.outputs
        self.made = made
        self._base = base

    def net(self) -> Any:
        return self.made.build()

    def samples(self, split: Split, n: int, seed: int) -> Samples:
        return self._base.samples(split, n, seed)


def file_of(name: str) -> str:
    """The file of its weights."""
    return f"{name}.{weights.FILE_NAME}.gz"


def shipped(base: Committed) -> list[Outcome]:
    """All that lie in `workloads/graphs/` for a workload."""
    manifests = [weights.Manifest.read(path.stem) for path in sorted(weights.GRAPHS.glob(f"{base.card.name}+*.json"))]
    return [Outcome(base, one.name.partition("+")[2], one.made) for one in manifests if one.made]
