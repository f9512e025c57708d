from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from backends.contract import Backend, Device, Engine, Model, Plan, Presence, Session
from bench import cases, parts, selection
from bench.cases import Case, expand, items
from bench.profiles import PROFILES
from bench.selection import Selection, SelectionError
from results.names import is_name
from results.record import Card, Identity
from results.strict import Name
from tests.fakes import fake_workloads
from workloads.contract import Bound

HERE = Presence("present")
ONE = Device("b", "One device", {})

Shelves = Callable[..., Selection]


def backend(name: str, presence: Presence | Exception, family: str = "") -> Backend:
    class Fixed(Backend):
        seen: tuple[str, ...] = ()

        def probe(self, targets: Sequence[str] = ()) -> Presence:
            self.seen = tuple(targets)
            if isinstance(presence, Exception):
                raise presence
            return presence

    made = Fixed()
    made.name, made.family = name, family
    return made


def engine(name: str, presence: Presence | Exception = HERE, by_default: bool = True) -> Engine:
    class Fixed(Engine):
        def available(self, device: Device) -> Presence:
            if isinstance(presence, Exception):
                raise presence
            return presence

        def compile(self, model: Model, plan: Plan, device: Device) -> Session:
            raise AssertionError("collecting compiles nothing")

    made = Fixed()
    made.name, made.by_default = name, by_default
    return made


@pytest.fixture
def shelves(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts these backends and engines in place of the real ones; workloads are the fakes."""

    def fill(backends: Sequence[Backend], engines: Sequence[Engine]) -> None:
        def collect(base: type, extra: Sequence[str] = ()) -> list[parts.Found[object]]:
            if base is Backend:
                return [parts.Found(part.name, part, None, "b.py") for part in backends]
            if base is Engine:
                return [parts.Found(part.name, part, None, "e.py") for part in engines]
            return [found for found in parts.discover(base, "tests.fakes") if found.name == "fake-project"]

        monkeypatch.setattr(cases.parts, "collect", collect)

    return fill


def present(*devices: Device) -> Presence:
    return Presence("present", devices=devices or (ONE,))


def summary(found: Sequence[Case]) -> list[tuple[str, str, str, str]]:
    return [(case.backend, case.device, case.engine, case.presence.state) for case in found]


ONCE = Selection(scenarios=("offline",))


def test_every_axis_is_multiplied(shelves: Callable[..., None]) -> None:
    shelves([backend("b", present())], [engine("e"), engine("f")])
    found = expand(Selection(precisions=("fp32", "int8"), batches=("1", "auto")))
    assert len(found) == 2 * 2 * 2 * 2
    assert len({case.id for case in found}) == len(found)
    assert found[0].id == "fake-project-b-e-fp32-single_stream-b1"


def test_only_present_backends_are_measured_unless_named(shelves: Callable[..., None]) -> None:
    away = Presence("absent", "no /dev/x", "plug it in")
    shelves([backend("b", present()), backend("away", away)], [engine("e")])
    assert {case.backend for case in expand(ONCE)} == {"b"}
    (case,) = expand(dataclasses.replace(ONCE, backends=("away",)))
    assert summary([case]) == [("away", "none", "none", "absent")]
    assert case.presence.remedy == "plug it in"


@pytest.mark.parametrize("state", ["broken", "no_permission"])
def test_a_broken_backend_is_a_case_without_being_named(shelves: Callable[..., None], state: str) -> None:
    shelves([backend("b", Presence(state, "driver too old"))], [engine("e")])  # type: ignore[arg-type]
    assert summary(expand(ONCE)) == [("b", "none", "none", state)]


def test_a_probe_that_raises_is_a_broken_backend(shelves: Callable[..., None]) -> None:
    shelves([backend("b", RuntimeError("oops"))], [engine("e")])
    (case,) = expand(ONCE)
    assert case.presence.state == "broken"
    assert "RuntimeError: oops" in case.presence.reason


def test_an_engine_that_raises_is_a_broken_engine(shelves: Callable[..., None]) -> None:
    shelves([backend("b", present())], [engine("e", RuntimeError("oops"))])
    assert summary(expand(ONCE)) == [("b", "One device", "e", "broken")]


def test_absent_engines_are_left_out_unless_named(shelves: Callable[..., None]) -> None:
    gone = Presence("absent", "not installed", "pip install f")
    shelves([backend("b", present())], [engine("e"), engine("f", gone), engine("g", by_default=False)])
    assert [case.engine for case in expand(ONCE)] == ["e"]
    named = expand(dataclasses.replace(ONCE, engines=("f", "g")))
    assert [(case.engine, case.presence.state) for case in named] == [("f", "absent"), ("g", "present")]


def test_a_device_without_any_engine_says_why(shelves: Callable[..., None]) -> None:
    shelves([backend("b", present())], [engine("f", Presence("absent", "not installed", "pip install f"))])
    (case,) = expand(ONCE)
    assert summary([case]) == [("b", "One device", "none", "absent")]
    assert "f: not installed" in case.presence.reason
    assert case.presence.remedy == "pip install f"


COMPILED_FOR = Device("b", "U55", {}, runs=False)


def test_a_device_that_can_only_be_compiled_for_has_no_load_put_on_it(shelves: Callable[..., None]) -> None:
    shelves([backend("b", present(COMPILED_FOR))], [engine("e")])
    cases = expand(dataclasses.replace(ONCE, backends=("b",), scenarios=("server", "offline")))
    assert summary(cases) == [("b", "U55", "e", "present")]
    assert [(case.scenario, case.suite) for case in cases] == [("compile", "estimate")]
    assert len(items(cases, PROFILES["standard"], seed=0)) == 1


def test_no_load_generator_drives_what_is_only_compiled_for(
    shelves: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "find_spec", lambda _: object())
    shelves([backend("b", present(COMPILED_FOR, ONE))], [engine("e")])
    found = expand(dataclasses.replace(ONCE, backends=("b",), rules="mlperf"))
    assert [(case.device, case.rules) for case in found] == [("U55", "accelmark"), ("One device", "mlperf")]


def test_absent_hardware_that_can_be_compiled_for_is_both_when_it_is_named(shelves: Callable[..., None]) -> None:
    away = Presence("absent", "no U55", "get one", devices=(COMPILED_FOR,))
    shelves([backend("b", away), backend("c", present())], [engine("e")])
    named = summary(expand(dataclasses.replace(ONCE, backends=("b",))))
    assert named == [("b", "none", "none", "absent"), ("b", "U55", "e", "present")]
    assert {case.backend for case in expand(dataclasses.replace(ONCE, backends=()))} == {"c"}


def test_a_large_workload_is_measured_when_it_is_named(
    shelves: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    shelves([backend("b", present())], [engine("e")])
    monkeypatch.setattr(fake_workloads.FakeProject, "by_default", False)
    assert expand(ONCE) == []
    assert len(expand(dataclasses.replace(ONCE, workloads=("fake-project",)))) == 1


def test_devices_of_one_backend_have_ids_of_their_own(shelves: Callable[..., None]) -> None:
    shelves([backend("b", present(Device("b", "Same", {}), Device("b", "Same", {})))], [engine("e")])
    assert [case.id.split("-")[2] for case in expand(ONCE)] == ["b0", "b1"]


def test_a_family_names_its_backends(shelves: Callable[..., None]) -> None:
    shelves([backend("x", present(), "asic"), backend("y", present(), "asic"), backend("z", present())], [engine("e")])
    assert {case.backend for case in expand(dataclasses.replace(ONCE, backends=("asic",)))} == {"x", "y"}


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"backends": ("cuba",)}, "unknown backend cuba (did you mean cuda?); there are: cuda, gpu"),
        ({"engines": ("zzz",)}, "unknown engine zzz; there are: e"),
        ({"workloads": ("fake-projekt",)}, "unknown workload fake-projekt (did you mean fake-project?)"),
        (
            {"targets": ("tpu:v5e",)},
            "--target tpu:v5e: unknown backend tpu; there are: cuda; write BACKEND:SPECIFICATION",
        ),
    ],
)
def test_unknown_names_are_one_line_with_the_names(
    shelves: Callable[..., None], chosen: dict[str, tuple[str, ...]], message: str
) -> None:
    shelves([backend("cuda", present(), "gpu")], [engine("e")])
    with pytest.raises(SelectionError) as caught:
        expand(Selection(**chosen))  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "chosen",
    [
        {"precisions": ("fp33",)},
        {"scenarios": ("ofline",)},
        {"scenarios": ("server(rate=0)",)},
        {"scenarios": ("server(speed=40)",)},
        {"scenarios": ("offline(rate=40)",)},
        {"scenarios": ("cold_start(page_cache=hot)",)},
        {"scenarios": ("server(",)},
        {"scenarios": ("compile",)},
        {"rules": "mlcommons"},
        {"goal": "speed"},
        {"batches": ("0",)},
        {"batches": ("-1",)},
        {"batches": ("1.5",)},
        {"batches": ("many",)},
        {"options": {"<script>": "1"}},
        {"options": {"threads": "<script>alert(1)</script>"}},
    ],
)
def test_what_cannot_be_meant_is_refused(chosen: dict[str, object]) -> None:
    with pytest.raises(SelectionError):
        Selection(**chosen)  # type: ignore[arg-type]


@pytest.mark.parametrize("technique", ["magic", "none+int8-static", "int8-static+int8-static", ""])
def test_a_technique_that_cannot_be_meant_is_refused_before_anything_runs(technique: str) -> None:
    with pytest.raises(SelectionError, match="technique") as caught:
        expand(Selection(workloads=("kws",), techniques=(technique,)))
    assert "\n" not in str(caught.value)


def test_a_part_with_a_name_that_no_record_takes_is_refused(shelves: Callable[..., None]) -> None:
    shelves([backend("<script>alert(1)</script>", present())], [engine("e")])
    with pytest.raises(SelectionError, match="names have letters"):
        expand(ONCE)
    shelves([backend("b", present(Device("b", "<b>", {})))], [engine("e")])
    with pytest.raises(SelectionError, match="a device is '<b>'"):
        expand(ONCE)


def test_targets_go_to_the_backend_that_owns_them(shelves: Callable[..., None]) -> None:
    first, second = backend("x", present()), backend("y", present())
    shelves([first, second], [engine("e")])
    expand(dataclasses.replace(ONCE, targets=("y:1x1", "y:2x2")))
    assert first.seen == ()  # type: ignore[attr-defined]
    assert second.seen == ("y:1x1", "y:2x2")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (
            {"backends": ("x",), "targets": ("zz:1",)},
            "--target zz:1: --backend leaves z out; name it there too, or leave --backend out",
        ),
        ({"targets": ("z:1",)}, "--target z:1: targets of z begin with zz: and not with its name"),
    ],
)
def test_a_target_of_a_backend_that_is_there_says_what_to_write(
    shelves: Callable[..., None], chosen: dict[str, tuple[str, ...]], message: str
) -> None:
    other = backend("z", present())
    other.scheme = "zz"
    shelves([backend("x", present()), other], [engine("e")])
    with pytest.raises(SelectionError) as caught:
        expand(dataclasses.replace(ONCE, **chosen))  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_what_no_engine_starts_from_is_no_missing_package(shelves: Callable[..., None]) -> None:
    gone = Presence("absent", "not installed", "pip install f")
    shelves([backend("b", present())], [engine("e"), engine("f", gone)])
    (case,) = expand(dataclasses.replace(ONCE, artifact="kws_edgetpu.tflite", form="edgetpu"))
    assert case.presence.reason == "no engine for One device starts from edgetpu"
    assert "pip" not in case.presence.remedy


def test_a_target_that_is_not_here_says_so_without_its_backend_being_named(shelves: Callable[..., None]) -> None:
    shelves([backend("x", present()), backend("y", Presence("absent", "no such slice"))], [engine("e")])
    with_target = expand(dataclasses.replace(ONCE, backends=(), targets=("y:2x2",)))
    assert {(case.backend, case.presence.state) for case in with_target} == {("y", "absent")}


def test_a_target_that_can_be_meant_nowhere_is_a_mistake(shelves: Callable[..., None]) -> None:
    shelves([backend("y", Presence("no_such_target", "y knows no target 3x3", "write y:2x2"))], [engine("e")])
    with pytest.raises(SelectionError, match="--target y:3x3: y knows no target 3x3; write y:2x2"):
        expand(dataclasses.replace(ONCE, backends=(), targets=("y:3x3",)))


def test_the_goal_is_the_scenarios_own_unless_it_is_given(shelves: Callable[..., None]) -> None:
    shelves([backend("b", present())], [engine("e")])
    assert {case.scenario: case.goal for case in expand(Selection())} == {
        "single_stream": "latency",
        "offline": "throughput",
    }
    forced = expand(Selection(goal="latency"))
    assert {case.goal for case in forced} == {"latency"}
    assert len({case.id for case in forced}) == 2


def test_identity_and_card_fit_a_record(shelves: Callable[..., None]) -> None:
    shelves([backend("b", present())], [engine("e")])
    (case,) = expand(dataclasses.replace(ONCE, options={"threads": "1"}, bounds=(Bound(7, 90),)))
    assert Identity(**case.identity()).options == {"threads": "1"}
    card = Card.model_validate(case.card(), strict=False)
    assert [(bound.latency_ms, bound.percentile) for bound in card.bounds] == [(7, 90)]
    assert case.id.endswith("-threads=1")


def test_items_repeat_what_is_present_and_name_the_rest_once(shelves: Callable[..., None]) -> None:
    gone = Presence("absent", "not installed")
    shelves([backend("b", present())], [engine("e"), engine("f", gone)])
    found = items(expand(dataclasses.replace(ONCE, engines=("e", "f"))), PROFILES["standard"], seed=3)
    assert sorted((item.case.engine, item.repeat) for item in found) == [*(("e", n) for n in range(5)), ("f", 0)]
    assert [item.order for item in found] == list(range(6))
    assert len({item.id for item in found}) == 6


def test_the_seed_decides_the_order(shelves: Callable[..., None]) -> None:
    shelves([backend("b", present())], [engine(name) for name in "abcdefgh"])
    found = expand(Selection())
    orders = [[item.id for item in items(found, PROFILES["standard"], seed)] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])


def test_official_asks_for_mlperfs_durations_and_counts() -> None:
    effort = PROFILES["official"].effort("offline", "16")
    assert (effort.min_duration_s, effort.min_queries) == (600, 24_576 // 16)
    assert PROFILES["official"].effort("single_stream", "1").min_queries == 1024
    assert [profile.repeats for profile in PROFILES.values()] == [1, 5, 10]


@pytest.mark.parametrize(
    ("profile", "scenario", "batch", "queries"),
    [
        ("quick", "server(rate=40)", "8", 64),
        ("standard", "server", "8", 2_048),
        ("official", "multi_stream", "8", 662),
        ("official", "cold_start(page_cache=cold)", "1", 1),
        ("standard", "offline", "auto", 1_024),
        ("quick", "offline", "8", 7),
    ],
)
def test_counts_are_of_queries_where_a_percentile_is(profile: str, scenario: str, batch: str, queries: int) -> None:
    assert PROFILES[profile].effort(scenario, batch).min_queries == queries


def test_a_search_takes_longer_and_a_cold_start_has_no_window() -> None:
    quick = PROFILES["quick"]
    assert quick.item_s("server") == quick.item_s("offline") + 3 * quick.min_duration_s
    assert quick.item_s("cold_start") == pytest.approx(quick.item_s("single_stream") - quick.min_duration_s)


def test_scenarios_with_parameters_are_cases_of_their_own(shelves: Callable[..., None]) -> None:
    shelves([backend("b", present())], [engine("e")])
    found = expand(Selection(scenarios=("server(rate=40)", "server(rate=40.0)", "server", "cold_start")))
    assert [case.scenario for case in found] == ["server(rate=40)", "server", "cold_start"]
    assert [case.goal for case in found] == ["throughput", "throughput", "latency"]
    assert found[0].id == "fake-project-b-e-fp32-server(rate=40)-b1"
    assert Identity(**found[0].identity()).scenario == "server(rate=40)"


def test_rules_are_identity_and_in_the_id_where_they_are_not_our_own(
    shelves: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    shelves([backend("b", present())], [engine("e")])
    monkeypatch.setattr(selection, "find_spec", lambda name: object() if name == "mlperf_loadgen" else None)
    ours, theirs = (expand(dataclasses.replace(ONCE, rules=rules))[0] for rules in ("accelmark", "mlperf"))
    assert (ours.id, theirs.id) == ("fake-project-b-e-fp32-offline-b1", "fake-project-b-e-fp32-offline-b1-mlperf")
    assert Identity(**theirs.identity()).rules == "mlperf"
    assert Identity(**ours.identity()).key != Identity(**theirs.identity()).key


def test_rules_of_mlperf_need_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "find_spec", lambda _name: None)
    with pytest.raises(SelectionError, match=r"--rules mlperf needs MLPerf's LoadGen: pip install -e '.\[mlperf\]'"):
        Selection(rules="mlperf")


@given(st.text(max_size=200))
def test_names_are_what_a_record_takes(text: str) -> None:
    try:
        TypeAdapter(Name).validate_python(text)
    except ValidationError:
        assert not is_name(text)
    else:
        assert is_name(text)


def test_another_interpreter_is_asked_whether_it_has_the_engine() -> None:
    selection = Selection(engines=("fake-exact",), parts=("tests.fakes",), pythons={"fake-exact": sys.executable})
    asked = cases._available_in(sys.executable, "fake-exact", Device("fake", "Fake 1", {}), ("tests.fakes",))
    assert asked.state == "present"
    elsewhere = cases._available_in(sys.executable, "torch", Device("fake", "Fake 1", {}), ())
    assert elsewhere.remedy == f"install torch for {sys.executable}, or check --python"
    (usable,) = {
        case.presence.state
        for case in expand(dataclasses.replace(selection, backends=("fake",), scenarios=("offline",)))
    }
    assert usable == "present"


@pytest.mark.parametrize("python", ["/no/such/python", "/bin/false"])
def test_an_interpreter_that_does_not_answer_is_broken(python: str) -> None:
    asked = cases._available_in(python, "fake-exact", ONE, ())
    assert asked.state == "broken"
    assert f"check --python fake-exact={python}" in asked.remedy


def test_broken_parts_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("half_package")
    package.__path__ = []
    monkeypatch.setitem(sys.modules, "half_package", package)
    failing = parts.Found("x", None, "ImportError: no", "x.py")
    monkeypatch.setattr(cases.parts, "collect", lambda base, extra=(): [failing] if base is Engine else [])
    assert cases.broken(Selection()) == [failing]
