from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from results import early_stopping, join, lints, rows, store
from results.cost import Owned, Pricing, usd_per_million
from results.log import frame
from results.metrics import METRICS
from results.record import Artefact, Bound, Identity, Reason, Record
from results.stats import RULES_VERSION, interval, summarise
from results.store import Run, StoreError
from tests.fakes import records, showcase

SINGLE, OFFLINE = records.identities(2)


def keep(root: Path, *made: Record, speeds: tuple[float, ...] = (), summaries: bool = True) -> Path:
    """Store records of one run with real samples and summaries."""
    with Run.open(root, made[0].context.run_id) as run:
        for number, record in enumerate(made):
            if record.window:
                speed = speeds[number] if speeds else 1.0
                samples = records.samples(record.identity, record.window.queries, 0, speed)
                samples.astype("<i8").tofile(run.samples_path(record.record_id))
                if summaries:
                    run.append_summary(summarise(record, samples))
            run.append(record)
    return root


def repeats(identity: Identity, n: int, run: int = 1, **changes: Any) -> tuple[tuple[Record, ...], tuple[float, ...]]:
    speeds = tuple(1 + 0.01 * (k - n // 2) for k in range(n))
    run_id = f"2026110{run}T020000Z-00000{run}"
    made = tuple(
        records.record(identity, run_id=run_id, repeat=k, order=k, speed=speed, **changes)
        for k, speed in enumerate(speeds)
    )
    return made, speeds


def only(table: join.Table) -> dict[str, Any]:
    assert len(table.rows) == 1
    return dict(table.rows.iloc[0])


class TestRows:
    @pytest.mark.parametrize(("n", "kind"), [(1, "range"), (4, "range"), (5, "t"), (10, "t")])
    def test_repeats_become_a_median_with_an_interval_or_a_range(self, tmp_path: Path, n: int, kind: str) -> None:
        made, speeds = repeats(SINGLE, n)
        row = only(join.table(keep(tmp_path, *made, speeds=speeds)))
        values = [
            summary.latency_p50_ns
            for _, summary in store.read(tmp_path)
            if summary and summary.latency_p50_ns is not None
        ]
        expected = interval(values)
        assert (row["n"], row["repeats"], row["interval"]) == (n, n, kind)
        for end, value in (("", expected.centre), ("_low", expected.low), ("_high", expected.high)):
            assert row[f"latency_p50_ns{end}"] == pytest.approx(value)
        assert row["verdict"] == "valid"

    def test_only_the_newest_run_counts(self, tmp_path: Path) -> None:
        for run in (2, 1, 3):
            made, speeds = repeats(SINGLE, run, run)
            keep(tmp_path, *made, speeds=speeds)
        row = only(join.table(tmp_path))
        assert (row["run_id"], row["n"]) == ("20261103T020000Z-000003", 3)

    def test_machines_are_kept_apart(self, tmp_path: Path) -> None:
        keep(tmp_path, *repeats(SINGLE, 1, 1)[0])
        keep(tmp_path, *repeats(SINGLE, 1, 2, machine=records.CLOUD_MACHINE)[0])
        table = join.table(tmp_path)
        assert sorted(table.rows["hostname"]) == ["bench-1", "ip-10-0-0-7"]
        assert set(table.machines) == set(table.rows["fingerprint"])

    @pytest.mark.parametrize("status", ["absent", "unsupported", "failed"])
    def test_what_was_not_measured_is_a_row_with_reasons(self, tmp_path: Path, status: str) -> None:
        keep(tmp_path, records.record(SINGLE, status=status))
        row = only(join.table(tmp_path))
        assert (row["status"], row["verdict"], row["n"]) == (status, None, 0)
        assert row["reason"]
        assert all(row["missing"][metric.key] for metric in METRICS if metric.key != "usd_per_hour")

    def test_every_gap_in_a_figure_has_a_reason(self, tmp_path: Path) -> None:
        records.write_root(tmp_path, identities=64, runs=1, repeats=2)
        for row in join.table(tmp_path).rows.to_dict("records"):
            for column in [metric.key for metric in METRICS] + ["bounds_met", "datasheet_flops_per_s"]:
                value = row[column]
                assert (value is None or value != value) == (column in row["missing"]), (column, value)

    def test_whatever_is_missing_has_its_reason(self, tmp_path: Path) -> None:
        """Companions too: the ends of an interval, the unit of a quality."""
        records.write_root(tmp_path / "usual", identities=64, runs=1, repeats=2)
        showcase.write(tmp_path / "every", repeats=2)
        for name in ("usual", "every"):
            for row in join.table(tmp_path / name).rows.to_dict("records"):
                gaps = {column for column in rows.COLUMNS if row[column] is None or row[column] != row[column]}
                assert gaps == row["missing"].keys(), (gaps ^ row["missing"].keys(), row["workload"], row["scenario"])
                assert all(row["missing"].values())

    def test_columns_and_their_types_are_always_the_same(self, tmp_path: Path) -> None:
        tmp_path.joinpath("empty").mkdir()
        records.write_root(tmp_path / "full", identities=64, runs=1, repeats=1)
        empty, full = (join.table(tmp_path / name) for name in ("empty", "full"))
        assert tuple(empty.rows.columns) == tuple(full.rows.columns) == rows.COLUMNS
        assert (empty.rows.dtypes == full.rows.dtypes).all()
        assert (empty.oldest_utc, empty.newest_utc) == (None, None)
        assert not full.rows["verdict"].isin([np.nan]).any()

    def test_some_repeats_failed(self, tmp_path: Path) -> None:
        made, speeds = repeats(SINGLE, 3)
        failed = records.record(SINGLE, status="failed", run_id=made[0].context.run_id, repeat=3, order=3)
        row = only(join.table(keep(tmp_path, *made, failed, speeds=(*speeds, 1.0))))
        assert (row["status"], row["verdict"], row["n"], row["repeats"]) == ("ok", "noisy", 3, 4)
        assert [reason.detail for reason in row["reasons"]] == ["1 of 4 repeats gave no result"]

    def test_one_reason_a_code_with_how_many_repeats_have_it(self, tmp_path: Path) -> None:
        made, speeds = repeats(SINGLE, 3)
        wrong = made[1].model_copy(update={"evidence": records.evidence(SINGLE, outputs=records._wrong())})
        row = only(join.table(keep(tmp_path, made[0], wrong, made[2], speeds=speeds)))
        assert row["verdict"] == "invalid"
        assert [reason.code for reason in row["reasons"]] == ["outputs_wrong"]
        assert row["reasons"][0].detail.startswith("1 of 3 repeats: 9 of 12 outputs")

    def test_a_note_is_neither_noisy_nor_lost(self, tmp_path: Path) -> None:
        made, speeds = repeats(SINGLE, 3)
        note = Reason(code="host_bound", severity="note", detail="the host took half of it")
        keep(tmp_path, *made, speeds=speeds, summaries=False)
        for k, one in enumerate(made):
            summary = summarise(one, records.samples(SINGLE, 1000, 0, speeds[k]))
            reasons = (*summary.reasons, note) if k < 2 else summary.reasons
            store.keep_summary(tmp_path / one.context.run_id, summary.model_copy(update={"reasons": reasons}))
        row = only(join.table(tmp_path))
        assert row["verdict"] == "valid"
        (found,) = (reason for reason in row["reasons"] if reason.code == "host_bound")
        assert (found.severity, found.detail) == ("note", "2 of 3 repeats: the host took half of it")

    def test_loadgens_verdict_is_the_rows(self, tmp_path: Path) -> None:
        made = records.record(SINGLE.model_copy(update={"rules": "mlperf"}))
        row = only(join.table(keep(tmp_path / "a", made)))
        assert (row["rules"], row["loadgen"], row["official"]) == ("mlperf", "VALID", False)
        assert made.loadgen is not None
        invalid = made.model_copy(update={"loadgen": made.loadgen.model_copy(update={"valid": False})})
        assert only(join.table(keep(tmp_path / "b", invalid)))["loadgen"] == "INVALID"
        row = only(join.table(keep(tmp_path / "c", records.record(SINGLE))))
        assert row["missing"]["loadgen"] == "LoadGen did not drive it"

    def test_a_wide_interval_is_noisy(self, tmp_path: Path) -> None:
        speeds = (0.8, 0.9, 1.0, 1.1, 1.2)
        made = tuple(records.record(OFFLINE, repeat=k, order=k, speed=speed) for k, speed in enumerate(speeds))
        row = only(join.table(keep(tmp_path, *made, speeds=speeds)))
        assert (row["verdict"], [reason.code for reason in row["reasons"]]) == ("noisy", ["wide_interval"])

    def test_an_absent_backend_is_forgotten_once_it_is_there(self, tmp_path: Path) -> None:
        cuda = SINGLE.model_copy(update={"backend": "cuda", "device": "none"})
        found = SINGLE.model_copy(update={"backend": "cuda", "device": "NVIDIA T4"})
        keep(tmp_path, records.record(cuda, status="absent", run_id="20261101T020000Z-000001"))
        assert only(join.table(tmp_path))["status"] == "absent"
        keep(tmp_path, records.record(found, run_id="20261102T020000Z-000002"))
        assert only(join.table(tmp_path))["device"] == "NVIDIA T4"
        keep(tmp_path, records.record(cuda, status="absent", run_id="20261103T020000Z-000003"))
        assert sorted(join.table(tmp_path).rows["status"]) == ["absent", "ok"]

    def test_hostile_text_arrives_as_it_was_written(self, tmp_path: Path) -> None:
        keep(tmp_path, records.record(SINGLE, status="failed", reason=records.HOSTILE_TEXT))
        assert only(join.table(tmp_path))["reason"] == records.HOSTILE_TEXT

    def test_the_way_back_to_the_raw_files(self, tmp_path: Path) -> None:
        row = only(join.table(keep(tmp_path, *repeats(SINGLE, 2)[0])))
        assert all((tmp_path / file).is_file() for file in row["files"])
        assert [record.record_id for record, _ in row["entries"]] == [Path(file).stem for file in row["files"]]
        assert row["command"].startswith("pytest bench/")


class TestSummaries:
    @pytest.mark.parametrize("stale", [False, True])
    def test_missing_or_stale_ones_are_made_again_and_kept(self, tmp_path: Path, stale: bool) -> None:
        (made,), _ = repeats(SINGLE, 1)
        keep(tmp_path, made, summaries=False)
        folder = tmp_path / made.context.run_id
        if stale:
            samples = records.samples(SINGLE, 1000)
            old = summarise(made, samples).model_copy(
                update={"rules_version": RULES_VERSION + 1, "latency_p50_ns": 1.0}
            )
            store.keep_summary(folder, old)
        first = only(join.table(tmp_path))
        assert first["latency_p50_ns"] > 1000
        assert [summary.rules_version for _, summary in store.read(tmp_path) if summary] == [RULES_VERSION]
        for file in first["files"]:
            (tmp_path / file).unlink()
        assert only(join.table(tmp_path))["latency_p50_ns"] == first["latency_p50_ns"]

    def test_an_older_summary_stands_where_the_samples_are_gone(self, tmp_path: Path) -> None:
        (made,), _ = repeats(SINGLE, 1)
        old = summarise(made, records.samples(SINGLE, 1000)).model_copy(update={"rules_version": 1})
        keep(tmp_path, made, summaries=False)
        store.keep_summary(tmp_path / made.context.run_id, old)
        for file in tmp_path.rglob("*.i64"):
            file.unlink()
        table = join.table(tmp_path)
        assert only(table)["latency_p50_ns"] == old.latency_p50_ns
        (problem,) = table.problems
        assert f"only figures of rules 1 for {made.record_id}: " in str(problem)
        assert "the samples file is gone; measure it again" in str(problem)

    def test_without_samples_there_are_no_figures_and_one_line_says_so(self, tmp_path: Path) -> None:
        (made,), _ = repeats(SINGLE, 1)
        keep(tmp_path, made, summaries=False)
        for file in tmp_path.rglob("*.i64"):
            file.write_bytes(b"short")
        table = join.table(tmp_path)
        row = only(table)
        assert (row["verdict"], [reason.code for reason in row["reasons"]]) == ("invalid", ["no_figures"])
        (problem,) = table.problems
        assert "no figures for" in str(problem)
        assert "5 bytes where 1000 samples" in str(problem)

    def test_problems_of_reading_are_passed_on(self, tmp_path: Path) -> None:
        keep(tmp_path, *repeats(SINGLE, 1)[0])
        with next(tmp_path.rglob(store.RECORDS)).open("ab") as log:
            log.write(frame(b'{"schema_version": 99}'))
        (problem,) = join.table(tmp_path).problems
        assert "update accelmark" in str(problem)

    def test_nowhere(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError):
            join.table(tmp_path / "nowhere")


class TestCost:
    def test_a_given_price(self, tmp_path: Path) -> None:
        keep(tmp_path, *repeats(SINGLE, 1)[0], records.record(OFFLINE, run_id="20261101T020000Z-000001", order=1))
        table = join.table(tmp_path, Pricing(usd_per_hour=0.35, share=0.5, utilisation=0.8))
        for row in table.rows.to_dict("records"):
            assert row["usd_per_million"] == pytest.approx(usd_per_million(0.35, row["throughput_per_s"], 0.5, 0.8))
            assert (row["price_kind"], row["share"], row["utilisation"]) == ("given", 0.5, 0.8)
            assert row["usd_is_floor"] == (row["scenario"] == "offline")

    def test_a_cold_start_has_no_rate_and_so_no_cost(self, tmp_path: Path) -> None:
        row = only(join.table(keep(tmp_path, records.record(records.of("cold_start")))))
        assert row["usd_per_hour"] > 0
        assert row["missing"]["usd_per_million"] == "a cold start is one query: it has no rate"

    def test_a_known_instance_type_needs_no_help(self, tmp_path: Path) -> None:
        keep(tmp_path, *repeats(SINGLE, 1, machine=records.CLOUD_MACHINE)[0])
        row = only(join.table(tmp_path))
        assert (row["usd_per_hour"], row["price_date"]) == (0.08925, "2026-07-20")

    def test_an_unknown_machines_processor_is_priced_by_reference(self, tmp_path: Path) -> None:
        row = only(join.table(keep(tmp_path, *repeats(SINGLE, 1)[0])))
        assert row["price_kind"] == "reference"
        assert row["usd_per_million"] == pytest.approx(usd_per_million(row["usd_per_hour"], row["throughput_per_s"]))

    def test_no_price_has_its_reason(self, tmp_path: Path) -> None:
        card = SINGLE.model_copy(update={"backend": "cuda", "device": "NVIDIA L4"})
        row = only(join.table(keep(tmp_path, *repeats(card, 1)[0])))
        for column in ("usd_per_hour", "usd_per_million"):
            assert np.isnan(row[column])
            assert "no known instance type; give --price or --owned" in row["missing"][column]

    def test_electricity_is_added_from_measured_power_only(self, tmp_path: Path) -> None:
        pricing = Pricing(owned=Owned.parse("8766usd/1y"), usd_per_kwh=0.30)
        (made,), _ = repeats(SINGLE, 1)
        row = only(join.table(keep(tmp_path / "a", made), pricing))
        assert row["usd_per_hour"] == pytest.approx(1.0)
        assert row["price_source"].endswith("electricity left out: power not measured")
        assert made.window is not None
        joules = 200.0 * made.window.duration_ns / 1e9
        energy = records.energy(energy_j=joules)
        row = only(join.table(keep(tmp_path / "b", made.model_copy(update={"energy": energy})), pricing))
        assert row["usd_per_hour"] == pytest.approx(1.0 + 0.06)
        assert "at $0.3/kWh and 200.0 W measured" in row["price_source"]
        assert row["energy_j"] == pytest.approx(joules / 1000)
        assert row["power_w"] == pytest.approx(200.0)
        doubtful = records.energy(energy_j=joules, power_valid=False, power_reasons=("too_few_readings",))
        row = only(join.table(keep(tmp_path / "c", made.model_copy(update={"energy": doubtful})), pricing))
        assert row["price_source"].endswith("electricity left out: power not measured")
        assert (row["power_valid"], row["power_reasons"]) == (False, "too_few_readings")
        assert row["power_w"] == pytest.approx(200.0)


class TestBounds:
    def found(self, root: Path, queries: int, *bounds: tuple[float, float]) -> tuple[Any, str]:
        """For kws, whose median is about 118 us."""
        identity = next(i for i in records.identities(40) if i.workload == "kws" and i.scenario == "single_stream")
        keep(root, records.record(identity, queries=queries))
        made = tuple(Bound(latency_ms=ms, percentile=p) for ms, p in bounds)
        row = only(join.table(root, bounds=made))
        return row["bounds_met"], row["missing"].get("bounds_met", "")

    @pytest.mark.parametrize(
        ("queries", "bounds", "met"),
        [
            (1000, [(10.0, 99.0)], True),
            (1000, [(0.01, 99.0)], False),
            (1000, [(10.0, 99.0), (0.01, 50.0)], False),
            (1000, [(10.0, 99.0), (0.18, 99.9)], None),
            (1000, [(0.13, 90.0)], True),
            (1000, [(0.18, 99.9)], None),
            (400, [(10.0, 99.0)], None),
            (460, [(10.0, 99.0)], True),
            (20, [(0.05, 99.0)], False),
        ],
    )
    def test_met_or_not_or_nobody_knows(
        self, tmp_path: Path, queries: int, bounds: list[tuple[float, float]], met: bool | None
    ) -> None:
        found, reason = self.found(tmp_path, queries, *bounds)
        assert found is met
        assert bool(reason) == (met is None)

    def test_no_slow_query_proves_as_much_as_early_stopping_allows(self, tmp_path: Path) -> None:
        """459 queries of which none was slower than the bound prove p99, and 458 do not."""
        enough = early_stopping.needed_queries(0, 0.99)
        assert enough == 459
        for queries, met in ((enough, True), (enough - 1, None)):
            found, reason = self.found(tmp_path / str(queries), queries, (10.0, 99.0))
            assert found is met
        assert reason == "458 queries do not prove the bound with 99 % confidence"

    def test_a_repeat_that_broke_it_is_not_outvoted(self, tmp_path: Path) -> None:
        made = [records.record(SINGLE, repeat=k, order=k) for k in range(3)]
        slow = keep(tmp_path, *made, speeds=(1.0, 1.0, 0.1))
        slowest = sorted(summary.latency_max_ns / 1e6 for _, summary in only(join.table(slow))["entries"])
        between = Bound(latency_ms=(slowest[1] + slowest[2]) / 2, percentile=99.0)
        assert only(join.table(slow, bounds=(between,)))["bounds_met"] is False

    def test_a_servers_own_count_decides_on_the_bound_that_it_was_run_under(self, tmp_path: Path) -> None:
        """As its search does it: 1000 queries allow 2 over at p99; up to 10 are no proof, more break it."""
        server = records.of("server")
        made = records.record(server)
        assert made.load is not None
        for over, met in ((0, True), (2, True), (3, None), (10, None), (11, False)):
            load = made.load.model_copy(update={"over": over})
            row = only(join.table(keep(tmp_path / str(over), made.model_copy(update={"load": load}))))
            assert (row["bounds"], row["load_bound"]) == ("p99 <= 10 ms", "p99 <= 10 ms")
            assert row["bounds_met"] is met, over
            assert row["usd_is_floor"] is (met is not True)

    def test_the_servers_count_is_not_off_by_a_rounding_error(self, tmp_path: Path) -> None:
        """10 % of 1000 queries are 100, and in floats a little less; the check of the record counts the same."""
        made = records.record(records.of("server"))
        assert made.load is not None
        for over, met in ((100, None), (101, False)):
            load = made.load.model_copy(update={"over": over, "percentile": 90.0})
            row = only(join.table(keep(tmp_path / str(over), made.model_copy(update={"load": load}))))
            assert row["bounds_met"] is met, over

    def test_latencies_at_rates_that_each_repeat_found_for_itself_are_not_averaged(self, tmp_path: Path) -> None:
        first, second = (records.record(records.of("server"), repeat=n, order=n) for n in range(2))
        assert second.load is not None
        faster = second.model_copy(update={"load": second.load.model_copy(update={"offered_per_s": 1e6})})
        same = only(join.table(keep(tmp_path / "same", first, second)))
        apart = only(join.table(keep(tmp_path / "apart", first, faster)))
        assert same["latency_p99_ns"] > 0
        assert math.isnan(apart["latency_p99_ns"])
        assert apart["missing"]["latency_p99_ns"] == "each repeat was at the rate that it had found: see the repeats"
        assert (apart["throughput_per_s"], apart["bounds_met"]) == (same["throughput_per_s"], same["bounds_met"])

    def test_another_bound_than_the_servers_own_is_judged_by_latencies(self, tmp_path: Path) -> None:
        keep(tmp_path, records.record(records.of("server")))
        assert only(join.table(tmp_path, bounds=(Bound(latency_ms=0.01, percentile=99.0),)))["bounds_met"] is False
        row = only(join.table(tmp_path, bounds=(Bound(latency_ms=5.0, percentile=99.0),)))
        assert (row["bounds"], row["load_bound"], row["bounds_met"]) == ("p99 <= 5 ms", "p99 <= 10 ms", True)

    def test_the_cards_own_are_the_default(self, tmp_path: Path) -> None:
        row = only(join.table(keep(tmp_path, records.record(SINGLE))))
        assert row["bounds"] == "p99 <= 100 ms"
        assert row["bounds_met"] is False

    def test_offline_promises_nothing(self, tmp_path: Path) -> None:
        row = only(join.table(keep(tmp_path, records.record(OFFLINE))))
        assert row["bounds_met"] is None
        assert "completions, not latencies" in row["missing"]["bounds_met"]


class TestRoofline:
    def test_achieved_and_share_of_the_measured_roof(self, tmp_path: Path) -> None:
        names = ("resnet50", "ceiling-flops", "ceiling-bytes")
        chosen = [i for i in records.identities(24) if i.workload in names and i.scenario == "offline"]
        run_id = "20261101T020000Z-000001"
        keep(tmp_path, *(records.record(i, run_id=run_id, order=k) for k, i in enumerate(chosen)))
        table = join.table(tmp_path)
        rows = {row["workload"]: row for row in table.rows.to_dict("records")}
        card, rate = records.CARDS["resnet50"], rows["resnet50"]["throughput_per_s"]
        assert rows["resnet50"]["achieved_flops_per_s"] == pytest.approx(rate * card.flops)
        intensity = card.flops / (card.weight_bytes + card.io_bytes)
        assert rows["resnet50"]["intensity_flops_per_byte"] == pytest.approx(intensity)
        (roof,) = table.ceilings.values()
        assert roof.flops_per_s == pytest.approx(rows["ceiling-flops"]["achieved_flops_per_s"])
        ceiling = records.CARDS["ceiling-bytes"]
        moved = rows["ceiling-bytes"]["throughput_per_s"] * (ceiling.weight_bytes + ceiling.io_bytes)
        assert roof.bytes_per_s == pytest.approx(moved)
        limit = min(roof.flops_per_s or 0, (roof.bytes_per_s or 0) * intensity)
        assert rows["resnet50"]["ceiling_share"] == pytest.approx(rate * card.flops / limit)
        assert roof.at(1e-6) == pytest.approx(1e-6 * moved)

    def test_operations_that_cannot_be_counted_say_so(self, tmp_path: Path) -> None:
        made = records.record(OFFLINE)
        uncounted = made.model_copy(update={"card": made.card.model_copy(update={"flops": None})})
        row = only(join.table(keep(tmp_path, uncounted)))
        for column in ("achieved_flops_per_s", "intensity_flops_per_byte", "ceiling_share"):
            assert row["missing"][column] == "the workload's operations cannot be counted"

    def test_waiting_in_a_queue_makes_no_roof_higher(self, tmp_path: Path) -> None:
        server = records.of("server", "ceiling-flops")
        table = join.table(keep(tmp_path, records.record(server)))
        (roof,) = table.ceilings.values()
        assert roof.flops_per_s == pytest.approx(only(table)["achieved_flops_per_s"])

    def test_a_roof_is_the_fastest_query(self, tmp_path: Path) -> None:
        ceilings = (one for one in records.identities(24) if one.workload == "ceiling-flops")
        (probe,) = (one for one in ceilings if one.scenario == "single_stream")
        table = join.table(keep(tmp_path, records.record(probe)))
        row, (roof,) = only(table), table.ceilings.values()
        assert row["latency_min_ns"] < row["latency_mean_ns"]
        fastest = row["achieved_flops_per_s"] * row["latency_mean_ns"] / row["latency_min_ns"]
        assert roof.flops_per_s == pytest.approx(fastest)

    def test_without_ceilings_the_share_says_so(self, tmp_path: Path) -> None:
        row = only(join.table(keep(tmp_path, records.record(OFFLINE))))
        assert "no measured ceilings for cpu at fp32" in row["missing"]["ceiling_share"]


def test_old_runs_cost_their_checksum_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records.write_root(tmp_path, identities=30, runs=8, repeats=1, mixed=False)
    validated = []
    validate = Record.model_validate_json

    def counted(payload: bytes) -> Record:
        validated.append(payload)
        return validate(payload)

    monkeypatch.setattr(Record, "model_validate_json", counted)
    assert len(join.table(tmp_path).rows) == len(validated) == 30


def treated(technique: str, parameters: int | None, **figures: Any) -> Record:
    """A resnet50 of which a technique made an artefact of 30 MB."""
    identity = records.identities(1)[0].model_copy(update={"technique": technique})
    known = {"stored_bytes": 30_000_000, "unpacked_bytes": 30_000_000, "parameters": parameters, **figures}
    gaps = {name: "not in this test" for name in Artefact.model_fields if known.get(name) is None}
    made = Artefact(kind="file", form="onnx", **known, missing=gaps)
    return records.record(identity, evidence=records.evidence(identity, artefact=made))


class TestTechniques:
    def test_a_smaller_network_has_no_share_in_the_card_s_operations(self, tmp_path: Path) -> None:
        row = only(join.table(keep(tmp_path, treated("prune-structured-50", 12_700_000))))
        reason = (
            "prune-structured-50 left 12700000 of 25557032 parameters: the card's operations are not this network's"
        )
        for column in ("achieved_flops_per_s", "intensity_flops_per_byte", "ceiling_share"):
            assert row[column] is None or math.isnan(row[column])
            assert row["missing"][column] == reason
        assert row["throughput_per_s"] > 0

    @pytest.mark.parametrize("parameters", [25_557_032, 25_400_000, None])
    def test_the_same_network_keeps_it(self, tmp_path: Path, parameters: int | None) -> None:
        row = only(join.table(keep(tmp_path, treated("int8-static", parameters))))
        assert row["achieved_flops_per_s"] > 0

    def test_the_artefact_has_its_columns_and_what_is_not_known_its_reason(self, tmp_path: Path) -> None:
        made = treated("lossless", 25_557_032, unpack_ns=7_000_000, zero_share=0.5)
        row = only(join.table(keep(tmp_path, made)))
        assert (row["artefact_bytes"], row["unpack_ns"], row["zero_share"]) == (30_000_000, 7_000_000, 0.5)
        assert row["artefact_parameters"] == 25_557_032
        assert math.isnan(row["training_s"])
        assert row["missing"]["training_s"] == "not in this test"
        assert row["kernels_share"] == 1.0


class TestEstimates:
    """What was only compiled for is of no machine, has no cost and stands in no comparison."""

    def kept(self, root: Path, *made: Record) -> join.Table:
        for number, record in enumerate(made):
            with Run.open(root, record.context.run_id) as run:
                named = record.model_copy(update={"record_id": f"{record.context.run_id}-{number:05d}"})
                run.append(named)
                if named.status == "ok":
                    run.append_summary(summarise(named, np.empty(0, np.int64)))
        return join.table(root, Pricing(usd_per_hour=1.0))

    def test_a_row_has_the_tools_figures_and_reasons_for_the_rest(self, tmp_path: Path) -> None:
        row = only(self.kept(tmp_path, records.estimated()))
        assert (row["provenance"], row["verdict"], row["status"]) == ("estimate", "valid", "ok")
        assert (row["estimated_cycles"], row["estimated_flops_ratio"]) == (91_000, 1.0)
        assert row["output_cosine"] == pytest.approx(0.999998)
        assert (row["estimate_source"], row["estimate_caveat"]) == (records.TOOL, records.CAVEAT)
        assert row["cpu"] is None
        assert row["missing"]["cores"] == "only compiled for: Arm Ethos-U55-128 is no part of this machine"
        for name in ("usd_per_million", "usd_per_hour", "compile_ns", "peak_memory_bytes", "throughput_per_s"):
            assert row["missing"][name].startswith("estimate: ")
            assert math.isnan(row[name])

    def test_of_two_machines_the_newest_run_counts(self, tmp_path: Path) -> None:
        """A static model says the same everywhere: an estimate of another machine is the same row."""
        old = records.estimated(run_id="20261101T020000Z-000001", cycles=1)
        new = records.estimated(run_id="20261102T020000Z-000002", cycles=2, machine=records.CLOUD_MACHINE)
        assert only(self.kept(tmp_path, old, new))["estimated_cycles"] == 2

    def test_an_estimate_does_not_say_that_the_hardware_is_there(self, tmp_path: Path) -> None:
        """The absent row of an older run stays."""
        absent = records.record(
            records.of("single_stream", backend="ethos_u", device="none", engine="none"), status="absent",
            run_id="20261101T020000Z-000001",
        )  # fmt: skip
        table = self.kept(tmp_path, absent, records.estimated(run_id="20261102T020000Z-000002"))
        assert set(table.rows["status"]) == {"absent", "ok"}

    def test_what_does_not_fit_has_no_host_either(self, tmp_path: Path) -> None:
        row = only(self.kept(tmp_path, records.record(records.compiled(), status="unsupported", reason="too large")))
        assert row["hostname"] is None
        assert row["missing"]["estimated_cycles"] == "unsupported: too large"

    def test_roofs_and_lints_know_nothing_of_it(self, tmp_path: Path) -> None:
        flops = records.compiled("ceiling-flops", precision="fp32")
        table = self.kept(tmp_path, records.estimated(flops), records.estimated(latency_ns=1e-3))
        assert table.ceilings == {}
        assert lints.find(table) == []
