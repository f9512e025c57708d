"""The generator: published answers, independence of chunks, and distributions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads import generator


def test_words_are_splitmix64():
    # The sequence for seed 1234567 that implementations of splitmix64 are checked against (rosettacode.org).
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert generator.words(1234567, 0, 5).tolist() == known


def test_seed_is_the_start_of_sha256():
    # SHA-256("abc") begins ba7816bf8f01cfea
    assert generator.seed_of("abc") == int.from_bytes(bytes.fromhex("ba7816bf8f01cfea"), "little")


def test_values_follow_from_the_words_by_hand():
    words = [int(word) for word in generator.words(generator.seed_of("a"), 0, 2)]
    halves = [half for word in words for half in (word & 0xFFFFFFFF, word >> 32)]
    expected = [np.float32(((half >> 8) - 2**23) * 2.0**-23) for half in halves]
    assert generator.uniform("a", (4,)).tolist() == expected
    assert generator.integers("a", (4,), 10, 17).tolist() == [10 + (half * 7 >> 32) for half in halves]


def test_known_answers():
    """Whatever changes these changes every weight and sample: results would no longer compare."""
    assert generator.uniform("weights/known", (3,), 0.5, 1.0).tobytes().hex() == KNOWN_UNIFORM
    assert generator.balanced("weights/known", (2, 3), 0.5).tobytes().hex() == KNOWN_BALANCED
    assert generator.integers("weights/known", (4,), 0, 30522).tolist() == KNOWN_INTEGERS
    assert generator.fields("weights/known", (1, 1, 3, 3)).tobytes().hex() == KNOWN_FIELDS


KNOWN_UNIFORM = "8a386f3ff773953f68823b3f"
KNOWN_BALANCED = "c01a2abce41b643e347a59be0072e8badab2b7be4c9bb83e"
KNOWN_INTEGERS = [13260, 20376, 7095, 17446]
KNOWN_FIELDS = "0ebce8be73989ebf1fdabebf0c5ecdbed9548ebf3e0505be39bfcdbe876399bf97bea7bf"


@settings(deadline=None)  # on a busy machine
@given(first=st.integers(0, 5000), count=st.integers(1, 5000))
def test_any_part_of_a_stream_is_made_alone(first: int, count: int):
    part = np.concatenate(list(generator.uniform_chunks("s", count, 1.0, first=first)))
    assert part.size == count
    assert (part == generator.uniform("s", (10_000,))[first : first + count]).all()


@pytest.mark.parametrize("count", [1, 2 * generator.CHUNK_WORDS - 1, 2 * generator.CHUNK_WORDS + 1])
def test_chunks_do_not_show(count: int, monkeypatch: pytest.MonkeyPatch):
    whole = generator.uniform("s", (count,))
    monkeypatch.setattr(generator, "CHUNK_WORDS", 1000)
    assert (generator.uniform("s", (count,)) == whole).all()


def test_more_samples_begin_with_the_fewer():
    few, many = (generator.fields("s", (n, 3, 20, 9)) for n in (2, 5))
    assert (many[:2] == few).all()


def test_uniform_fills_its_interval():
    values = generator.uniform("s", (200_000,), scale=0.5, centre=2.0)
    assert values.min() >= 1.5
    assert values.max() < 2.5
    assert abs(values.mean() - 2.0) < 0.002
    assert abs(values.var() - 1 / 12) < 0.001
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.01


def test_integers_are_equally_likely():
    counts = np.bincount(generator.integers("s", (70_000,), 0, 7), minlength=7)
    assert counts.sum() == 70_000
    assert np.abs(counts - 10_000).max() < 400


def test_balanced_rows_sum_to_zero():
    rows = generator.balanced("s", (8, 5, 3, 3), 0.3).reshape(8, -1)
    assert np.abs(rows.astype(np.float64).sum(axis=1)).max() < 45 * 0.3 / 2**23
    assert rows.std() > 0.1


def test_names_separate_streams():
    assert (generator.uniform("a", (100,)) != generator.uniform("b", (100,))).any()


def test_fields_vary_at_every_scale():
    image = generator.fields("s", (1, 1, 224, 224))[0, 0].astype(np.float64)
    coarse = image.reshape(7, 32, 7, 32).mean(axis=(1, 3))
    assert coarse.std() > 0.2, "white noise would average to a fiftieth"
    assert (image[:, 1:] - image[:, :-1]).std() > 0.1
    assert 0.2 < image.var() < 5
