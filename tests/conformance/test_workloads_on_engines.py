"""Real workloads, through every engine, against their float64 golden outputs, with the audit that measurements use."""

from __future__ import annotations

import pytest

from backends.contract import Unsupported
from bench import parts
from bench.audit import correctness
from tests.conformance.conftest import Adapter
from workloads.contract import Workload

SMALL = ("kws", "resnet8", "autoencoder", "digits-small", "bytelm-small")
LARGE = ("mobilenetv2", "llama-decode")


def check(adapter: Adapter, name: str, precision: str, batch: int, goal: str) -> None:
    workload = parts.find(Workload, name)
    try:
        workload.tolerance(precision)
        session = adapter.compile(workload.calibrated(), precision, batch, goal)
    except Unsupported as reason:
        if precision == adapter.precision:
            raise
        pytest.skip(str(reason))
    seen = correctness.outputs(workload, session, batch, precision, seed=1)
    assert seen["finite"]
    assert seen["n"] >= 12
    assert seen["identity_hits"] == seen["n"]
    assert seen["centred_cosine_min"] >= seen["cosine_required"]
    if seen["relative_error_allowed"] is not None:
        assert seen["relative_error_max"] <= seen["relative_error_allowed"]


@pytest.mark.parametrize(("batch", "goal"), [(1, "latency"), (3, "throughput")])
@pytest.mark.parametrize("name", SMALL)
def test_small_workload(adapter: Adapter, name: str, batch: int, goal: str) -> None:
    check(adapter, name, adapter.precision, batch, goal)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
@pytest.mark.parametrize("name", ["kws", "resnet8", "digits-small"])
def test_small_workload_in_less_than_fp32(adapter: Adapter, name: str, precision: str) -> None:
    check(adapter, name, precision, 1, "latency")


@pytest.mark.parametrize("name", LARGE)
def test_large_workload(adapter: Adapter, name: str) -> None:
    """llama-decode feeds its cache back for as many steps as its golden outputs took.

    One thread a stream, as threads that wait for each other take 40 times as long on a busy machine.
    """
    if not adapter.engine.by_default:
        pytest.skip(f"{name} is large, and {adapter.engine.name} is not measured by default")
    check(adapter, name, adapter.precision, 1, "throughput")
