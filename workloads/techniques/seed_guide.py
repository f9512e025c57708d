"""seed-guide: what a published optimization guide does by default, one after another."""

from __future__ import annotations

from workloads.contract import Technique


class SeedGuide(Technique):
    """Distil (temperature 3.0; 0.7 soft, 0.3 hard), prune 30 % of the linear layers by l1, then calibrate and convert
    to INT8. docs/techniques_training.md names the guide's traps.
    """

    name = "seed-guide"
    stage = "network"
    recipe = ("distill", "prune-linear-30", "int8-static")
