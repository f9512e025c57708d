"""Measures items one after the other: what is absent is noted, the rest goes to fresh workers, all becomes records."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench import build, conditions, parts, supervisor
from bench.cases import Item, Profile, Selection
from bench.progress import Progress, spoken
from bench.protocol import Job

if TYPE_CHECKING:
    from bench.recorder import Kept, Recorder, Surroundings


@dataclass(frozen=True)
class Request:
    """What a run was asked for, beyond the selection. `timeout_s` caps each phase; None keeps the usual limits."""

    selection: Selection
    profile: Profile
    results: Path
    command: str
    seed: int = 0
    timeout_s: float | None = None
    require: bool = False
    in_process: bool = False

    @property
    def timeouts_s(self) -> Mapping[str, float]:
        usual = supervisor.TIMEOUTS_S
        return dict.fromkeys(usual, self.timeout_s) if self.timeout_s else usual


@dataclass
class Runner:
    """One run of pytest. The store is opened, and pydantic imported, when the first item is measured."""

    request: Request
    items: Mapping[str, Item]
    progress: Progress | None = None
    counts: Counter[str] = field(default_factory=Counter)

    @cached_property
    def recorder(self) -> Recorder:
        from bench.recorder import Recorder

        asked = self.request
        return Recorder(asked.results, asked.profile.name, asked.command, asked.seed)

    def prepare(self, item_ids: Iterable[str]) -> None:
        """Make the models that these items need, so that none of them pays for it; Progress says which.

        What cannot be made is left to its item, which says so too and becomes a record.
        """
        from backends.contract import Engine

        cases = [self.items[one].case for one in item_ids]
        extra = self.request.selection.parts
        wanted = [
            (case.workload.card.name, parts.find(Engine, case.engine, extra).form)
            for case in sorted(cases, key=lambda case: case.workload.card.name)
            if case.presence.state == "present"
        ]
        if self.progress and wanted:
            self.progress.show("preparing models")
        for artefact in build.prebuild(wanted, extra):
            if self.progress:
                self.progress.show(f"preparing models: {artefact.workload} done")

    def measure(self, item_id: str) -> Kept:
        """Measure one item and store what came of it; raises StoreError when it cannot be kept."""
        item, recorder = self.items[item_id], self.recorder
        if self.progress:
            self.progress.start(item_id)
        if item.case.presence.state == "present":
            kept = recorder.keep(item, *self._outcome(item))
        else:
            kept = recorder.keep_absent(item)
        self.counts[kept.record.status] += 1
        if self.progress:
            self.progress.finish(f"{item_id}  {headline(kept)}")
        return kept

    def verdict(self, kept: Kept) -> tuple[Literal["passed", "skipped", "failed"], str]:
        """What pytest is to call the item, and why. Absence is no failure unless it was required."""
        record, summary = kept.record, kept.summary
        why = "; ".join(text for text in (record.reason, record.remedy) if text)
        if record.status == "failed" or (record.status == "absent" and self.request.require):
            return "failed", f"{why}\n{record.stderr_tail}".strip()
        if record.status != "ok":
            return "skipped", f"{record.status}: {why}"
        if summary is not None and summary.verdict == "invalid":
            return "failed", "; ".join(f"{reason.code}: {reason.detail}" for reason in summary.reasons)
        return "passed", ""

    def close(self) -> None:
        if "recorder" in self.__dict__:
            self.recorder.close()
        if self.progress:
            self.progress.close()

    def _outcome(self, item: Item) -> tuple[supervisor.Outcome, Surroundings]:
        from bench.recorder import Surroundings

        watch = _Watch(self.progress)
        watch.look("before")
        before = conditions.calibrate("before")
        outcome = self._run(item, watch)
        after = conditions.calibrate("after")
        watch.look("after")
        return outcome, Surroundings(watch.seen, (before, after))

    def _run(self, item: Item, watch: _Watch) -> supervisor.Outcome:
        job = self.job(item)
        if self.request.in_process:
            return supervisor.run_inline(job, watch.enter)
        python = self.request.selection.pythons.get(job.engine, sys.executable)
        return supervisor.run(job, watch.enter, python, self.request.timeouts_s)

    def job(self, item: Item) -> Job:
        """What the worker is told."""
        case, selection = item.case, self.request.selection
        return Job(
            workload=case.workload.card.name,
            technique=case.technique,
            precision=case.precision,
            batch=case.batch,
            scenario=case.scenario,
            goal=case.goal,
            backend=case.backend,
            device=case.device,
            engine=case.engine,
            effort=self.request.profile.effort(case.scenario, case.batch),
            seed=self.request.seed,
            samples_path=str(self.recorder.samples_path(item).resolve()),
            options=case.options,
            targets=tuple(spec for spec in selection.targets if spec.partition(":")[0] == case.backend),
            parts=selection.parts,
        )


class _Watch:
    """Notes the host's conditions on the way; what it does during the timed window is two reads of /proc."""

    def __init__(self, progress: Progress | None) -> None:
        self.seen: list[dict[str, Any]] = []
        self._progress = progress
        self._since: conditions.CpuTime | None = None

    def look(self, moment: conditions.Moment) -> None:
        self.seen.append(conditions.conditions(moment, self._since))
        self._since = conditions.CpuTime.now()

    def enter(self, phase: str, _t_ns: int) -> None:
        if phase == "measure":
            self._since = conditions.CpuTime.now()
        elif phase == "finish":
            self.look("during")
        if self._progress:
            self._progress.phase(phase)


def headline(kept: Kept) -> str:
    """One record in a few words."""
    record, summary = kept.record, kept.summary
    if summary is None:
        return f"{record.status}: {record.reason}"
    unit = record.card.sample_unit
    rate = f"{summary.throughput_per_s:.4g} {unit}/s" if summary.throughput_per_s else ""
    median = f"p50 {summary.latency_p50_ns / 1e6:.3g} ms" if summary.latency_p50_ns else ""
    reasons = ", ".join(reason.code for reason in summary.reasons)
    return "  ".join(word for word in (rate, median, f"{summary.verdict} ({reasons})" if reasons else "valid") if word)


def estimate(items: Sequence[Item], profile: Profile) -> str:
    """How long `items` will take at least, spoken."""
    present = sum(item.case.presence.state == "present" for item in items)
    return spoken(present * profile.item_s)
