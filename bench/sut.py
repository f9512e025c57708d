"""The system under test, as MLPerf calls it, with the load on its session: what a worker goes through."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from backends.contract import Backend, Device, Engine, Plan, Session
from bench import audit, measure, parts, quality, queries, scenarios
from bench.protocol import Effort, Job
from workloads.contract import Model, Unsupported, Workload

if TYPE_CHECKING:
    from bench.measure import Driver, Limit, Runs
    from bench.scenarios import Scenario
    from workloads.contract import Arrays

BATCHES = (1, 2, 4, 8, 16, 32)
"""What `--batch=auto` chooses from."""
PROBE = Effort(warmup_max_s=0.2, min_duration_s=0.3, min_queries=4, max_duration_s=1.5)
EXAMPLES = 1000
"""Evaluation examples that quality is graded on, or all that there are."""


@dataclass(frozen=True)
class SystemUnderTest:
    """A job with the parts that it names."""

    job: Job
    workload: Workload
    model: Model
    engine: Engine
    device: Device
    scenario: Scenario

    @classmethod
    def find(cls, job: Job) -> SystemUnderTest:
        """Imports no more parts than the job names; raises Unsupported, and PartError for an unknown name."""
        if job.technique != "none":
            raise Unsupported(f"technique {job.technique} is not known")
        workload = parts.find(Workload, job.workload, job.parts)
        engine = parts.find(Engine, job.engine, job.parts)
        workload.tolerance(job.precision)
        return cls(job, workload, workload.model(), engine, _device(job), scenarios.parse(job.scenario))

    def build(self) -> int:
        """Make the form that the engine starts from, or find it in the cache; nanoseconds."""
        begin_ns = time.monotonic_ns()
        if self.engine.form:
            self.model.form(self.engine.form)
        return time.monotonic_ns() - begin_ns

    def compile(self, batch: int) -> Session:
        goal = cast("Any", self.job.goal or self.scenario.goal)
        return self.engine.compile(
            self.model, Plan(self.job.precision, batch, goal, options=self.job.options), self.device
        )

    def first_run(self, session: Session, batch: int) -> int:
        """Nanoseconds of the very first query, lazy allocation and code generation included."""
        query = self.workload.samples("perf", batch, 0).inputs
        begin_ns = time.monotonic_ns()
        session.get(session.run(session.put(query)))
        return time.monotonic_ns() - begin_ns

    def check(self, session: Session, batch: int) -> dict[str, Any]:
        """Evidence shaped as `results.record.Evidence`, of what the session answers and where it runs."""
        evidence: dict[str, Any] = {
            "outputs": audit.outputs(self.workload, session, batch, self.job.precision, self.job.seed),
            "placement": audit.placement(session),
            "quality": None,
            "missing": {},
        }
        try:
            evidence["quality"] = quality.evaluate(self.workload, session, batch, EXAMPLES)
        except Unsupported as answer:
            evidence["missing"]["quality"] = str(answer)
        return evidence

    def load(self, session: Session, batch: int, scenario: str = "") -> Load:
        """The load of `scenario`, by default the job's own."""
        rotation = queries.rotation(self.workload, batch)
        return Load(session, self.workload, rotation, measure.DRIVERS[scenario or self.scenario.name])

    def choose_batch(self) -> tuple[int, str]:
        """The batch of the highest offline throughput, and the rates that were tried.

        Climbs until a batch is clearly slower than the best one, takes too long, or cannot be run.
        """
        rates: dict[int, float] = {}
        note = ""
        for batch in BATCHES:
            try:
                rates[batch] = self._rate(batch)
            except Exception as error:
                if not rates:
                    raise
                note = f", {batch}: {type(error).__name__}"
                break
            if rates[batch] < 0.9 * max(rates.values()) or batch / rates[batch] > PROBE.max_duration_s:
                break
        tried = ", ".join(f"{batch}: {rate:.4g}/s" for batch, rate in rates.items())
        return max(rates, key=lambda batch: rates[batch]), tried + note

    def _rate(self, batch: int) -> float:
        """Samples per second, from a short offline run."""
        with closing(self.compile(batch)) as session:
            load = self.load(session, batch, "offline")
            _warmup, timed = load.runs(load.warm_up(PROBE), measure.Enough(PROBE))
        return len(timed.samples) * batch / timed.duration_ns * 1e9


@dataclass(frozen=True)
class Load:
    """A session under a scenario's load."""

    session: Session
    workload: Workload
    rotation: list[Arrays]
    driver: Driver

    def warm_up(self, effort: Effort) -> measure.Steady:
        """The limit that ends warming up."""
        return measure.Steady(effort.warmup_max_s, self.driver.level)

    def runs(self, *limits: Limit) -> Runs:
        """One run after the other under the same load, without a pause between them."""
        chains = self.session.inflight
        steps = self.workload.golden().steps if self.workload.feedback else 1
        starts = [chain * len(self.rotation) // chains for chain in range(chains)]
        feeds = [queries.feed(self.rotation, self.workload.feedback, steps, start) for start in starts]
        return self.driver.run(self.session, feeds, limits)


def _device(job: Job) -> Device:
    backend = parts.find(Backend, job.backend, job.parts)
    presence = backend.probe(job.targets)
    for device in presence.devices:
        if device.name == job.device:
            return device
    there = ", ".join(device.name for device in presence.devices) or presence.reason or "none"
    raise parts.PartError(f"backend {job.backend} has no device {job.device} here; there is: {there}")
