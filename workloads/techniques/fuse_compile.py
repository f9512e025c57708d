"""fuse-compile: the network handed to a compiler that generates fused kernels for it."""

from __future__ import annotations

from workloads.contract import Technique


class FuseCompile(Technique):
    """torch.compile (Ansel et al. 2024, https://doi.org/10.1145/3620665.3640366), for engines that run eagerly else.

    Engines that fuse whatever they can as they load a graph (onnxruntime, OpenVINO) have no such setting and say so:
    what their fusion gains, fuse-off shows.
    """

    name = "fuse-compile"
    stage = "engine"
    steps = ("compile for one shape",)
    wish = "fusion=compile"
