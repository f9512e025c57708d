"""What is in memory of the files that a cold start reads, and its figures in a process of its own."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import coldstart, measure
from bench.coldstart import cached_share, evict
from tests.unit.test_measure import MS, Clock, Programmed, feeds

MIB = 1 << 20


def settle(latencies_ns, max_s):
    clock = Clock()
    steady = measure.Steady(max_s, measure.latency_level)
    (warmup,) = measure.single_stream(Programmed(clock, latencies_ns), feeds(), [steady], clock)
    return warmup, steady


@pytest.mark.parametrize("cold_queries", [5, 40, 150, 400])
def test_the_steady_state_is_reached_where_latencies_stop_to_fall(cold_queries):
    """From 3 ms down to 1 ms; within 10 % of it they are after 95 % of the cold queries."""
    cold = [3 * MS - 2 * MS * i // cold_queries for i in range(cold_queries)]
    warmup, steady = settle(itertools.chain(cold, itertools.repeat(MS)), max_s=1.6)
    assert steady.stable
    within = next(i for i, latency in enumerate([*cold, MS]) if latency <= 1.1 * MS)
    reached = coldstart.reached_ns(warmup, steady)
    assert sum(cold[: max(0, within - 3)]) <= reached <= sum(cold[:within])


def test_what_is_steady_from_the_start_is_reached_at_once():
    spiky = (9 * MS if i % 50 == 20 else MS for i in itertools.count())
    assert coldstart.reached_ns(*settle(spiky, max_s=1.6)) == 0


def test_being_fast_at_first_is_not_being_steady():
    """1 ms for half a second, then 2 ms: that is the steady state, and it begins where the first one ends."""
    latencies = itertools.chain([MS] * 250, [2 * MS + 100_000 * (i % 2) for i in range(60)])
    warmup, steady = settle(itertools.chain(latencies, itertools.repeat(2 * MS)), max_s=1.6)
    assert coldstart.reached_ns(warmup, steady) == pytest.approx(250 * MS, abs=4 * MS)


def test_where_no_row_of_queries_is_near_the_level_the_blocks_say_when():
    """As with rows of slow and of fast queries in turn, whose medians over a block lie between."""
    warmup, steady = settle(itertools.repeat(MS), max_s=1.6)
    steady.levels = [2 * MS] * 6
    assert coldstart.reached_ns(warmup, steady) == steady.begins[-6] - warmup.opened_ns == 0


def test_queries_longer_than_blocks_settle_too():
    warmup, steady = settle(itertools.chain([900 * MS, 500 * MS], itertools.repeat(200 * MS)), max_s=3.2)
    assert steady.stable
    assert coldstart.reached_ns(warmup, steady) in (0, 900 * MS, 1400 * MS)


@pytest.fixture
def file(tmp_path):
    """8 MiB on a file system that can forget them."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", tmp_path], capture_output=True, text=True, check=True)
    if kind.stdout.strip() in ("tmpfs", "ramfs"):
        pytest.skip(f"{tmp_path} is in memory itself: nothing can be evicted from it")
    path = tmp_path / "weights.bin"
    path.write_bytes(os.urandom(8 * MIB))
    return path


def test_what_has_just_been_written_is_in_memory(file):
    assert cached_share([file]) == 1.0


def test_what_is_evicted_is_not_and_what_is_read_again_is(file):
    evict([file])
    assert cached_share([file]) == 0.0
    file.read_bytes()
    assert cached_share([file]) == 1.0


def test_the_share_is_of_the_bytes_of_all_files(file):
    other = file.with_name("graph.onnx")
    other.write_bytes(os.urandom(24 * MIB))
    evict([file])
    assert cached_share([file, other]) == pytest.approx(0.75)


def test_what_the_kernel_does_not_tell_has_its_reason(file, monkeypatch):
    """It tells only who owns a file or may write it; to all others it says that everything is in memory."""
    monkeypatch.setattr(os, "geteuid", lambda: file.stat().st_uid + 1)
    monkeypatch.setattr(os, "access", lambda *_given: False)
    with pytest.raises(OSError, match="the kernel tells only who may write"):
        cached_share([file])


def test_nothing_has_no_share():
    with pytest.raises(OSError, match="neither the model nor the engine's library is in files"):
        cached_share([])


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A package that must not be imported, with a folder of libraries beside it."""
    for name in ("coldlib/__init__.py", "coldlib/deep/core.so", "coldlib.libs/blas.so", "other/__init__.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("raise RuntimeError('imported')")
    (tmp_path / "coldlib/empty.txt").touch()
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("name", "module"), [("coldlib", ""), ("cold", "coldlib"), ("cold", "coldlib.deep")])
def test_the_files_of_an_engine_are_found_without_importing_it(library, name, module):
    found = coldstart._library_files(SimpleNamespace(name=name, module=module))
    names = sorted(str(path.relative_to(library)) for path in found)
    assert names == ["coldlib.libs/blas.so", "coldlib/__init__.py", "coldlib/deep/core.so"]
    assert "coldlib" not in sys.modules


def test_an_engine_without_a_package_has_no_files():
    assert coldstart._library_files(SimpleNamespace(name="fake-exact", module="")) == []


def test_the_files_of_a_model_are_the_folder_of_what_its_engine_starts_from(tmp_path):
    for name in ("m.onnx", "weights.bin"):
        (tmp_path / name).write_text("x")
    forms = {"onnx": tmp_path / "m.onnx", "torch": object()}
    asked = {"fp32": "onnx", "bf16": "torch", "int4": ""}
    engine, model = SimpleNamespace(form_of=lambda _, precision: asked[precision]), SimpleNamespace(form=forms.get)
    found = {
        one: coldstart._model_files(SimpleNamespace(model=model, engine=engine, job=SimpleNamespace(precision=one)))
        for one in asked
    }
    assert sorted(path.name for path in found["fp32"]) == ["m.onnx", "weights.bin"]
    assert found["bf16"] == found["int4"] == []


def test_only_a_cold_page_cache_is_emptied(file, library):
    engine = SimpleNamespace(name="coldlib", module="", form_of=lambda _model, _precision: "onnx")
    model, job = SimpleNamespace(form=lambda _name: file), SimpleNamespace(precision="fp32")
    sut = SimpleNamespace(model=model, engine=engine, job=job, scenario=SimpleNamespace(page_cache="warm"))
    assert coldstart.prepare(sut) == {"page_cache_share": 1.0, "missing": {}}
    sut.scenario.page_cache = "cold"
    assert coldstart.prepare(sut)["page_cache_share"] == 0.0
    assert Path(file).stat().st_size == 8 * MIB
