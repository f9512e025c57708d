"""How much effort a run spends on each item: `--profile`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from bench import scenarios
from bench.protocol import Effort

START_S = 2.5
"""Start, load, compile and checks of a small model: a first guess, for people."""
PER_QUERY = ("multi_stream", "server", "train_steps")
"""Scenarios whose minimum counts queries, as LoadGen's do, whatever the batch; the others' count samples."""
WINDOWS = {"server": 0.5 * 6 + 1, "cold_start": 0.0, "compile": 0.0}
"""Minimum durations that an item takes, where it is not one: a search has about six probes of half a window each."""


@dataclass(frozen=True)
class Profile:
    """`min_samples` are by the scenario's name, of queries in PER_QUERY."""

    name: str
    repeats: int
    warmup_max_s: float
    min_duration_s: float
    max_duration_s: float
    min_samples: Mapping[str, int]

    def item_s(self, scenario: str) -> float:
        """How long an item takes at least, with START_S."""
        windows = WINDOWS.get(scenarios.parse(scenario).name, 1.0)
        return START_S + self.warmup_max_s + windows * self.min_duration_s

    def effort(self, scenario: str, batch: str) -> Effort:
        name = scenarios.parse(scenario).name
        per_query = int(batch) if batch.isdecimal() and name not in PER_QUERY else 1
        queries = math.ceil(self.min_samples[name] / per_query)
        return Effort(self.warmup_max_s, self.min_duration_s, queries, self.max_duration_s)


def _counts(single_stream: int, multi_stream: int, server: int, offline: int, steps: int) -> dict[str, int]:
    """A cold start is one, whatever the profile: a process answers its first query once. An estimate times nothing."""
    names = ("single_stream", "multi_stream", "server", "offline", "train_steps", "cold_start", "compile")
    return dict(zip(names, (single_stream, multi_stream, server, offline, steps, 1, 0)))


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("quick", 1, 0.6, 1.0, 2.0, _counts(64, 64, 64, 50, 16)),
        Profile("standard", 5, 10, 10, 60, _counts(1_024, 1_024, 2_048, 1_024, 64)),
        Profile("official", 10, 60, 600, 7_200, _counts(1_024, 662, 662, 24_576, 256)),
    )
}
"""`official` has MLPerf Inference's own durations and counts (inference_rules.adoc §3, "Scenarios": 600 s; 1,024
queries of a single stream, 24,576 samples offline; 662 queries for a p99, LoadGen's early stopping). `quick` takes 5 s
an item, the start of the process included."""
