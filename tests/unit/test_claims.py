from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from results import join, published
from results.claims import hardware
from results.claims.hardware import BANDS, KINDS, Claim, band, judge_band, judge_price
from results.cost import Pricing
from results.record import Identity
from results.store import Run
from tests.fakes import market, records

CPU = [i for i in records.identities(24) if i.engine == "onnxruntime" and records.CARDS[i.workload].role == "model"]


def on(identity: Identity, backend: str, device: str) -> Identity:
    return identity.model_copy(update={"backend": backend, "device": device})


def found(
    root: Path, *made: tuple[Identity, float, dict[str, Any]], pricing: Pricing | None = None
) -> dict[str, Claim]:
    """The hardware table over one record for each (identity, speed, changes)."""
    from results.stats import summarise

    with Run.open(root, "20261101T020000Z-000001") as run:
        for order, (identity, speed, changes) in enumerate(made):
            record = records.record(identity, run_id="20261101T020000Z-000001", order=order, speed=speed, **changes)
            run.append(record)
            if record.window:
                run.append_summary(summarise(record, records.samples(identity, 1000, 0, speed)))
    return {claim.kind: claim for claim in hardware.claims(join.table(root, pricing))}


def test_the_claim_is_whole() -> None:
    assert [kind.name for kind in KINDS] == ["CPU", "A100", "TPU v4", "Edge TPU", "Inferentia", "custom ASIC"]
    for kind in KINDS:
        for question in BANDS:
            assert getattr(kind, question) in [name for name, _ in BANDS[question]]


def test_with_a_cpu_alone_every_ratio_is_undecided(tmp_path: Path) -> None:
    rows = found(tmp_path, *((identity, 1.0, {}) for identity in CPU))
    cpu = rows["CPU"]
    assert (cpu.absence, cpu.workloads) == ("", 10)
    for question in ("throughput", "latency"):
        answer = cpu.answers[question]
        assert (answer.provenance, answer.verdict, answer.reason) == (
            "measured",
            "undecided",
            "no other hardware measured",
        )
        assert "geometric mean of 10 workloads" in answer.found
    assert cpu.answers["power"].found == ""
    assert cpu.answers["power"].reason == f"power not measured: {records.NO_METER}"
    assert cpu.answers["best_use"].found.endswith("workloads within the bound")
    for kind in list(rows)[1:]:
        assert rows[kind].absence.startswith("not measured: no run with --backend=")
        assert {rows[kind].answers[question].verdict for question in BANDS} == {"undecided"}


def test_absent_hardware_has_the_reason_of_the_run(tmp_path: Path) -> None:
    cuda = on(CPU[0], "cuda", "none")
    rows = found(tmp_path, (CPU[0], 1.0, {}), (cuda, 1.0, {"status": "absent"}))
    assert rows["A100"].absence == "absent: no NVIDIA driver: /dev/nvidiactl does not exist"


def test_a_kind_that_was_only_compiled_for_stays_undecided(tmp_path: Path) -> None:
    """Its estimates are below, and fill no cell."""
    away = records.of("single_stream", backend="ethos_u", device="none", engine="none")
    estimate = {name: getattr(records.estimated(), name) for name in ("provenance", "estimate", "evidence")}
    estimate |= {"window": None, "load": None, "energy": None}
    rows = found(tmp_path / "1", (CPU[0], 1.0, {}), (records.compiled(), 1.0, estimate))
    assert rows["custom ASIC"].absence == "absent: no run here found the hardware; estimated: see below"
    rows = found(
        tmp_path / "2", (CPU[0], 1.0, {}), (records.compiled(), 1.0, estimate),
        (away, 1.0, {"status": "absent", "reason": "no Arm Ethos-U"}),
    )  # fmt: skip
    assert rows["custom ASIC"].absence == "absent: no Arm Ethos-U; estimated: see below"
    assert {rows["custom ASIC"].answers[question].verdict for question in BANDS} == {"undecided"}
    assert rows["Edge TPU"].absence.startswith("not measured: no run")
    simulated = {**estimate, "provenance": "simulator"}
    rows = found(tmp_path / "3", (CPU[0], 1.0, {}), (records.compiled(), 1.0, simulated))
    assert rows["custom ASIC"].absence == "absent: no run here found the hardware; simulated: see below"


def test_another_card_is_no_a100(tmp_path: Path) -> None:
    rows = found(tmp_path, (CPU[0], 1.0, {}), (on(CPU[0], "cuda", "NVIDIA T4"), 9.0, {}))
    assert rows["A100"].absence == "not measured: NVIDIA T4 is no A100"


def test_a_named_execution_provider_is_no_asic(tmp_path: Path) -> None:
    """It may drive this very processor: nobody says what hardware is behind it."""
    rows = found(tmp_path, (CPU[0], 1.0, {}), (on(CPU[0], "generic_ep", "CPUExecutionProvider"), 9.0, {}))
    assert rows["custom ASIC"].absence == "not measured: no run with --backend=asic is among these results"
    assert {rows["custom ASIC"].answers[question].found for question in BANDS} == {""}


def test_invalid_results_prove_nothing(tmp_path: Path) -> None:
    wrong = {"evidence": records.evidence(CPU[0], outputs=records._wrong())}
    rows = found(tmp_path, (CPU[0], 1.0, wrong))
    assert rows["CPU"].absence == "measured, but with no valid result: see its rows"


def test_estimates_are_not_measured(tmp_path: Path) -> None:
    rows = found(tmp_path, (CPU[0], 1.0, {}), (on(CPU[1], "ethos_u", "u55-256"), 90.0, {"provenance": "modelled"}))
    assert rows["custom ASIC"].answers["throughput"].provenance == "none"


def test_other_hardware_is_a_ratio_to_the_cpu(tmp_path: Path) -> None:
    """Ten times the speed on every workload, in both scenarios; 30 microseconds a query do not scale."""
    big = [identity for identity in CPU if identity.workload in ("resnet50", "bert-base", "llama-prefill")]
    a100 = [on(identity, "cuda", "NVIDIA A100-SXM4-40GB") for identity in big]
    rows = found(tmp_path, *((i, 1.0, {}) for i in big), *((i, 10.0, {}) for i in a100))
    throughput, latency = (rows["A100"].answers[question] for question in ("throughput", "latency"))
    assert throughput.found.startswith("9.9")
    assert "x the CPU (high)" in throughput.found
    assert (throughput.verdict, throughput.reason) == ("holds", "over 3 workloads that the CPU ran too")
    assert latency.verdict == "exceeds"
    assert "x the CPU (very low)" in latency.found
    assert rows["CPU"].answers["throughput"].reason == "the CPU is the unit of these bands"


def test_no_shared_workload_no_ratio(tmp_path: Path) -> None:
    offline = [i for i in CPU if i.scenario == "offline"]
    rows = found(tmp_path, (offline[0], 1.0, {}), (on(offline[1], "inferentia", "inf2"), 9.0, {}))
    assert rows["Inferentia"].answers["throughput"].reason == "no workload was measured on both it and a CPU in fp32"


def test_power_from_energy(tmp_path: Path) -> None:
    offline = next(i for i in CPU if i.scenario == "offline")

    def powered(watts: float, identity: Identity, speed: float, **changes: Any) -> dict[str, Any]:
        window = records.record(identity, speed=speed).window
        assert window is not None
        return {"energy": records.energy(energy_j=watts * window.duration_ns / 1e9, **changes)}

    edge = on(offline, "edgetpu", "Edge TPU")
    rows = found(tmp_path, (offline, 1.0, powered(100.0, offline, 1.0)), (edge, 1.0, powered(2.0, edge, 1.0)))
    assert rows["Edge TPU"].answers["power"].found.startswith("0.0200x the CPU (very low), 2.00 W offline")
    assert rows["Edge TPU"].answers["power"].verdict == "holds"
    doubtful = powered(2.0, edge, 1.0, power_valid=False, power_reasons=("too_few_readings",))
    rows = found(tmp_path / "b", (offline, 1.0, powered(100.0, offline, 1.0)), (edge, 1.0, doubtful))
    answer = rows["Edge TPU"].answers["power"]
    assert (answer.found, answer.verdict) == ("", "undecided")
    assert answer.reason == "power measured, but not to be believed: too_few_readings"


def test_scenarios_and_load_generators_never_share_a_best(tmp_path: Path) -> None:
    """A faster multi-stream, server or LoadGen run is another quantity."""
    usual = [records.of(scenario, "resnet50") for scenario in ("single_stream", "offline")]
    others = [records.of(scenario, "resnet50") for scenario in ("multi_stream", "server", "server(rate=5)")]
    others += [identity.model_copy(update={"rules": "mlperf"}) for identity in usual]
    alone = found(tmp_path / "a", *((identity, 1.0, {}) for identity in usual))
    mixed = found(tmp_path / "b", *((identity, 1.0, {}) for identity in usual), *((i, 50.0, {}) for i in others))
    for question in ("throughput", "latency"):
        assert mixed["CPU"].answers[question] == alone["CPU"].answers[question]


def test_the_cost_of_serving_is_a_servers_where_there_is_one(tmp_path: Path) -> None:
    """Each client alone is cheap on the card, and serving is cheap on the processor."""
    single, server = records.of("single_stream"), records.of("server")
    made = [(single, 1.0, {}), (on(single, "cuda", "A100"), 2.0, {})]
    pricing = Pricing(usd_per_hour=1.0)
    assert found(tmp_path / "a", *made, pricing=pricing)["A100"].answers["best_use"].found.endswith("bound: kws")
    made += [(server, 1.0, {}), (on(server, "cuda", "A100"), 0.5, {})]
    rows = found(tmp_path / "b", *made, pricing=pricing)
    assert rows["CPU"].answers["best_use"].found == "cheapest within the bound: kws"
    assert rows["A100"].answers["best_use"].found == "cheapest within the bound: nothing"


def test_best_use_is_what_it_is_cheapest_at(tmp_path: Path) -> None:
    single = {i.workload: i for i in CPU if i.scenario == "single_stream"}
    small, large = single["kws"], single["resnet50"]
    made = [(small, 1.0, {}), (large, 2.0, {})]
    made += [(on(small, "cuda", "A100"), 0.5, {}), (on(large, "cuda", "A100"), 20.0, {})]
    rows = found(tmp_path, *made, pricing=Pricing(usd_per_hour=1.0))
    assert rows["CPU"].answers["best_use"].found == "cheapest within the bound: kws"
    assert rows["CPU"].answers["best_use"].verdict == "holds"
    assert rows["A100"].answers["best_use"].found == "cheapest within the bound: resnet50"
    assert rows["A100"].answers["best_use"].verdict == "reversed"  # 25 million parameters are not large


class TestPrices:
    def test_the_catalogs_stand_beside_the_claimed_ones(self, tmp_path: Path) -> None:
        rows = found(tmp_path, (CPU[0], 1.0, {}))
        prices = {kind: claim.answers["usd_per_hour"] for kind, claim in rows.items()}
        assert [answer.claimed for answer in prices.values()] == ["$0.10", "$3.00", "$2.40", "$0.05", "$0.80", "$1.50"]
        assert [answer.verdict for answer in prices.values()] == [
            "holds", "holds", "falls short", "undecided", "holds", "holds",
        ]  # fmt: skip
        assert prices["A100"].found == "$2.74"
        assert "p4d.24xlarge / 8 chips, aws us-east-1 on demand, 2026-07-20" in prices["A100"].reason
        assert prices["Edge TPU"].reason.startswith("bought, not rented")

    def test_what_the_reader_gives_is_shown_as_given(self, tmp_path: Path) -> None:
        answer = found(tmp_path, (CPU[0], 1.0, {}), pricing=Pricing(usd_per_hour=0.05))["CPU"].answers["usd_per_hour"]
        assert (answer.found, answer.provenance, answer.verdict) == ("$0.0500", "given", "exceeds")


@pytest.mark.parametrize(
    ("question", "claimed", "ratio", "verdict"),
    [
        ("throughput", "high", 10, "holds"), ("throughput", "high", 20, "exceeds"),
        ("throughput", "high", 3, "falls short"),
        ("throughput", "low", 10, "exceeds"), ("throughput", "very high", 1.5, "falls short"),
        ("throughput", "very high", 0.5, "reversed"), ("throughput", "low", 0.5, "holds"),
        ("latency", "low", 0.5, "holds"), ("latency", "low", 0.1, "exceeds"), ("latency", "low", 1.0, "falls short"),
        ("latency", "low", 3.0, "reversed"), ("latency", "very low", 2.0, "reversed"),
        ("latency", "medium", 1.0, "holds"),
        ("power", "high", 0.05, "reversed"), ("power", "high", 2.0, "exceeds"), ("power", "low", 1.0, "holds"),
        ("power", "low", 2.0, "falls short"),
    ],
)  # fmt: skip
def test_verdicts(question: str, claimed: str, ratio: float, verdict: str) -> None:
    assert judge_band(question, claimed, ratio) == verdict


def test_bands_have_no_gap() -> None:
    for question, limits in BANDS.items():
        ends = [end for _, end in limits]
        assert ends == sorted(ends)
        assert ends[-1] == float("inf")
        assert band(question, 0.0) == limits[0][0]
        assert band(question, 1e9) == limits[-1][0]


@pytest.mark.parametrize(("usd", "verdict"), [(3.0, "holds"), (3.7, "holds"), (3.8, "falls short"), (2.2, "exceeds")])
def test_prices(usd: float, verdict: str) -> None:
    assert judge_price(3.0, usd) == verdict


class TestPublished:
    """Others' figures fill a cell only where one table has the kind beside a CPU in fp32."""

    def rows(self, root: Path, *table: dict[str, object]) -> dict[str, Claim]:
        (root / "published.csv").write_text(market.table(*table))
        published.import_file(root / "published.csv", root)
        return {claim.kind: claim for claim in hardware.claims(join.table(root))}

    def test_corals_cpu_has_no_precision_so_nothing_is_decided(self, tmp_path: Path) -> None:
        edge = self.rows(tmp_path, *market.CORAL)["Edge TPU"]
        assert edge.absence == (
            "not measured: no run with --backend=edgetpu is among these results; "
            "published, but in no table beside a CPU in fp32"
        )
        assert {answer.verdict for answer in edge.answers.values()} == {"undecided"}

    def test_beside_a_cpu_in_fp32_it_is_judged_and_says_whose_figures(self, tmp_path: Path) -> None:
        cpus = [
            market.row("Desktop CPU", name, value, "ms", n_accel="", dtype="fp32")
            for name, value in (("VGG16 (224x224)", 2960), ("VGG19 (224x224)", 3080))
        ]
        edge = self.rows(tmp_path, *market.CORAL, *cpus)["Edge TPU"]
        answer = edge.answers["latency"]
        assert (answer.provenance, answer.verdict) == ("published", "holds")
        assert answer.found == "0.100x the CPU (very low), published"
        assert answer.reason == "others' figures, over 2 networks that a CPU ran in fp32 in the same table"
        assert edge.answers["throughput"].verdict == "undecided"
        assert edge.answers["power"].verdict == "undecided"

    @pytest.mark.parametrize("other", [{"scenario": "Offline"}, {"metric": "latency p99"}, {"batch": "8"}])
    def test_under_other_conditions_it_is_no_neighbour(self, tmp_path: Path, other: dict[str, object]) -> None:
        cpu = market.row("Desktop CPU", "VGG16 (224x224)", 2960, "ms", **{"n_accel": "", "dtype": "fp32", **other})
        assert self.rows(tmp_path, *market.CORAL, cpu)["Edge TPU"].answers["latency"].verdict == "undecided"

    def test_a_measured_kind_needs_nobody_elses_figures(self, tmp_path: Path) -> None:
        (tmp_path / "published.csv").write_text(market.table(*market.CORAL))
        published.import_file(tmp_path / "published.csv", tmp_path)
        edge = on(CPU[0], "edgetpu", "Coral Edge TPU (PCIe)")
        row = found(tmp_path, (CPU[0], 1.0, {}), (edge, 2.0, {}))["Edge TPU"]
        assert (row.absence, row.answers["latency"].provenance) == ("", "measured")

    def test_rates_are_of_one_accelerator(self, tmp_path: Path) -> None:
        usual: dict[str, object] = {"scenario": "Offline", "metric": "throughput", "batch": "", "source": "x"}
        kind = market.row("NVIDIA A100-SXM-80GB", "resnet50", 80_000, "Samples/s", **{**usual, "n_accel": "8"})
        cpu = market.row("Some CPU", "resnet50", 1000, "Samples/s", **{**usual, "n_accel": "", "dtype": "fp32"})
        answer = self.rows(tmp_path, kind, cpu)["A100"].answers["throughput"]
        assert answer.found == "10.0x the CPU (high), published"
