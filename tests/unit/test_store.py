from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results import log, store
from results.record import SCHEMA_VERSION, Record, Summary
from results.stats import summarise
from results.store import Problem, Run, StoreError
from tests.fakes import records

ROOT = Path(__file__).resolve().parents[2]


def lines(*made: Record) -> bytes:
    return b"".join(log.frame(one.model_dump_json().encode()) for one in made)


def three() -> list[Record]:
    return [records.record(order=order) for order in range(3)]


def written(root: Path, raw: bytes, run_id: str = "20261101T020000Z-00a1b2") -> Path:
    folder = root / run_id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / store.RECORDS).write_bytes(raw)
    return folder / store.RECORDS


def read(root: Path) -> tuple[list[str], list[Problem]]:
    problems: list[Problem] = []
    return [record.record_id for record, _ in store.read(root, problems)], problems


def one_line(problems: list[Problem]) -> str:
    assert len(problems) == 1
    text = str(problems[0])
    assert text.isprintable()
    return text


class TestRun:
    def test_what_was_appended_is_read_back(self, tmp_path: Path) -> None:
        made = three()
        samples = records.samples(made[0].identity, 1000)
        summary = summarise(made[0], samples)
        with Run.open(tmp_path, made[0].context.run_id) as run:
            for one in made:
                run.append(one)
            run.append_summary(summary)
        problems: list[Problem] = []
        assert list(store.read(tmp_path, problems)) == [(made[0], summary), (made[1], None), (made[2], None)]
        assert problems == []

    def test_a_later_summary_counts(self, tmp_path: Path) -> None:
        made = records.record()
        summary = summarise(made, records.samples(made.identity, 1000))
        with Run.open(tmp_path, made.context.run_id) as run:
            run.append(made)
            run.append_summary(summary)
            run.append_summary(summary.model_copy(update={"rules_version": 99}))
        assert [found.rules_version for _, found in store.read(tmp_path) if found] == [99]

    def test_two_runs_write_to_two_folders_at_once(self, tmp_path: Path) -> None:
        with Run.open(tmp_path, "20261101T020000Z-aaaaaa") as one, Run.open(tmp_path, "20261101T020000Z-bbbbbb") as two:
            one.append(records.record(run_id="20261101T020000Z-aaaaaa"))
            two.append(records.record(run_id="20261101T020000Z-bbbbbb"))
        assert len(read(tmp_path)[0]) == 2

    def test_one_run_has_one_writer(self, tmp_path: Path) -> None:
        with Run.open(tmp_path, "a"), pytest.raises(StoreError, match="another process is writing this run"):
            Run.open(tmp_path, "a")

    @pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a\n", "-option"])
    def test_names_that_leave_the_folder_are_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(ValueError, match="cannot name a file"):
            Run.open(tmp_path, name)
        with Run.open(tmp_path, "run") as run, pytest.raises(ValueError, match="cannot name a file"):
            run.samples_path(name)

    def test_run_ids_sort_by_time(self) -> None:
        early = store.new_run_id(datetime(2026, 11, 22, 7, 15, 1, tzinfo=UTC))
        assert early.startswith("20261122T071501Z-")
        assert early < store.new_run_id(datetime(2026, 11, 22, 7, 15, 2, tzinfo=UTC))

    def test_append_is_one_write_and_one_sync(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[str] = []
        write, fsync = os.write, os.fsync
        with Run.open(tmp_path, "run") as run:
            monkeypatch.setattr(os, "write", lambda *args: (calls.append("write"), write(*args))[1])
            monkeypatch.setattr(os, "fsync", lambda *args: (calls.append("fsync"), fsync(*args))[1])
            run.append(records.record())
        assert calls == ["write", "fsync"]

    def test_a_full_disk_loses_nothing_that_was_stored(self, tmp_path: Path) -> None:
        """A real partial write: the kernel stops at the limit on file sizes."""
        made = three()
        script = (
            "import resource, signal, sys; from pathlib import Path; from results.store import Run, StoreError;"
            "from tests.fakes import records;"
            "made = [records.record(order=k) for k in range(3)]; run = Run.open(Path(sys.argv[1]), 'run');"
            "run.append(made[0]); signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
            "size = (run.folder / 'records.log').stat().st_size;"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, resource.RLIM_INFINITY));\n"
            "try: run.append(made[1])\n"
            "except StoreError as error: print(error)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY));"
            "run.append(made[2])"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, tmp_path], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert "what was stored before is safe" in done.stdout
        assert done.stdout.count("\n") == 1
        assert read(tmp_path) == ([made[0].record_id, made[2].record_id], [])

    def test_a_removed_folder_is_put_back_with_all_its_records(self, tmp_path: Path) -> None:
        made = [records.record(order=order) for order in range(3)]
        with Run.open(tmp_path, "20261101T000000Z-000001") as run:
            run.append(made[0])
            for record in made[1:]:
                shutil.rmtree(tmp_path / "20261101T000000Z-000001")
                run.append(record)
            with pytest.raises(StoreError, match="another process is writing this run"):
                Run.open(tmp_path, "20261101T000000Z-000001")
        assert read(tmp_path) == ([record.record_id for record in made], [])

    def test_a_removed_folder_that_cannot_be_put_back_is_told_in_one_line(self, tmp_path: Path) -> None:
        with Run.open(tmp_path, "20261101T000000Z-000001") as run:
            run.append(records.record())
            shutil.rmtree(tmp_path / "20261101T000000Z-000001")
            (tmp_path / "20261101T000000Z-000001").write_text("in the way")
            with pytest.raises(StoreError, match=r"\(putting back what somebody removed\); move the file"):
                run.append(records.record(order=1))

    def test_kill_9_loses_at_most_the_item_in_flight(self, tmp_path: Path) -> None:
        script = (
            "import sys; from pathlib import Path; from results.store import Run; from tests.fakes import records\n"
            "run = Run.open(Path(sys.argv[1]), 'run')\n"
            "for order in range(10**6):\n"
            "    run.append(records.record(order=order)); print(order, flush=True)"
        )
        command = [sys.executable, "-c", script, str(tmp_path)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(20):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            told = 20 + len(process.stdout.read().splitlines())
        found, _ = read(tmp_path)
        assert told <= len(found) <= told + 1
        with Run.open(tmp_path, "next") as run:
            run.append(records.record())
        assert len(read(tmp_path)[0]) == len(found) + 1


class TestDamage:
    @settings(max_examples=60, deadline=None)
    @given(cut=st.floats(0, 1))
    def test_truncated_anywhere_the_whole_records_before_are_read(
        self, tmp_path_factory: pytest.TempPathFactory, cut: float
    ) -> None:
        root, made = tmp_path_factory.mktemp("root"), three()
        raw = lines(*made)
        end = int(cut * len(raw))
        path = written(root, raw[:end])
        whole = raw[:end].count(b"\n")
        found, problems = read(root)
        assert found == [one.record_id for one in made[:whole]]
        torn = end > 0 and raw[end - 1 : end] != b"\n"
        assert len(problems) == torn
        store.repair(root)
        assert path.read_bytes() == lines(*made[:whole])
        assert read(root) == (found, [])
        kept = path.with_name(store.TORN)
        assert (kept.read_bytes() == raw[:end][len(lines(*made[:whole])) :] + b"\n") if torn else not kept.exists()

    def test_truncated_at_every_byte_of_a_short_log(self, tmp_path: Path) -> None:
        raw = log.frame(b'{"a":1}') + log.frame(b'{"b":2}')
        first = raw.index(b"\n") + 1
        path = tmp_path / "log"
        for end in range(len(raw) + 1):
            path.write_bytes(raw[:end])
            problems: list[Problem] = []
            found = [payload for _, payload in log.payloads(path, problems)]
            assert found == [b'{"a":1}', b'{"b":2}'][: raw[:end].count(b"\n")]
            assert len(problems) == (end not in (0, first, len(raw)))

    @settings(max_examples=200, deadline=None)
    @given(at=st.floats(0, 0.999999), bit=st.integers(0, 7))
    def test_a_flipped_bit_is_noticed_and_costs_its_line_or_at_most_two(
        self, tmp_path_factory: pytest.TempPathFactory, at: float, bit: int
    ) -> None:
        root, made = tmp_path_factory.mktemp("root"), three()
        raw = bytearray(lines(*made))
        place = int(at * len(raw))
        raw[place] ^= 1 << bit
        written(root, bytes(raw))
        found, problems = read(root)
        hit = bytes(lines(*made)[:place]).count(b"\n")
        lost = {hit, hit + 1} if lines(*made)[place : place + 1] == b"\n" else {hit}
        assert found == [one.record_id for number, one in enumerate(made) if number not in lost]
        assert problems

    @pytest.mark.parametrize(
        ("line", "what"),
        [
            (b"hello\n", "not a framed record"),
            (b"00000000 2 {}\n", "checksum differs"),
            (b"00000000 3 {}\n", "2 bytes long where 3 were written"),
            (log.frame(b"{}"), "record_id: Field required (and"),
            (log.frame(b"[1, 2]"), "Input should be an object"),
            (log.frame(b"{nope"), "not JSON"),
            (log.frame(b"\xff\xfe"), "not JSON"),
            (log.frame(b"[" * 200_000), "not JSON"),
            (log.frame(b'{"<script>alert(1)</script>\\n\\u001b[2J": 1}'), "Field required"),
        ],
    )
    def test_one_clear_line_for_a_bad_one_in_the_middle(self, tmp_path: Path, line: bytes, what: str) -> None:
        made = three()
        path = written(tmp_path, lines(made[0]) + line + lines(made[2]))
        found, problems = read(tmp_path)
        assert found == [made[0].record_id, made[2].record_id]
        assert one_line(problems).startswith(f"{path}, record 2: ")
        assert what in one_line(problems)

    def changed(self, **values: object) -> bytes:
        raw = json.loads(records.record().model_dump_json())
        return log.frame(json.dumps({**raw, **values}).encode())

    def test_a_newer_schema_says_update(self, tmp_path: Path) -> None:
        newer = self.changed(schema_version=SCHEMA_VERSION + 1, something_new={"x": 1})
        written(tmp_path, newer + lines(records.record(order=1)))
        found, problems = read(tmp_path)
        assert len(found) == 1
        known = f"schema {SCHEMA_VERSION + 1}; this one reads up to {SCHEMA_VERSION}"
        assert f"record written by a newer accelmark ({known}): update accelmark" in one_line(problems)

    def test_an_older_schema_goes_through_the_upgrade_table(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        raw = json.loads(records.record().model_dump_json())
        raw["schema_version"], raw["id"] = 0, raw.pop("record_id")
        written(tmp_path, log.frame(json.dumps(raw).encode()))
        assert "schema 0 has no upgrade to 1" in one_line(read(tmp_path)[1])
        monkeypatch.setitem(store.UPGRADES, 1, lambda old: {**old, "schema_version": SCHEMA_VERSION})
        monkeypatch.setitem(
            store.UPGRADES, 0, lambda old: {**{k: v for k, v in old.items() if k != "id"}, "record_id": old["id"]}
        )
        assert read(tmp_path) == ([raw["id"]], [])
        monkeypatch.setitem(store.UPGRADES, 0, dict)
        assert "after its upgrade: record_id: Field required" in one_line(read(tmp_path)[1])
        monkeypatch.setitem(store.UPGRADES, 0, lambda old: {**old, "record_id": old["nothing"]})
        assert "no whole record of schema 0: KeyError('nothing')" in one_line(read(tmp_path)[1])

    @pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
    def test_no_number_that_is_none(self, tmp_path: Path, number: str) -> None:
        raw = (
            records.record()
            .model_dump_json()
            .replace('"centred_cosine_min":0.999998', f'"centred_cosine_min":{number}')
        )
        written(tmp_path, log.frame(raw.encode()))
        assert "evidence.outputs.centred_cosine_min" in one_line(read(tmp_path)[1])

    @pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a\nb", "", "x" * 200, "ü", "a\n"])
    def test_names_are_strict(self, tmp_path: Path, name: str) -> None:
        raw = json.loads(records.record().model_dump_json())
        raw["identity"]["workload"] = name
        written(tmp_path, log.frame(json.dumps(raw).encode()))
        text = one_line(read(tmp_path)[1])
        assert "identity.workload" in text
        assert "<script>" not in text

    def test_a_line_too_long_for_memory_is_skipped(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(log, "MAX_LINE_BYTES", 10_000)
        made = three()
        written(tmp_path, lines(made[0]) + b"x" * 35_000 + b"\n" + lines(made[1]))
        found, problems = read(tmp_path)
        assert found == [made[0].record_id, made[1].record_id]
        assert "record 2: longer than" in one_line(problems)

    def test_a_second_copy_of_a_record_is_left_out(self, tmp_path: Path) -> None:
        made = three()
        written(tmp_path, lines(made[0], made[1], made[0]))
        found, problems = read(tmp_path)
        assert found == [made[0].record_id, made[1].record_id]
        assert "is there a second time" in one_line(problems)

    def test_a_file_that_cannot_be_read_hides_no_other(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        bad = written(tmp_path, lines(records.record()), "20261101T020000Z-000001")
        written(tmp_path, lines(records.record(order=1)), "20261101T020000Z-000002")
        real = Path.open

        def denied(self: Path, *args: object, **kwargs: object) -> object:
            if self == bad:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
            return real(self, *args, **kwargs)  # type: ignore[call-overload]  # handed on as they came

        monkeypatch.setattr(Path, "open", denied)
        found, problems = read(tmp_path)
        assert len(found) == 1
        assert one_line(problems) == f"{bad}: cannot be read: Permission denied; make it readable for this user"

    def test_a_run_that_may_not_be_looked_into_hides_no_other(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bad = written(tmp_path, lines(records.record()), "20261101T020000Z-000001")
        written(tmp_path, lines(records.record(order=1)), "20261101T020000Z-000002")

        def denied(self: Path, *args: object, **kwargs: object) -> bool:
            if self == bad:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
            return os.path.exists(self)  # noqa: PTH110 - the real one is replaced

        monkeypatch.setattr(Path, "exists", denied)
        assert len(store.run_folders(tmp_path)) == 2

    def test_a_folder_in_place_of_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "20261101T020000Z-000001" / store.RECORDS).mkdir(parents=True)
        assert "cannot be read: Is a directory" in one_line(read(tmp_path)[1])

    def test_spoilt_summaries_are_no_problem(self, tmp_path: Path) -> None:
        path = written(tmp_path, lines(records.record()))
        path.with_name(store.SUMMARIES).write_bytes(b"rubbish\n" + log.frame(b"{}") + b"torn")
        assert read(tmp_path) == ([records.record().record_id], [])
        store.repair(tmp_path)
        assert path.with_name(store.SUMMARIES).read_bytes() == b"rubbish\n" + log.frame(b"{}")

    def test_the_next_run_repairs_and_says_so(self, tmp_path: Path) -> None:
        path = written(tmp_path, lines(*three())[:-10])
        (done,) = store.repair(tmp_path)
        assert "moved to records.log.torn" in str(done)
        assert store.repair(tmp_path) == []
        written(tmp_path, lines(*three())[:-10])
        with Run.open(tmp_path, "next") as run:
            assert [problem.path for problem in run.repaired] == [path]
        assert path.read_bytes() == lines(*three()[:2])

    def test_a_run_that_is_being_written_is_left_alone(self, tmp_path: Path) -> None:
        with Run.open(tmp_path, "busy") as run:
            path = run.folder / store.RECORDS
            path.write_bytes(b"half a reco")
            store.repair(tmp_path)
            assert path.read_bytes() == b"half a reco"

    def test_no_results_at_all(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="nowhere: cannot read results: No such file or directory; give a folder"):
            list(store.read(tmp_path / "nowhere"))
        assert read(tmp_path) == ([], [])


class TestReading:
    def test_a_root_a_run_and_a_file_are_all_taken(self, tmp_path: Path) -> None:
        path = written(tmp_path, lines(*three()))
        for place in (tmp_path, path.parent, path):
            assert len(read(place)[0]) == 3
            assert store.folder_of(place, records.record()) == path.parent

    def test_newest_is_what_reading_everything_gives(self, tmp_path: Path) -> None:
        records.write_root(tmp_path, identities=30, runs=4, repeats=2)
        records.write_root(tmp_path, identities=50, runs=1, repeats=1, seed=1, machine=records.CLOUD_MACHINE)
        every: dict[tuple[str, str], list[tuple[Record, Summary | None]]] = {}
        for record, summary in store.read(tmp_path):
            key = (record.identity.key, record.context.machine.fingerprint)
            kept = every.get(key, [])
            again = kept and kept[0][0].context.run_id == record.context.run_id
            every[key] = [*kept, (record, summary)] if again else [(record, summary)]
        found = {record.record_id: (record, summary) for record, summary in store.newest(tmp_path)}
        assert found == {record.record_id: (record, summary) for kept in every.values() for record, summary in kept}

    def test_newest_still_reports_damage_in_old_runs(self, tmp_path: Path) -> None:
        old = written(tmp_path, lines(records.record())[:-20] + b"\n", "20261101T020000Z-000001")
        written(tmp_path, lines(records.record()), "20261102T020000Z-000002")
        problems: list[Problem] = []
        assert len(list(store.newest(tmp_path, problems))) == 1
        assert [problem.path for problem in problems] == [old]

    def test_newest_does_not_depend_on_how_the_json_is_laid_out(self, tmp_path: Path) -> None:
        pretty = json.dumps(json.loads(records.record().model_dump_json()), sort_keys=True, indent=None)
        written(tmp_path, log.frame(pretty.encode()), "20261101T020000Z-000001")
        assert len(list(store.newest(tmp_path))) == 1

    def test_newest_knows_the_identity_of_an_older_schema(self, tmp_path: Path) -> None:
        """Of two runs with one identity only the newer counts, whichever schemas they were written in."""
        golden = (ROOT / "tests/golden/record-v1.log").read_bytes()
        old = golden[: golden.index(b"\n") + 1]
        now = lines(records.record())
        for number, (first, second) in enumerate(((old, now), (now, old))):
            root = tmp_path / str(number)
            written(root, first, "20261101T020000Z-000001")
            written(root, second, "20261102T020000Z-000002")
            assert len(list(store.newest(root))) == 1

    def test_memory_does_not_grow_with_the_number_of_records(self, tmp_path: Path) -> None:
        raw = lines(*(records.record(order=order) for order in range(200)))
        for run in range(5):
            written(tmp_path, raw, f"20261101T02000{run}Z-000001")

        def peak(folders: int) -> int:
            tracemalloc.start()
            count = sum(1 for _, (_, _) in zip(range(200 * folders), store.read(tmp_path), strict=False))
            assert count == 200 * folders
            _, high = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            return high

        peak(1)
        assert peak(5) < 1.5 * peak(1)


class TestSamples:
    def stored(self, root: Path, **changes: object) -> tuple[Path, Record]:
        made = records.record(queries=4)
        assert made.window is not None
        folder = root / made.context.run_id
        (folder / store.SAMPLES).mkdir(parents=True)
        np.arange(4, dtype="<i8").tofile(folder / made.window.samples_file)
        return folder, made.model_copy(update={"window": made.window.model_copy(update=changes)})

    def test_they_come_back_in_order(self, tmp_path: Path) -> None:
        assert store.samples_of(*self.stored(tmp_path)).tolist() == [0, 1, 2, 3]

    def test_too_short_or_gone(self, tmp_path: Path) -> None:
        folder, made = self.stored(tmp_path, queries=5)
        with pytest.raises(StoreError, match="32 bytes where 5 samples of 8 were written"):
            store.samples_of(folder, made)
        with pytest.raises(StoreError, match="is gone"):
            store.samples_of(tmp_path / "elsewhere", made)

    def test_outside_of_the_folder_is_never_read(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_bytes(bytes(32))
        folder, made = self.stored(tmp_path, samples_file="samples/../../secret")
        with pytest.raises(StoreError, match="outside the run's folder"):
            store.samples_of(folder, made)

    def test_records_without_samples(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="absent, there are no samples"):
            store.samples_of(tmp_path, records.record(status="absent"))


class TestCheckWritable:
    def test_makes_the_folder_and_leaves_nothing_in_it(self, tmp_path: Path) -> None:
        store.check_writable(tmp_path / "deep" / "er")
        assert list((tmp_path / "deep" / "er").iterdir()) == []

    def test_a_file_in_the_way(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        for path in (tmp_path / "file", tmp_path / "file" / "under"):
            with pytest.raises(StoreError, match=r"\(tried before measuring\); move the file that is in the way"):
                store.check_writable(path)

    def test_a_place_that_cannot_be_written(self) -> None:
        with pytest.raises(StoreError, match=r"/proc/accelmark: .*\(tried before measuring\); "):
            store.check_writable(Path("/proc/accelmark"))

    @pytest.mark.parametrize(
        ("number", "remedy"),
        [(errno.ENOSPC, "free some space"), (errno.EROFS, "choose a results folder that can be written"),
         (errno.EACCES, "make it writable")],
    )  # fmt: skip
    def test_cause_moment_and_remedy(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
    ) -> None:
        def fail(handle: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(StoreError) as caught:
            store.check_writable(tmp_path)
        assert str(caught.value).startswith(f"{tmp_path}: {os.strerror(number)} (tried before measuring); {remedy}")

    def test_a_write_that_does_not_fit_is_real(self, tmp_path: Path) -> None:
        """256 KiB really are written: a limit on file sizes below that is noticed."""
        script = (
            "import resource, signal, sys; from pathlib import Path; from results import store;"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
            "store.check_writable(Path(sys.argv[1]))"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, tmp_path], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert "File too large (tried before measuring); raise the limit on file sizes" in done.stderr

    def test_too_little_space_for_samples(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match=r"MiB free where .* MiB are needed"):
            store.check_writable(tmp_path, needed_bytes=1 << 60)
