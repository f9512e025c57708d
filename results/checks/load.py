"""Was the load what it claims to be, and was its bound kept? For servers, and for runs that LoadGen drove."""

from __future__ import annotations

import re
from collections.abc import Iterator

from results import early_stopping
from results.checks.bounds import counted
from results.checks.reasons import Check, Figures, invalid, noisy, note
from results.record import Reason, Record

LAG_ALLOWED = 0.05
"""Of the bound: a generator that is later than this makes latencies of its own."""
LAG_QUERIES = 1000
"""Fewer do not tell 1 % that came late from the one that did: the lag is then a doubt and no verdict."""
TOO_SHORT = re.compile(r"Only processed|Need to process|Run unsuccessful|^Processed|Would need to run")
"""LoadGen's words for a run that is only too short to prove its percentile (results.cc, EarlyStopping)."""
PAGE_CACHE_COLD = 0.05
"""Share in memory of what is called cold; what another process has mapped cannot be evicted."""
ISSUED_NEEDED = 0.99


def _generator(record: Record, figures: Figures) -> Iterator[Reason]:
    load = record.load
    if load is None:
        return
    faults = []
    if load.lag_p99_ns > LAG_ALLOWED * load.bound_ms * 1e6:
        faults.append(
            f"1 % of queries were issued over {load.lag_p99_ns / 1e6:.3g} ms late;"
            f" {LAG_ALLOWED:.0%} of the bound of {load.bound_ms:g} ms is allowed"
        )
    if load.issued_per_s < ISSUED_NEEDED * load.offered_per_s:
        faults.append(f"{load.issued_per_s:.4g} of {load.offered_per_s:.4g} queries/s were issued")
    if faults:
        told = invalid if figures.queries >= LAG_QUERIES else noisy
        yield told("generator_bound", "; ".join(faults))


def _bound(record: Record, figures: Figures) -> Iterator[Reason]:
    """Missed by the plain count is missed; kept by it, but not surely, is too short a window.

    A bound for every query (p100) is one on the window's own queries: no count proves it of others.
    """
    load = record.load
    if load is None:
        return
    kept = counted(load, figures.queries)
    seen = f"{load.over} of {figures.queries} queries took over {load.bound_ms:g} ms"
    if kept is False:
        yield invalid("bound_missed", f"{seen}; {100 - load.percentile:g} % are allowed")
    elif kept is None:
        needed = early_stopping.needed_queries(load.over, load.percentile / 100)
        yield noisy("too_few_samples", f"{seen}; {needed} queries would prove p{load.percentile:g} with so many over")


def _loadgen(record: Record, _: Figures) -> Iterator[Reason]:
    loadgen = record.loadgen
    if loadgen is None:
        return
    if not loadgen.valid:
        short = loadgen.reasons and all(TOO_SHORT.search(reason) for reason in loadgen.reasons)
        detail = f"LoadGen {loadgen.version}: {'; '.join(loadgen.reasons) or 'INVALID, without a reason'}"
        yield (
            noisy("loadgen_invalid", f"{detail} A longer profile has more.")
            if short
            else invalid("loadgen_invalid", detail)
        )
    if not loadgen.official:
        yield note("not_official", "LoadGen was driven for less than MLPerf's durations and counts")


def _page_cache(record: Record, _: Figures) -> Iterator[Reason]:
    if "page_cache=cold" not in record.identity.scenario or record.phases is None:
        return
    share = record.phases.page_cache_share
    if share is None:
        yield noisy("page_cache_warm", f"nobody knows whether it was cold: {record.phases.missing['page_cache_share']}")
    elif share > PAGE_CACHE_COLD:
        detail = f"{share:.0%} of the model and the library were in memory; {PAGE_CACHE_COLD:.0%} are allowed"
        yield noisy("page_cache_warm", f"{detail}: another process may have them mapped")


CHECKS: tuple[Check, ...] = (_generator, _bound, _loadgen, _page_cache)
