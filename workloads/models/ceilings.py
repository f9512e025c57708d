"""matmul and matvec: what the machine itself can compute and read per second, drawn as the roofs of the roofline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workloads.contract import Card
from workloads.nets.initial import scaled
from workloads.seeded import Seeded

if TYPE_CHECKING:
    from workloads.contract import Arrays

ROWS, WIDTH = 1024, 2048
LONG = 8192


class MatMul(Seeded):
    """One large product. Only the largest element of each column leaves: copying 8 MB out is not to be measured."""

    card = Card(
        name="matmul",
        task="ceiling: arithmetic",
        sample_unit="product",
        flops=8_589_934_592,
        parameters=4_194_304,
        weight_bytes=16_777_216,
        io_bytes=8_396_800,
        distinct_inputs=16,
        bounds=(),
        quality=None,
        source=f"({ROWS}, {WIDTH}) @ ({WIDTH}, {WIDTH})",
        role="ceiling_flops",
    )
    outputs = ("peaks",)

    def net(self) -> Any:
        return _product(WIDTH, lambda y: y.amax(1))

    def inputs(self, n: int, stream: str) -> Arrays:
        from workloads.generator import uniform

        return {"x": uniform(stream, (n, ROWS, WIDTH))}


class MatVec(Seeded):
    """One vector by a matrix that no cache holds."""

    card = Card(
        name="matvec",
        task="ceiling: memory bandwidth",
        sample_unit="product",
        flops=134_217_728,
        parameters=67_108_864,
        weight_bytes=268_435_456,
        io_bytes=65_536,
        distinct_inputs=256,
        bounds=(),
        quality=None,
        source=f"({LONG},) @ ({LONG}, {LONG})",
        role="ceiling_bytes",
    )
    outputs = ("y",)

    def net(self) -> Any:
        return _product(LONG, lambda y: y)

    def inputs(self, n: int, stream: str) -> Arrays:
        from workloads.generator import uniform

        return {"x": uniform(stream, (n, LONG))}


def _product(width: int, then: Any) -> Any:
    import torch
    from torch import nn

    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.empty(width, width))

        def forward(self, x: Any) -> Any:
            return then(x @ self.weight)

    return scaled(Product(), 1.0)
