"""What a row unfolds to, section by section: everything that was recorded, and nothing where nothing was."""

from __future__ import annotations

from results.record import Artefact, Conditions, Kernels, Load, Machine, Phases, Probe, Record, Stages
from results.report import sections
from tests.fakes import records

PLAIN = records.record()


def conditions_of(**values: object) -> dict[str, str]:
    every = {name: None for name in Conditions.model_fields if name not in ("moment", "missing")} | values
    missing = {name: "hidden" for name, value in every.items() if value is None}
    one = Conditions.model_validate({"moment": "during", **every, "missing": missing})
    context = PLAIN.context.model_copy(update={"conditions": (one,)})
    return dict(sections.conditions(PLAIN.model_copy(update={"context": context})))


def test_conditions_name_what_was_seen_of_host_and_device_and_why_the_rest_was_not() -> None:
    found = conditions_of(
        load_1m=1.25, other_cpu_percent=7.5, governor="powersave", device_clock_mhz=1410.0, device_other_users=2,
        device_memory_used_bytes=3 << 30, device_throttle_reasons=("sw_thermal", "power_cap"),
    )  # fmt: skip
    assert found["during"] == (
        "load 1.25, 7.5 % used by others, governor powersave, device 1410 MHz, 2 other users of the device, "
        "3.22 GB used on the device, throttled: sw_thermal, power_cap"
    )
    (hidden,) = (names for names, text in found.items() if text == "not measured: hidden")
    assert "steal percent" in hidden
    assert "governor" not in hidden


def test_nothing_seen_is_said() -> None:
    assert conditions_of()["during"] == "nothing could be read"


def test_a_long_search_is_cut() -> None:
    probes = tuple(Probe(rate_per_s=1000.0 * k, queries=700, over=0, met=True) for k in range(1, 31))
    load = Load(
        bound_ms=10, percentile=99, offered_per_s=30_000, issued_per_s=30_000, lag_p99_ns=900, lag_max_ns=1_500_000,
        over=0, searched=True, attempts=3, probes=probes,
    )  # fmt: skip
    found = dict(sections.load(PLAIN.model_copy(update={"load": load})))
    assert found["offered"] == "30,000 queries/s (searched for, tried in 3 windows), 30,000 issued"
    assert found["issued late"] == "900 ns at p99, 1.5 ms at most"
    assert found["probes"].splitlines()[0] == "1,000/s kept (0 of 700 over)"
    assert found["probes"].splitlines()[-1] == "and 6 more"


def test_a_rate_that_was_set_was_not_searched_for() -> None:
    found = dict(sections.load(records.record(records.of("server(rate=40)"))))
    assert found["offered"] == "40.00 queries/s (set by --scenario), 39.96 issued"
    assert "probes" not in found


def test_stages_say_what_the_device_does_not() -> None:
    stages = Stages(
        queries=20,
        put_ns=1200,
        run_ns=2_500_000,
        get_ns=900,
        missing=dict.fromkeys(("device_ns", "enqueue_ns"), "no clock"),
    )
    found = dict(sections.stages(with_evidence(stages=stages)))
    assert found == {
        "put": "1.2 µs", "run": "2.5 ms", "get": "900 ns", "device": "not measured: no clock",
        "enqueue": "not measured: no clock", "queries": "20",
    }  # fmt: skip


def with_evidence(**changes: object) -> Record:
    return PLAIN.model_copy(update={"evidence": records.evidence(PLAIN.identity, **changes)})


def test_what_was_executed_is_told_by_precision_with_the_engine_s_own_names() -> None:
    ran = Kernels(
        source="a profile", kernels={"fp32": 1, "int8": 53}, names={"QLinearConv": 53, "Softmax": 2},
        time_share={"int8": 0.875},
    )  # fmt: skip
    found = dict(sections.executed(with_evidence(kernels=ran)))
    assert list(found) == ["int8", "fp32", "kernels", "by"]
    assert found["int8"] == "53 matrix products and convolutions, 87.5% of the time of all kernels"
    assert found["fp32"] == "1 matrix products and convolutions, 0.0% of the time of all kernels"
    assert found["kernels"] == "53 QLinearConv\n2 Softmax"


def test_an_artefact_says_what_it_took_and_what_nobody_knows() -> None:
    known = {"stored_bytes": 25_700_000, "unpack_ns": 7_000_000, "zero_share": 0.5, "making_s": 1.25, "samples": 64}
    gaps = {name: "nobody counts them" for name in Artefact.model_fields if name not in known}
    made = Artefact.model_validate({
        "kind": "file", "form": "onnx", "steps": ("quantise",), **known, "missing": gaps,
    })  # fmt: skip
    found = dict(sections.artefact(with_evidence(artefact=made)))
    assert (found["it is"], found["steps beyond fp32"]) == ("a file, form onnx", "quantise")
    assert (found["stored"], found["unpacking"], found["zero weights"]) == ("25.7 MB", "7 ms", "50.0%")
    assert (found["making it"], found["samples"]) == ("1.25 s", "64")
    assert found["parameters"] == found["training"] == "not known: nobody counts them"


def test_evidence_before_the_window_and_from_it_stand_apart() -> None:
    found = dict(sections.evidence(PLAIN))
    assert found["outputs"] == found["of the timed window"] == "12 of 12 nearest to their own golden output"
    assert found["one input again and again"] == "takes 0.998 [0.990, 1.006] of the time, 10 pairs"


def test_doubtful_energy_says_why_and_what_was_not_read() -> None:
    energy = records.energy(power_valid=False, power_reasons=("too_few_readings", "gap"), idle_w=None,
                            missing={"idle_w": "it was never idle"})  # fmt: skip
    found = dict(sections.energy(PLAIN.model_copy(update={"energy": energy})))
    assert found["power"] == "not valid: too few readings, gap"
    assert found["idle"] == "not measured: it was never idle"
    assert found["second meter"] == "not measured: only one meter"
    assert found["longest gap"] == "110 ms"


def test_what_a_record_has_not_has_no_section() -> None:
    bare = PLAIN.model_copy(update={"evidence": None, "energy": None, "phases": Phases(missing=dict.fromkeys(
        (name for name in Phases.model_fields if name != "missing"), "x"))})  # fmt: skip
    for section in (
        sections.load, sections.loadgen, sections.evidence, sections.executed, sections.artefact, sections.stages,
        sections.energy,
    ):  # fmt: skip
        assert dict(section(bare)) == {}


def test_a_containers_limits_are_told() -> None:
    limits = {"cpu_limit_cores": 1.5, "memory_limit_bytes": 2_000_000_000, "missing": {"instance_type": "unknown"}}
    found = dict(sections.machine(Machine.model_validate({**dict(records.MACHINE), **limits})))
    assert found["limited by its container"] == "1.5 cores, 2 GB"
    assert found["last-level cache"] == "110 MB"
    assert "limited by its container" not in dict(sections.machine(records.MACHINE))
