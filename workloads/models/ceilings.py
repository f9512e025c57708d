"""matmul and matvec: what the machine itself can compute and read per second, drawn as the roofs of the roofline.

The large ones are for accelerators, which the others do not fill: matmul's inputs take longer to reach a GPU than to be
multiplied there, and matvec's matrix in 16 bits is little more than the last-level cache of the largest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workloads.contract import Card
from workloads.nets.initial import scaled
from workloads.seeded import Seeded

if TYPE_CHECKING:
    from workloads.contract import Arrays

ROWS, WIDTH = 1024, 2048
LONG = 8192
LARGE_ROWS, LARGE_WIDTH, DEPTH = 256, 4096, 4
LARGE_LONG = 16_384


class _Product(Seeded):
    """A vector or matrix of `shape` for each sample, times a matrix that does not change."""

    shape: tuple[int, ...]

    def inputs(self, n: int, stream: str) -> Arrays:
        from workloads.generator import uniform

        return {"x": uniform(stream, (n, *self.shape))}


class MatMul(_Product):
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
    shape = (ROWS, WIDTH)
    outputs = ("peaks",)

    def net(self) -> Any:
        return _product(WIDTH, lambda y: y.amax(1))


class MatVec(_Product):
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
    shape = (LONG,)
    outputs = ("y",)

    def net(self) -> Any:
        return _product(LONG, lambda y: y)


class MatMulLarge(_Product):
    """A chain of products whose first factor is made on the device from a small input: in a batch of 16 or more, one
    product has 4096 rows."""

    card = Card(
        name="matmul-large",
        task="ceiling: arithmetic",
        sample_unit="chain of products",
        flops=34_359_738_368,
        parameters=17_825_792,
        weight_bytes=71_303_168,
        io_bytes=32_768,
        distinct_inputs=256,
        bounds=(),
        quality=None,
        source=f"({LARGE_ROWS}, {LARGE_WIDTH}) @ ({LARGE_WIDTH}, {LARGE_WIDTH}), {DEPTH} times one after another",
        role="ceiling_flops",
    )
    shape = (LARGE_WIDTH,)
    outputs = ("peaks",)
    by_default = False

    def net(self) -> Any:
        return _chain()


class MatVecLarge(_Product):
    """One vector by a matrix that is several times the cache of any device, in 16 bits too."""

    card = Card(
        name="matvec-large",
        task="ceiling: memory bandwidth",
        sample_unit="product",
        flops=536_870_912,
        parameters=268_435_456,
        weight_bytes=1_073_741_824,
        io_bytes=131_072,
        distinct_inputs=256,
        bounds=(),
        quality=None,
        source=f"({LARGE_LONG},) @ ({LARGE_LONG}, {LARGE_LONG})",
        role="ceiling_bytes",
    )
    shape = (LARGE_LONG,)
    outputs = ("y",)
    golden_bits = 15
    by_default = False

    def net(self) -> Any:
        return _product(LARGE_LONG, lambda y: y)


def _chain() -> Any:
    import torch
    from torch import nn

    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rows = nn.Parameter(torch.empty(LARGE_ROWS, LARGE_WIDTH))
            self.weight = nn.Parameter(torch.empty(LARGE_WIDTH, LARGE_WIDTH))

        def forward(self, x: Any) -> Any:
            y = x[:, None, :] * self.rows
            for _ in range(DEPTH):
                y = y @ self.weight
            return y.amax(1)

    return scaled(Chain(), 1.0)


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
