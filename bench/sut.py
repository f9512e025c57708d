"""The system under test, as MLPerf calls it, with the load on its session: what a worker goes through."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from backends.contract import Backend, Device, Engine, Estimate, Placement, Plan, Session
from bench import artefact, load, parts, recipes, scenarios
from bench.audit import correctness, quality
from bench.bundle import carried
from bench.protocol import Effort, Job
from workloads.contract import Model, Unsupported, Workload

if TYPE_CHECKING:
    from bench.artefact import Artefact
    from bench.recipes import Recipe
    from bench.scenarios import Scenario

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
    recipe: Recipe
    start_ns: int | None = None
    """How long the process took to begin with the job; None: it was there before."""
    artifact_sha256: str = ""
    """Of what was brought in place of a lowering; "": nothing was."""

    @classmethod
    def find(cls, job: Job, start_ns: int | None = None) -> SystemUnderTest:
        """Imports no more parts than the job names; raises Unsupported, and PartError for an unknown name."""
        scenario = scenarios.parse(job.scenario)
        if refusal := scenario.refusal(job.batch, bool(job.bounds)):
            raise Unsupported(refusal)
        if scenario.name == "cold_start" and start_ns is None:
            raise Unsupported("cold_start needs a process of its own: leave out --in-process")
        recipe = recipes.parse(job.technique, job.parts)
        workload = recipe.of(_workload(job))
        engine = parts.find(Engine, job.engine, job.parts)
        if job.mode == "train":
            model = replace(workload.model(), objective=workload.objective())
            return cls(job, workload, model, engine, _device(job), scenario, recipe, start_ns)
        workload.tolerance(job.precision)
        model, sha256 = workload.calibrated(), ""
        if job.artifact:
            brought = carried.find(job.artifact)
            model = carried.given(brought, model, engine.form_for(job.precision), job.precision)
            sha256 = brought.sha256
        return cls(job, workload, model, engine, _device(job), scenario, recipe, start_ns, sha256)

    def build(self) -> tuple[Artefact, int]:
        """What the engine starts from, made or found in the cache, and the nanoseconds that took."""
        begin_ns = time.monotonic_ns()
        form = "" if self.job.mode == "train" else self.engine.form_of(self.model, self.job.precision)
        made = artefact.make(self.model, form, self.recipe.packing)
        return made, time.monotonic_ns() - begin_ns

    @contextmanager
    def unpacked(self, made: Artefact) -> Iterator[tuple[SystemUnderTest, int | None]]:
        """The same on an artefact that is no longer packed, and the nanoseconds that took; None: it never was."""
        with artefact.unpacked(self.model, made, self.recipe.packing) as (model, spent_ns):
            yield replace(self, model=model), spent_ns

    def compile(self, batch: int) -> Session:
        return self.engine.compile(self.model, self._plan(batch), self.device)

    def estimate(self, batch: int) -> Estimate:
        return self.engine.estimate(self.model, self._plan(batch), self.device)

    def _plan(self, batch: int) -> Plan:
        goal = cast("Any", self.job.goal or self.scenario.goal)
        wished = {k: v for wish in self.recipe.wishes for k, v in self.engine.options_for(wish).items()}
        if both := sorted(wished.keys() & self.job.options.keys()):
            raise Unsupported(f"--option {both[0]} is what --technique {self.recipe.name} sets: leave one of them out")
        return Plan(self.job.precision, batch, goal, cast("Any", self.job.mode), options={**wished, **self.job.options})

    def first_run(self, session: Session, batch: int) -> int:
        """Nanoseconds of the very first query, lazy allocation and code generation included."""
        query = self.workload.samples("perf", batch, 0).inputs
        begin_ns = time.monotonic_ns()
        session.get(session.run(session.put(query)))
        return time.monotonic_ns() - begin_ns

    def check(self, session: Session, batch: int, placement: Placement | None = None) -> dict[str, Any]:
        """Evidence shaped as `results.record.Evidence`, of what the session answers and where it runs.

        `placement` stands for the session's own where that computes in place of a device that is not here.
        """
        checks = {
            "outputs": partial(correctness.outputs, self.workload, session, batch, self.job.precision, self.job.seed),
            "quality": partial(quality.evaluate, self.workload, session, batch, EXAMPLES, self._scores_path),
        }
        found: dict[str, Any] = {"placement": asdict(placement or session.facts.placement)}
        missing: dict[str, str] = {}
        for name, check in checks.items():
            try:
                found[name] = check()
            except Unsupported as answer:
                found[name], missing[name] = None, str(answer)
        return {**found, "missing": missing}

    @property
    def _scores_path(self) -> Path:
        return Path(self.job.samples_path).with_suffix(".scores.f64")

    def choose_batch(self) -> tuple[int, str]:
        """The batch of the highest throughput, and the rates that were tried.

        Climbs until a batch is clearly slower than the best one, takes too long, or cannot be run.
        """
        rates: dict[int, float] = {}
        note = ""
        for batch in self.scenario.batches:
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
        """Samples per second of a short run under multi_stream's own load, and otherwise under offline's."""
        loop = load.CLOSED[self.scenario.name if self.scenario.name == "multi_stream" else "offline"]
        with closing(self.compile(batch)) as session:
            return load.rate_per_s(loop, self.workload, session, batch, PROBE)


def _workload(job: Job) -> Workload:
    if job.model and job.model == job.artifact:
        return carried.Bundled(job.model)
    if not job.model:
        return parts.find(Workload, job.workload, job.parts)
    from workloads import user

    return user.UserModel(job.model)


def _device(job: Job) -> Device:
    backend = parts.find(Backend, job.backend, job.parts)
    presence = backend.probe(job.targets)
    for device in presence.devices:
        if device.name == job.device:
            return device
    there = ", ".join(device.name for device in presence.devices) or presence.reason or "none"
    raise parts.PartError(f"backend {job.backend} has no device {job.device} here; there is: {there}")
