"""Others' figures: read strictly, kept whole or not at all, never twice."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results import published
from results.log import Problem, StoreError
from results.published import Bad, Published, mlperf, table, tiny
from results.published.hardware import ALIASES, device_of
from results.published.networks import NETWORKS, network_of
from tests.fakes import market

ROOT = Path(__file__).resolve().parents[2]


def kept(root: Path, text: str, name: str = "file") -> published.Imported:
    (root / name).write_text(text, encoding="utf-8")
    return published.import_file(root / name, root, datetime(2026, 11, 22, tzinfo=UTC))


def stored(root: Path) -> tuple[Published, ...]:
    problems: list[Problem] = []
    rows = published.read(root, problems)
    assert problems == []
    return rows


class TestMlperf:
    def rows(self, *entries: dict[str, Any]) -> list[Published | Bad]:
        return list(mlperf.rows(market.summary(*entries)))

    def only(self, **changes: Any) -> Published:
        (row,) = self.rows(market.mlperf(**changes))
        assert isinstance(row, Published)
        return row

    def test_nodes_are_multiplied(self) -> None:
        row = self.only(**{"a#": 4}, Nodes=18, Performance_Result=72_000.0)
        assert (row.accelerators, row.systems, row.per_accelerator_per_s) == (72, 18, 1000.0)

    def test_a_system_of_processors_has_no_accelerators_and_says_so(self) -> None:
        row = self.only(Accelerator="", **{"a#": "", "p#": 2})
        assert (row.accelerators, row.hardware) == (None, "Intel(R) Xeon(R) Platinum 8568Y+")
        assert row.missing["accelerators"] == "only processors: 2 x Intel(R) Xeon(R) Platinum 8568Y+ in each of 2"
        assert row.per_accelerator_per_s == 34_500

    def test_token_rates_that_are_printed_as_queries(self) -> None:
        """The known trap of the file of round 5.1; other Interactive rows and other scenarios are as printed."""
        changes = {"Model": "llama3.1-8b", "Performance_Units": "Queries/s"}
        row = self.only(Scenario="Interactive", **changes)
        assert (row.unit, row.note.endswith("the values are token rates")) == ("token", True)
        assert self.only(Scenario="Server", **changes).unit == "query"
        assert self.only(Scenario="Interactive", Model="dlrm-v2-99", Performance_Units="Queries/s").unit == "query"

    def test_streams_have_latencies_of_the_percentile_that_the_rules_ask_for(self) -> None:
        single = self.only(Scenario="SingleStream", Performance_Units="Latency (ms)", Performance_Result=3.2)
        assert (single.latency_ns, single.metric, single.batch) == (3.2e6, "p90 latency", 1)
        multi = self.only(Scenario="MultiStream", Performance_Units="Latency (ms)", Performance_Result=8)
        assert (multi.metric, multi.batch) == ("p99 latency of 8 samples", 8)

    def test_power_and_energy_are_in_units_of_ours(self) -> None:
        assert self.only(Power_Result=10_401.0, Power_Units="Watts").power_w == 10_401
        assert self.only(Power_Result=1241.0, Power_Units="millijoules").energy_j == pytest.approx(1.241)
        off = self.only(Power_Result=0, Power_Units="Watts")
        assert (off.power_w, off.missing["power_w"]) == (None, "the entry has no such figure")

    def test_the_open_division_is_called_by_the_network_that_it_really_ran(self) -> None:
        row = self.only(Category="open", Model="resnet", UsedModel="mobilenet-v1-precision_float-1.0-128")
        assert network_of(row.workload).workload is None
        assert network_of(self.only(Model="resnet", UsedModel="resnet50").workload).workload == "resnet50"

    def test_an_inferred_figure_says_so(self) -> None:
        assert "inferred from another scenario" in self.only(inferred=1).note

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"Performance_Result": 0}, "Performance_Result is 0: no result"),
            ({"Performance_Result": "fast"}, "Performance_Result 'fast' is no number"),
            ({"Performance_Result": None}, "is no number"),
            ({"Performance_Units": "GB/s"}, "Performance_Units 'gb/s': known are"),
            ({"Power_Result": 3, "Power_Units": "BTU"}, "Power_Units 'btu': known are"),
            ({"Nodes": 1.5}, "Nodes '1.5' is no whole number"),
            ({"Nodes": -2}, "Nodes is -2"),
            ({"Model": ""}, "workload: String should have at least 1 character"),
            ({"Model": "x" * 400}, "workload: String should have at most 300 characters"),
        ],
    )
    def test_a_bad_entry_is_left_out_with_its_number(self, changes: dict[str, Any], reason: str) -> None:
        good, bad, other = self.rows(market.mlperf(), market.mlperf(**changes), market.mlperf())
        assert isinstance(good, Published)
        assert isinstance(other, Published)
        assert isinstance(bad, Bad)
        assert str(bad).startswith("line 2: ")
        assert reason in bad.reason

    def test_what_lacks_keys_or_is_no_object(self) -> None:
        lacking = market.mlperf()
        del lacking["Nodes"]
        assert [str(row) for row in self.rows(lacking)] == ["line 1: no Nodes"]
        assert [row.reason for row in mlperf.rows('[1, null, "Performance_Result"]') if isinstance(row, Bad)] == [
            "no JSON object"
        ] * 3

    def test_no_json(self, tmp_path: Path) -> None:
        with pytest.raises(
            ValueError, match=r"file: a damaged or incomplete file, as it is not JSON .* fetch it again"
        ):
            kept(tmp_path, '[{"Performance_Result": 1')
        assert not (tmp_path / published.LOG).exists()


class TestTiny:
    def test_rates_and_energy_per_inference(self) -> None:
        syntiant, qualcomm = (row for row in tiny.rows(market.tiny(*market.TINY)) if isinstance(row, Published))
        assert (syntiant.hardware, syntiant.accelerators) == ("NDP9120 (Syntiant Core 2)", 1)
        assert syntiant.throughput_per_s == 228.982
        assert syntiant.energy_j == pytest.approx(31.537e-6)
        assert (network_of(syntiant.workload).workload, network_of(qualcomm.workload).workload) == ("kws", "resnet8")
        assert (qualcomm.energy_j, qualcomm.accelerators) == (None, None)
        assert qualcomm.missing["accelerators"] == "only a processor: Qualcomm Kryo CPU"

    @pytest.mark.parametrize(
        ("column", "value", "reason"),
        [
            ("Result", "", "Result '' is no number"),
            ("ResultUnit", "mWh", "ResultUnit 'mwh': known is inf./sec."),
            ("PowerUnit", "W", "PowerUnit 'w': known is uJ/inf."),
        ],
    )
    def test_a_bad_row_is_left_out_with_its_line(self, column: str, value: str, reason: str) -> None:
        bad = list(market.TINY[0])
        bad[market.TINY_HEAD.index(column)] = value
        found = list(tiny.rows(market.tiny(market.TINY[1], bad)))
        assert isinstance(found[0], Published)
        assert str(found[1]) == f"line 3: {reason}"


class TestTable:
    def test_every_unit_becomes_ours(self) -> None:
        units = [("ms", "latency_ns", 2e6), ("us", "latency_ns", 2e3), ("s", "latency_ns", 2e9),
                 ("FPS", "throughput_per_s", 2.0), ("Tokens/s", "throughput_per_s", 2.0), ("Watts", "power_w", 2.0),
                 ("uJ/inf.", "energy_j", 2e-6), ("millijoules", "energy_j", 2e-3)]  # fmt: skip
        for unit, name, value in units:
            (row,) = table.rows(market.table(market.row("X", "Y", 2, unit)))
            assert isinstance(row, Published)
            assert getattr(row, name) == pytest.approx(value), unit

    def test_what_the_table_does_not_say(self) -> None:
        (row,) = table.rows(market.table(market.row("X", "Y", 2, "ms", n_accel="", batch="max load", date="")))
        assert isinstance(row, Published)
        assert (row.accelerators, row.batch, row.date) == (None, None, "undated")
        assert row.missing["accelerators"] == "the table does not say"
        assert row.missing["batch"] == "the table says max load"

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"value": "nan"}, "value is nan: no result"),
            ({"value": "-3"}, "value is -3: no result"),
            ({"date": "2024-13-77"}, "date '2024-13-77' is in no calendar: month must be in 1..12"),
            ({"date": "2023-02-29, v3"}, "date '2023-02-29, v3' is in no calendar: day "),
            ({"date": "2024-00"}, "date '2024-00' is in no calendar"),
            ({"date": "0000-01-01"}, "date '0000-01-01' is in no calendar"),
            ({"date": "2024-01-99999999999999999999"}, "is in no calendar"),
            ({"unit": "FPS/$"}, "unit 'FPS/$' is none of"),
            ({"hardware": ""}, "hardware: String should have at least 1 character"),
            ({"n_accel": "two"}, "n_accel 'two' is no number"),
        ],
    )
    def test_a_bad_row_is_left_out_with_its_line(self, changes: dict[str, str], reason: str) -> None:
        good = market.row("X", "Y", 2, "ms")
        _, found, _ = table.rows(market.table(good, {**good, **changes}, good))
        assert str(found).startswith("line 3: ")
        assert reason in str(found)

    def test_a_torn_row_is_left_out(self) -> None:
        text = market.table(market.row("X", "Y", 2, "ms")) + "X,1,soft"
        assert [str(row) for row in table.rows(text) if isinstance(row, Bad)] == [
            "line 3: not as many fields as the 13 of the first line"
        ]


class TestKeeping:
    def test_what_comes_back_is_what_was_imported(self, tmp_path: Path) -> None:
        done = kept(tmp_path, market.table(*market.CORAL), "coral.csv")
        assert (done.new, done.known, done.left_out) == (6, 0, ())
        rows = stored(tmp_path)
        assert {row.file for row in rows} == {"coral.csv"}
        assert len({row.file_sha256 for row in rows}) == 1
        assert all(len(row.file_sha256) == 64 for row in rows)
        assert [row.line for row in rows] == [2, 3, 4, 5, 6, 7]
        assert all(row.provenance == "published" for row in rows)

    def test_importing_twice_adds_nothing(self, tmp_path: Path) -> None:
        kept(tmp_path, market.summary(*market.MLPERF))
        log = (tmp_path / published.LOG).read_bytes()
        again = kept(tmp_path, market.summary(*market.MLPERF), "another-name")
        assert (again.new, again.known) == (0, 5)
        assert (tmp_path / published.LOG).read_bytes() == log

    def test_of_a_longer_file_only_what_is_new_is_added(self, tmp_path: Path) -> None:
        kept(tmp_path, market.table(*market.CORAL[:2]))
        done = kept(tmp_path, market.table(*market.CORAL[::-1], *market.CORAL))
        assert (done.new, done.known) == (4, 8)
        assert len(stored(tmp_path)) == 6

    def test_bad_rows_do_not_keep_the_good_ones_out(self, tmp_path: Path) -> None:
        done = kept(tmp_path, market.summary(market.mlperf(), market.mlperf(Performance_Result=0)))
        assert (done.new, [str(bad) for bad in done.left_out]) == (
            1, ["line 2: Performance_Result is 0: no result"],
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("note", "count", "says"),
        [
            ("", 20_001, "over 20,000 rows, which is the limit; import it in parts"),
            ("n" * 1900, 9_000, "MiB, and the limit is 16 MiB; import it in parts"),
            ("\\" * 1900, 4_500, "over 16,777,152 bytes as it would be kept, which is the limit; import it in parts"),
        ],
    )
    def test_a_table_that_is_too_long_leaves_nothing(self, tmp_path: Path, note: str, count: int, says: str) -> None:
        """Told before the rest of it is read: in JSON a backslash is two."""
        rows = [market.row("X", "Y", 2, "ms", note=note, batch=1 + number) for number in range(count)]
        (tmp_path / "long.csv").write_text(market.table(*rows))
        with pytest.raises(ValueError, match=f"long.csv: .*{says}"):
            published.import_file(tmp_path / "long.csv", tmp_path / "runs")
        assert not (tmp_path / "runs").exists()

    def test_rows_behind_the_limit_are_not_looked_at(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(published, "ROWS_MAX", 3)
        seen = []
        monkeypatch.setattr(table, "_values", lambda row: seen.append(row) or {})
        with pytest.raises(ValueError, match="over 3 rows"):
            kept(tmp_path, market.table(*market.CORAL))
        assert len(seen) == 4

    def test_where_every_row_is_left_out_there_is_no_log(self, tmp_path: Path) -> None:
        assert kept(tmp_path, market.table(market.row("X", "Y", 0, "ms"))).new == 0
        assert not (tmp_path / published.LOG).exists()

    def test_a_write_that_does_not_fit_leaves_nothing(self, tmp_path: Path) -> None:
        """A real limit on file sizes, in a process of its own: the log is as it was."""
        kept(tmp_path, market.table(*market.CORAL))
        before = (tmp_path / published.LOG).read_bytes()
        (tmp_path / "more.json").write_text(market.summary(*market.MLPERF))

        def limited() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 500, len(before) + 500))

        script = (
            "import signal, sys; from pathlib import Path; from results import published;"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
            "published.import_file(Path(sys.argv[1]), Path(sys.argv[2]))"
        )
        command = [sys.executable, "-c", script, str(tmp_path / "more.json"), str(tmp_path)]
        done = subprocess.run(command, cwd=ROOT, preexec_fn=limited, capture_output=True, text=True, check=False)
        assert "StoreError" in done.stderr
        assert (tmp_path / published.LOG).read_bytes() == before

    def test_the_torn_line_of_a_killed_import_is_told_and_then_cut(self, tmp_path: Path) -> None:
        kept(tmp_path, market.table(*market.CORAL))
        whole = (tmp_path / published.LOG).read_bytes()
        kept(tmp_path, market.summary(*market.MLPERF))
        both = (tmp_path / published.LOG).read_bytes()
        (tmp_path / published.LOG).write_bytes(both[: len(whole) + 700])
        problems: list[Problem] = []
        assert len(published.read(tmp_path, problems)) == 6
        assert [problem.line for problem in problems] == [2]
        kept(tmp_path, market.summary(*market.MLPERF))
        assert len(stored(tmp_path)) == 11

    def test_a_changed_line_is_left_out_and_told(self, tmp_path: Path) -> None:
        kept(tmp_path, market.table(*market.CORAL))
        log = tmp_path / published.LOG
        log.write_bytes(log.read_bytes().replace(b"VGG16", b"VGG61", 1))
        problems: list[Problem] = []
        assert published.read(tmp_path, problems) == ()
        assert "checksum differs" in str(problems[0])

    def test_a_line_of_a_newer_accelmark_is_left_out_and_told(self, tmp_path: Path) -> None:
        from results.log import frame

        (tmp_path / published.LOG).write_bytes(frame(json.dumps({"schema_version": 2, "rows": []}).encode()))
        problems: list[Problem] = []
        assert published.read(tmp_path, problems) == ()
        assert "no import that is known: schema_version" in str(problems[0])

    def test_two_imports_at_once(self, tmp_path: Path) -> None:
        with published._locked(tmp_path), pytest.raises(StoreError, match="another process is importing"):
            kept(tmp_path, market.table(*market.CORAL))

    @pytest.mark.parametrize("text", ["", "hello", "{}", "[]", "a,b\n1,2\n", "[1]"])
    def test_a_file_of_no_known_kind(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(ValueError, match="no table of published results that is known; known are MLPerf"):
            kept(tmp_path, text)
        assert not (tmp_path / published.LOG).exists()

    def test_what_is_no_text_file(self, tmp_path: Path) -> None:
        (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(ValueError, match=r"not UTF-8 text \(byte 0\)"):
            published.import_file(tmp_path / "binary", tmp_path)
        with pytest.raises(ValueError, match="no file, so nothing"):
            published.import_file(tmp_path, tmp_path)
        os.truncate(tmp_path / "binary", published.FILE_MAX_BYTES + 1)
        with pytest.raises(ValueError, match=r"16\.0 MiB, and the limit is 16 MiB; import it in parts"):
            published.import_file(tmp_path / "binary", tmp_path)


@given(text=st.text(), head=st.sampled_from(["", market.table(), market.tiny(), '[{"Performance_Result":']))
def test_any_text_is_rows_or_one_error(tmp_path_factory: pytest.TempPathFactory, text: str, head: str) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "file").write_text(head + text, encoding="utf-8", newline="", errors="replace")
    try:
        done = published.import_file(folder / "file", folder)
    except ValueError:
        assert not (folder / published.LOG).exists()
    else:
        assert len(stored(folder)) == done.new


@given(
    entry=st.dictionaries(st.sampled_from(sorted(market.mlperf())), st.none() | st.integers() | st.floats() | st.text())
)
def test_any_entry_is_a_row_or_a_reason(entry: dict[str, Any]) -> None:
    (found,) = mlperf.rows(json.dumps([{**market.mlperf(), **entry}]))
    assert isinstance(found, Published) or found.reason


def test_the_networks_that_are_ours_have_our_cards_figures() -> None:
    from bench import parts
    from workloads.contract import Workload

    for network in NETWORKS:
        if network.workload:
            card = parts.find(Workload, network.workload).card
            assert (network.flops, network.parameters) == (card.flops, card.parameters), network.workload


def test_names_of_networks_are_unique_and_in_lower_case() -> None:
    names = [name for network in NETWORKS for name in network.names]
    assert len(names) == len(set(names))
    assert all(name == name.lower() for name in names)
    assert network_of("Llama2-70b-99.9").why.startswith("a language model")
    assert network_of("whatever").workload is None


def test_every_alias_leads_to_a_device_of_the_catalog() -> None:
    from results import catalog

    assert all(catalog.device(name) for _, name in ALIASES)
    assert device_of("NVIDIA H100-SXM-80GB") == "NVIDIA H100-SXM5-80GB"
    assert device_of("NVIDIA B200-SXM-180GB") == "NVIDIA B200"
    assert device_of("NVIDIA GB200") is None
    assert device_of("Virtualized NVIDIA H200-SXM-141GB") is None
    assert device_of("AMD Instinct MI300X 192GB HBM3 (x32), AMD Instinct MI325X 256GB HBM3e (x16)") is None
