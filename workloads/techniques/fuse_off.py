"""fuse-off: no graph optimisation at all, to see what an engine's own is worth."""

from __future__ import annotations

from workloads.contract import Technique


class FuseOff(Technique):
    """Every operator runs as it is written. The baseline of what operator fusion gains."""

    name = "fuse-off"
    stage = "engine"
    wish = "fusion=off"
    control = True
