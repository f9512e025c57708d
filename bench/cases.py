"""From what was asked for to the items that are measured: cases, and their repeats in a shuffled order.

Nothing here imports an engine, pandas or pydantic: collecting a thousand cases has to cost no more than a glance.
"""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any, NamedTuple

from backends.contract import Backend, Device, Engine, Presence
from bench import ROOT, parts, recipes, scenarios
from bench.parts import Found
from bench.profiles import Profile
from bench.recipes import Recipe, RecipeError
from bench.selection import TRAIN_BATCH, Selection, SelectionError, checked_name, parsed
from workloads import user
from workloads.contract import Bound, Technique, Workload


@dataclass(frozen=True)
class Case:
    """One combination to measure, or the reason why it cannot be: then `presence` is not "present"."""

    workload: Workload
    technique: str
    precision: str
    batch: str
    scenario: str
    goal: str
    options: Mapping[str, str]
    bounds: tuple[Bound, ...]
    backend: str
    place: str
    device: str
    engine: str
    presence: Presence
    rules: str = "accelmark"
    targets: tuple[str, ...] = ()
    mode: str = "infer"

    @property
    def suite(self) -> str:
        """Which bench/test_*.py asks about it."""
        if self.scenario == scenarios.COMPILE:
            return "estimate"
        if self.mode == "train":
            return "training"
        return "hardware" if self.technique == recipes.NONE else "techniques"

    @property
    def model(self) -> str:
        """The folder of a user's own model; "" for a workload of ours."""
        return self.workload.folder if isinstance(self.workload, user.UserModel) else ""

    @property
    def id(self) -> str:
        """Readable and unique in a run, for `-k` and for reports of pytest."""
        technique = () if self.technique == recipes.NONE else (self.technique,)
        options = [f"{key}={value}" for key, value in sorted(self.options.items())]
        words = (self.workload.card.name, self.place, self.engine, self.precision, *technique, self.scenario)
        goal = () if self.goal == scenarios.parse(self.scenario).goal else (self.goal,)
        rules = () if self.rules == "accelmark" else (self.rules,)
        return "-".join([*words, *goal, f"b{self.batch}", *rules, *options])

    def identity(self) -> dict[str, Any]:
        """The fields of `results.record.Identity`."""
        names = ("mode", "technique", "precision", "batch", "scenario", "goal", "rules", "backend", "device", "engine")
        chosen = {name: getattr(self, name) for name in names}
        return {**chosen, "workload": self.workload.card.name, "options": dict(self.options)}

    def card(self) -> dict[str, Any]:
        """The fields of `results.record.Card`, with the bounds that were asked for; training promises none."""
        card = asdict(self.workload.card)
        if self.mode == "train":
            return {**card, "bounds": []}
        return {**card, "bounds": [asdict(bound) for bound in self.bounds or self.workload.card.bounds]}


@dataclass(frozen=True)
class Item:
    """One process: a case and which repeat of it, as the `order`-th of the run."""

    case: Case
    repeat: int
    order: int

    @property
    def id(self) -> str:
        return f"{self.case.id}-r{self.repeat + 1}" if self.repeat else self.case.id


def items(cases: Sequence[Case], profile: Profile, seed: int) -> list[Item]:
    """Every case as often as it is worth repeating, in an order that `seed` decides."""
    pairs = [(case, n) for case in cases for n in range(_repeats(case, profile))]
    random.Random(seed).shuffle(pairs)  # noqa: S311 - an order, not a secret
    return [Item(case, repeat, order) for order, (case, repeat) in enumerate(pairs)]


def _repeats(case: Case, profile: Profile) -> int:
    """What is not here comes once, and so does what is only predicted: that has no variance for repeats to tell."""
    measured = case.presence.state == "present" and case.scenario != scenarios.COMPILE
    return profile.repeats if measured else 1


def expand(selection: Selection) -> list[Case]:
    """All cases of `selection`; raises SelectionError for a name that no part has."""
    try:
        workloads, chosen = _workloads(selection), _recipes(selection)
        found = parts.collect(Backend, selection.parts)
        backends = _backends(found, selection.backends)
        engines = parts.collect(Engine, selection.parts)
        named = _named(Engine, engines, selection.engines)
        others = [name for name in selection.pythons if name not in {one.name for one in backends}]
        _named(Engine, engines, tuple(others))
    except (parts.PartError, RecipeError) as error:
        raise SelectionError(str(error)) from error
    for part in (*backends, *named):
        checked_name(f"the name of {type(part).__name__}", part.name)
    targets = _targets(selection.targets, backends, [one.part for one in found if one.part is not None])
    if targets and not selection.backends:
        backends = [backend for backend in backends if backend.name in targets]
    places = [
        place for backend in backends for place in _places(backend, named, selection, targets.get(backend.name, ()))
    ]
    if selection.mode == "train" and (away := next((place.device for place in places if not place.runs), "")):
        raise SelectionError(f"--mode train runs steps, and {away} is only compiled for: leave it out")
    return [case for place in places for case in _cases(workloads, chosen, selection, place)]


def broken(selection: Selection) -> list[Found[Any]]:
    """The parts that could not be loaded, of every kind."""
    bases: tuple[type[Any], ...] = (Workload, Technique, Backend, Engine)
    found = (one for base in bases for one in parts.collect(base, selection.parts) if one.error)
    return list({(one.file, one.error): one for one in found}.values())


class Place(NamedTuple):
    """Where a case is measured: `short` names it in ids, `presence` says whether the engine can drive the device."""

    backend: str
    short: str
    device: str
    runs: bool
    engine: str
    presence: Presence
    targets: tuple[str, ...]


def _workloads(selection: Selection) -> list[Workload]:
    """The named workloads and the user's own models; where neither is named, all, or those to try techniques on."""
    own: list[Workload] = [user.UserModel(folder) for folder in selection.models]
    if own and not selection.workloads:
        return own
    named = _named(Workload, parts.collect(Workload, selection.parts), selection.workloads)
    if selection.workloads:
        return [*own, *named]
    return [one for one in named if (one.subject if recipes.ALL in selection.techniques else one.by_default)]


def _recipes(selection: Selection) -> list[Recipe]:
    """What was asked for, each once, by name; "all" is every technique of the shelf."""
    found: dict[str, Recipe] = {}
    for text in selection.techniques:
        every = recipes.everything(selection.parts) if text == recipes.ALL else [recipes.parse(text, selection.parts)]
        found |= {recipe.name: recipe for recipe in every}
    return list(found.values())


def _tried(workload: Workload, chosen: Iterable[Recipe], selection: Selection) -> Iterator[tuple[str, str]]:
    """Technique and precision, each pair once: a technique that decides the precision is not tried in others."""
    named = {recipes.parse(text, selection.parts).name for text in selection.techniques if text != recipes.ALL}
    pairs = (
        (recipe.name, precision)
        for recipe in chosen
        if recipe.name in named or recipe.suits(workload)
        for precision in ((recipe.precision,) if recipe.precision else selection.precisions)
    )
    return iter(dict.fromkeys(pairs))


def _cases(
    workloads: Iterable[Workload], tried: Sequence[Recipe], selection: Selection, place: Place
) -> Iterator[Case]:
    """A device that is not here is compiled for, whatever the scenario and its rules: no load is put on it."""
    chosen = tuple(dict.fromkeys(str(parsed(text)) for text in selection.scenarios))
    chosen, rules = (chosen, selection.rules) if place.runs else ((scenarios.COMPILE,), Selection.rules)
    for workload in workloads:
        checked_name("the name of a workload", workload.card.name)
        axes = (_tried(workload, tried, selection), _batches(workload, selection), chosen)
        for (technique, precision), batch, scenario in product(*axes):
            goal = selection.goal or scenarios.parse(scenario).goal
            asked = (technique, precision, batch, scenario, goal, selection.options, selection.bounds)
            where = (place.backend, place.short, place.device, place.engine, place.presence)
            yield Case(workload, *asked, *where, rules, place.targets, selection.mode)


def _batches(workload: Workload, selection: Selection) -> tuple[str, ...]:
    """The batches asked for; a model that was written for one batch takes no other.

    By default 1, or what a workload needs to be timed where techniques are compared on it.
    """
    fixed = str(workload.batch) if isinstance(workload, user.UserModel) and workload.batch else ""
    for batch in selection.batches:
        if fixed and batch != fixed:
            raise SelectionError(
                f"--batch {batch}: {workload.card.name} takes {fixed} samples at once and no other number; "
                f"leave --batch out, or export it with a free axis 0"
            )
    if selection.mode == "train":
        return selection.batches or (TRAIN_BATCH,)
    usual = str(workload.technique_batch) if selection.techniques != Selection.techniques else "1"
    return selection.batches or (fixed or usual,)


def _places(
    backend: Backend, engines: Sequence[Engine], selection: Selection, targets: tuple[str, ...]
) -> Iterator[Place]:
    presence = _asked(lambda: backend.probe(targets), f"backends: probing {backend.name}")
    if presence.state == "no_such_target":
        raise SelectionError(f"--target {','.join(targets)}: {presence.reason}; {presence.remedy}")
    named = bool(selection.backends or targets)
    if presence.state != "present" and (named or presence.state != "absent"):
        yield Place(backend.name, backend.name, "none", True, "none", presence, targets)
    devices = [device for device in presence.devices if device.runs or named]
    for number, device in enumerate(devices):
        short = backend.name if len(devices) == 1 else f"{backend.name}{number}"
        for engine, state in _engines(device, engines, selection):
            name = checked_name("a device", device.name)
            yield Place(backend.name, short, name, device.runs, engine, state, targets)


def _engines(device: Device, engines: Sequence[Engine], selection: Selection) -> Iterator[tuple[str, Presence]]:
    """The engines to measure on `device`: the named ones whatever their state, or all the default ones that can."""
    states = {engine: _available(engine, device, selection) for engine in engines}
    if selection.engines:
        yield from ((engine.name, state) for engine, state in states.items())
        return
    asked = (engine for engine in states if engine.by_default and _takes(engine, selection))
    usable = [(engine.name, states[engine]) for engine in asked if states[engine].state != "absent"]
    yield from usable or [("none", _no_engine(device, states, selection))]


def _takes(engine: Engine, selection: Selection) -> bool:
    """Whether an artefact that was brought is what this engine starts from."""
    return not selection.form or selection.form in {engine.form_for(one) for one in selection.precisions}


def _no_engine(device: Device, states: Mapping[Engine, Presence], selection: Selection) -> Presence:
    """The reasons of the engines that the device has an address for; where it has none, of all.

    Engines that do not start from an artefact that was brought have nothing to do with it, and packages do not help.
    """
    default = {engine.name: state for engine, state in states.items() if engine.by_default}
    takers = {engine.name for engine in states if _takes(engine, selection)}
    if selection.form and not takers & default.keys() & device.address.keys():
        remedy = "bring what an engine of this device starts from: accelmark export WORKLOAD --target NAME"
        return Presence("absent", f"no engine for {device.name} starts from {selection.form}", remedy)
    addressed = {name: state for name, state in default.items() if name in device.address} or default
    tried = {name: state for name, state in addressed.items() if name in takers}
    why = "; ".join(f"{name}: {state.reason}" for name, state in tried.items())
    remedy = next((state.remedy for state in tried.values() if state.remedy), "install an engine for it")
    return Presence("absent", f"no engine can drive {device.name} ({why or 'there is none'})", remedy)


def _available(engine: Engine, device: Device, selection: Selection) -> Presence:
    python = selection.python(engine.name, device.backend)
    if python:
        return _available_in(python, engine.name, device, selection.parts)
    return _asked(lambda: engine.available(device), f"engines: asking {engine.name}")


_ASK = """
import dataclasses, json, sys
from backends.contract import Device, Engine
from bench import parts
name, device, extra = json.loads(sys.argv[1])
presence = parts.find(Engine, name, extra).available(Device(**device))
print(json.dumps({**dataclasses.asdict(presence), "devices": ()}))
"""


def _available_in(python: str, engine: str, device: Device, extra: Sequence[str]) -> Presence:
    """What `engine` says in the environment of another interpreter."""
    question = json.dumps([engine, asdict(device), list(extra)])
    try:
        answer = subprocess.run(
            [python, "-c", _ASK, question], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
        )
        presence = Presence(**json.loads(answer.stdout))
        remedy = f"install {engine} for {python}, or check --python" if presence.state == "absent" else presence.remedy
        return replace(presence, remedy=remedy)
    except subprocess.CalledProcessError as error:
        why = (error.stderr.strip() or f"exit status {error.returncode}").splitlines()[-1]
    except (OSError, subprocess.TimeoutExpired, ValueError, TypeError) as error:
        why = str(error)
    return Presence("broken", f"asking {engine} in {python}: {why}", f"check --python {engine}={python}")


def _asked(question: Any, moment: str) -> Presence:
    """The answer of a part, which must not raise; one that does is a fault of that part, and is reported as such."""
    try:
        presence: Presence = question()
    except Exception as error:  # noqa: BLE001 - a part is foreign code, and its fault must not hide the others
        return Presence("broken", f"{moment} raised {type(error).__name__}: {error}", "mend that part's file")
    return presence


def _named(base: type[Any], found: Sequence[Found[Any]], wanted: Sequence[str]) -> list[Any]:
    by_name = {one.name: one.part for one in found if one.part is not None}
    for name in wanted:
        if name not in by_name:
            raise SelectionError(parts.unknown(base, name, found))
    return [by_name[name] for name in wanted] if wanted else list(by_name.values())


def _backends(found: Sequence[Found[Backend]], wanted: Sequence[str]) -> list[Backend]:
    """Backends by name or by family, each once."""
    loaded = [one.part for one in found if one.part is not None]
    for name in wanted:
        if not any(name in (backend.name, backend.family) for backend in loaded):
            raise SelectionError(parts.unknown(Backend, name, found, [b.family for b in loaded if b.family]))
    return [b for b in loaded if not wanted or b.name in wanted or b.family in wanted]


def _targets(
    specs: Sequence[str], backends: Sequence[Backend], everyone: Sequence[Backend]
) -> dict[str, tuple[str, ...]]:
    """Specifications by the name of the backend that owns their scheme; `backends` are those chosen of `everyone`."""
    owners = {scheme(backend): backend.name for backend in backends}
    owned: dict[str, tuple[str, ...]] = {}
    for spec in specs:
        start = spec.partition(":")[0]
        if start not in owners:
            raise SelectionError(f"--target {spec}: {_unowned(start, list(owners), everyone)}")
        owned[owners[start]] = (*owned.get(owners[start], ()), spec)
    return owned


def _unowned(start: str, owners: Sequence[str], everyone: Sequence[Backend]) -> str:
    """Why no chosen backend owns targets that begin with `start`, and what to write."""
    for backend in everyone:
        if start == scheme(backend):
            return f"--backend leaves {backend.name} out; name it there too, or leave --backend out"
        if start == backend.name:
            return f"targets of {backend.name} begin with {scheme(backend)}: and not with its name"
    return f"{parts.no_such('backend', start, owners)}; write BACKEND:SPECIFICATION"


def scheme(backend: Backend) -> str:
    """What stands before the first colon of this backend's targets."""
    return backend.scheme or backend.name
