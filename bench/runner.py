"""Measures items one after the other: what is absent is noted, the rest goes to fresh workers, all becomes records."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from backends.contract import Backend, Device, Engine
from bench import build, parts, supervisor
from bench.cases import Case, Item
from bench.profiles import Profile
from bench.progress import Progress, spoken
from bench.protocol import Job
from bench.recipes import NONE
from bench.selection import Selection
from bench.surroundings import Surroundings, power
from bench.surroundings.host import HostReader, HostReading
from bench.surroundings.power import Metering
from bench.surroundings.watch import Watch
from workloads.contract import Unsupported

if TYPE_CHECKING:
    from bench.recorder import Kept, Recorder


FINDINGS = {"quality_below_floor", "precision_not_executed"}
"""Codes of an invalid result that are what somebody wanted to know of a technique."""


@dataclass(frozen=True)
class Request:
    """What a run was asked for, beyond the selection. `timeout_s` caps each phase; None keeps the usual limits.

    `meters` are as in `power.chosen`; none: all that read a device.
    """

    selection: Selection
    profile: Profile
    results: Path
    command: str
    seed: int = 0
    timeout_s: float | None = None
    require: bool = False
    in_process: bool = False
    meters: tuple[str, ...] = ()

    @property
    def timeouts_s(self) -> Mapping[str, float]:
        usual = supervisor.TIMEOUTS_S
        return dict.fromkeys(usual, self.timeout_s) if self.timeout_s else usual


@dataclass(frozen=True)
class _Seat:
    """Where items are measured, with what reads its energy."""

    backend: Backend
    device: Device
    metering: Metering


@dataclass
class Runner:
    """One run of pytest. The store is opened, and pydantic imported, when the first item is measured.

    `counts` are of records by what became of them: "ok" was measured, what was predicted has its provenance's name.
    """

    request: Request
    items: Mapping[str, Item]
    progress: Progress | None = None
    counts: Counter[str] = field(default_factory=Counter)
    unmetered: Counter[str] = field(default_factory=Counter)
    """Why the meters that were asked for gave no energy, with the number of records."""
    _seats: dict[tuple[str, str], _Seat] = field(default_factory=dict)
    _host: HostReader = field(default_factory=HostReader)
    _since: HostReading | None = None

    @cached_property
    def recorder(self) -> Recorder:
        from bench.recorder import Recorder

        asked = self.request
        return Recorder(asked.results, asked.profile.name, asked.command, asked.seed)

    def prepare(self, item_ids: Iterable[str]) -> None:
        """Make the models that these items need, so that none of them pays for it; Progress says which.

        What cannot be made is left to its item, which says so too and becomes a record.
        """
        self._since = self._host.read()
        cases = [self.items[one].case for one in item_ids]
        extra = self.request.selection.parts
        wanted = [
            _wanted(case, extra)
            for case in sorted(cases, key=lambda case: case.workload.card.name)
            if case.presence.state == "present" and not self.request.selection.artifact and _needs_a_form(case)
        ]
        if self.progress and wanted:
            self.progress.show("preparing models")
        for made, _ in build.prebuild(wanted, extra):
            if self.progress:
                what = made.workload if made.technique == NONE else f"{made.workload} {made.technique}"
                self.progress.show(f"preparing models: {what} done")

    def measure(self, item_id: str) -> Kept:
        """Measure one item and store what came of it; raises StoreError when it cannot be kept."""
        item, recorder = self.items[item_id], self.recorder
        if self.progress:
            self.progress.start(item_id)
        if item.case.presence.state == "present":
            kept = recorder.keep(item, *self._outcome(item))
        else:
            kept = recorder.keep_absent(item)
        self.counts[counted(kept)] += 1
        energy = kept.record.energy
        if self.request.meters and energy is not None and energy.energy_j is None and "none" not in self.request.meters:
            self.unmetered[energy.missing.get("energy_j", "")] += 1
        if self.progress:
            self.progress.finish(f"{item_id}  {headline(kept)}")
        return kept

    def verdict(self, kept: Kept) -> tuple[Literal["passed", "skipped", "failed"], str]:
        """What pytest is to call the item, and why. Absence is no failure unless it was required.

        What a technique costs in quality, or what an engine does not do in its precision, is a finding; of a network
        without one it is a failure.
        """
        record, summary = kept.record, kept.summary
        why = "; ".join(text for text in (record.reason, record.remedy) if text)
        if record.status == "failed" or (record.status == "absent" and self.request.require):
            return "failed", f"{why}\n{record.stderr_tail}".strip()
        if record.status != "ok":
            return "skipped", f"{record.status}: {why}"
        if summary is not None and summary.verdict == "invalid":
            invalid = {reason.code for reason in summary.reasons if reason.severity == "invalid"}
            if record.identity.technique == NONE or not invalid <= FINDINGS:
                return "failed", "; ".join(f"{reason.code}: {reason.detail}" for reason in summary.reasons)
        return "passed", ""

    def close(self) -> None:
        for seat in self._seats.values():
            seat.metering.close()
        if "recorder" in self.__dict__:
            self.recorder.close()
        if self.progress:
            self.progress.close()

    def _outcome(self, item: Item) -> tuple[supervisor.Outcome, Surroundings]:
        watch = self._watch(item.case)
        watch.before()
        with watch.sampling():
            outcome = self._run(item, watch)
        watch.after()
        self._since = watch.last
        return outcome, watch.surroundings(_marks(outcome))

    def _watch(self, case: Case) -> Watch:
        key = (case.backend, case.device)
        if key not in self._seats:
            self._seats[key] = self._seat(case)
        seat = self._seats[key]
        on_phase = self.progress.phase if self.progress else lambda _phase: None
        return Watch(self._host, lambda: seat.backend.state(seat.device), seat.metering, self._since, on_phase)

    def _seat(self, case: Case) -> _Seat:
        """A device that has gone since collecting says nothing of itself any more."""
        extra = self.request.selection.parts
        backend = parts.find(Backend, case.backend, extra)
        there = (device for device in backend.probe(case.targets).devices if device.name == case.device)
        device = next(there, Device(case.backend, case.device, {}))
        meters = power.chosen(self.request.meters, extra)
        return _Seat(backend, device, Metering.of(device, meters, extra, backend.unmetered))

    def _run(self, item: Item, watch: Watch) -> supervisor.Outcome:
        job = self.job(item)
        if self.request.in_process:
            return supervisor.run_inline(job, watch.enter)
        python = self.request.selection.python(job.engine, job.backend) or sys.executable
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
            seed=self.request.seed + item.repeat,  # no repeat gets the arrivals of another
            samples_path=str(self.recorder.samples_path(item).resolve()),
            mode=case.mode,
            rules=case.rules,
            bounds=tuple((bound.latency_ms, bound.percentile) for bound in case.bounds or case.workload.card.bounds),
            model=case.model,
            artifact=selection.artifact,
            options=case.options,
            targets=case.targets,
            parts=selection.parts,
        )


def _needs_a_form(case: Case) -> bool:
    """A user's own model has its form, training starts from none, and what is refused needs none."""
    if case.mode == "train":
        return False
    try:
        case.workload.tolerance(case.precision)
    except Unsupported:
        return False
    return not case.model or case.technique != NONE


def _wanted(case: Case, extra: Sequence[str]) -> build.Wanted:
    """By form where that is known, so that engines share it; what a technique makes, only the model itself knows."""
    name = case.workload.card.name
    if case.technique == NONE:
        return build.Wanted(name, parts.find(Engine, case.engine, extra).form_for(case.precision))
    return build.Wanted(name, "", case.technique, case.model, case.engine, case.precision)


def _marks(outcome: supervisor.Outcome) -> tuple[int, int] | None:
    """When the timed window opened and closed; None where there was none, or the worker does not say."""
    marks = (outcome.result or {}).get("marks")
    match marks:
        case {"opened_ns": int(opened_ns), "closed_ns": int(closed_ns)} if opened_ns < closed_ns:
            return opened_ns, closed_ns
    return None


def counted(kept: Kept) -> str:
    """Under which word the end of the run counts a record: what was predicted is never among what was measured."""
    record = kept.record
    return record.provenance if record.status == "ok" and record.provenance != "measured" else record.status


def headline(kept: Kept) -> str:
    """One record in a few words."""
    record, summary = kept.record, kept.summary
    if summary is None:
        return f"{record.status}: {record.reason}"
    if record.estimate is not None:
        latency_ns, where = record.estimate.latency_ns, f"{record.provenance} by {record.estimate.source}"
        return f"{where}: {'no time' if latency_ns is None else f'{latency_ns / 1e6:.3g} ms'}  {summary.verdict}"
    unit = record.card.sample_unit
    rate = f"{summary.throughput_per_s:.4g} {unit}/s" if summary.throughput_per_s else ""
    median = f"p50 {summary.latency_p50_ns / 1e6:.3g} ms" if summary.latency_p50_ns else ""
    reasons = ", ".join(reason.code for reason in summary.reasons)
    return "  ".join(word for word in (rate, median, f"{summary.verdict} ({reasons})" if reasons else "valid") if word)


def estimate(items: Sequence[Item], profile: Profile) -> str:
    """How long `items` will take at least, spoken."""
    return spoken(sum(profile.item_s(i.case.scenario) for i in items if i.case.presence.state == "present"))
