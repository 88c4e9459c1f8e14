"""The harness of the benchmarks: what a run costs is measured in a process of its own."""

import argparse
import json
import sys
import time
from functools import partial

import pytest

from benchmarks import harness
from benchmarks.harness import Ratio, Report, Run, finish, measure, ratio, summary
from benchmarks.processes import ContenderFailed

MIB = 1 << 20


def busy(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return {"rows": 3}


def hold(mib):
    return len(b"1" * (mib * MIB))


def threads():
    import polars

    return polars.thread_pool_size()


def fail():
    raise ValueError("of its own")


@pytest.mark.slow
def test_wall_and_cpu_seconds_are_told_apart():
    slept, worked = measure(partial(time.sleep, 0.3), 1), measure(partial(busy, 0.3), 1)
    assert slept.wall >= 0.3
    assert slept.cpu < 0.15
    assert worked.cpu >= 0.29
    assert worked.result == {"rows": 3}


def test_a_run_of_a_few_milliseconds_takes_some():
    assert 0.002 < measure(partial(busy, 0.003), 1).cpu < 0.1
    command = measure([sys.executable, "-c", ""], 1)
    assert 0 < command.cpu != pytest.approx(round(command.cpu, 2), abs=1e-9)  # not counted in hundredths


@pytest.mark.slow
def test_peak_memory_is_that_of_the_run_alone():
    here = bytearray(200 * MIB)  # of this process, not of the measured one
    run = measure(partial(hold, 100), 1)
    assert 95 <= run.peak_mib - run.base_mib <= 160
    assert run.base_mib < 150
    del here


@pytest.mark.slow
def test_the_number_of_threads_reaches_the_libraries():
    assert measure(threads, 2).result == 2


def test_a_failure_in_the_process_is_one_here():
    with pytest.raises(ContenderFailed, match="of its own"):
        measure(fail, 1)
    with pytest.raises(ContenderFailed, match="with 3"):
        measure([sys.executable, "-c", "raise SystemExit(3)"], 1)


def test_a_command_line_is_measured_with_its_children():
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'sum(range(10_000_000))']); print('said')"
    run = measure([sys.executable, "-c", code], 1)
    assert run.result == "said\n"
    assert run.cpu > 0.1


def test_a_ratio_is_the_median_of_the_rounds_and_larger_is_better_for_us():
    runs = {"ours": [Run(1, 4, 10), Run(2, 4, 10), Run(4, 4, 10)], "peer": [Run(3, 2, 9), Run(4, 2, 9), Run(4, 2, 9)]}
    assert ratio(runs, "ours", "peer", 1.5) == Ratio(2.0, 1.5, "peer", (1.0, 3.0))
    assert ratio(runs, "ours", "peer", None, "cpu").value == 0.5


def test_the_report_is_one_json_line_and_a_page(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    runs = {"ours": [Run(1, 1, 10, result={"rows": 5})], "peer": [Run(2, 1, 10)]}
    report = Report("x", "A thing", summary(runs), {"x.peer": ratio(runs, "ours", "peer", 1.5)}, ["polars", "nope"])
    finish(argparse.Namespace(json=True, write=True), report)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(found) == {"machine", "versions", "command", "measurements", "ratios"}
    assert found["ratios"]["x.peer"] == {"value": 2.0, "goal": 1.5, "peer": "peer", "spread": [2.0, 2.0]}
    assert found["measurements"]["ours"]["rows"] == 5
    assert found["versions"]["nope"] == "absent"
    page = next(tmp_path.glob("*-x.md")).read_text()
    assert "| x.peer | 2.00 | 2.00 to 2.00 | 1.5 | yes |" in page


def test_the_stages_of_one_big_file_have_seconds_sizes_and_peaks(tmp_path):
    from benchmarks.data import scale

    stage = tmp_path / "store" / "tokens" / "abc"
    stage.mkdir(parents=True)
    manifest = {"stage": "tokens", "created": 1_000.0, "seconds": 10.0, "options": {"split": "test"}, "facts": {},
                "files": {"ids": {"bytes": 3_000_000}, "offsets": {"bytes": 1_000_000}}}
    (stage / "manifest.json").write_text(json.dumps(manifest))
    log = scale.ProcessLog(1)
    log.samples = [
        (999.0, 900.0, 1.0, 0.0), (1_001.0, 300.0, 50.0, 250.0), (1_009.0, 400.0, 60.0, 200.0),
        (1_011.0, 950.0, 2.0, 900.0),
    ]
    assert scale.stages(tmp_path, log) == {
        "tokens test": {"wall_s": 10.0, "peak_mib": 400, "private_mib": 250, "MB on disk": 4.0}
    }
    assert scale.stages(tmp_path, log, since=1_000.5) == {}, "made before"
    assert log.peak(0, 2_000, scale.SERVER) == 60
    assert log.peak(1_002, 1_003) is None, "too short to be seen is not 0"


def test_a_home_that_is_there_already_is_not_measured(tmp_path, capsys):
    from benchmarks.data import scale

    (tmp_path / "home").mkdir()
    (tmp_path / "reviews.jsonl").touch()
    with pytest.raises(SystemExit):
        scale.main(["--data", str(tmp_path), "--file", str(tmp_path / "reviews.jsonl")])
    assert "would be reused" in capsys.readouterr().err


def test_a_second_month_is_measured_with_both_files_and_then_alone_for_a_warm_start(tmp_path, monkeypatch, capsys):
    from benchmarks.data import scale

    calls, crowned = [], []

    def prepare(files, home, units, settings, more=""):
        calls.append(([file.name for file in files], home, units, 'start = "champion"' in more))
        stage = home / "store" / "read" / str(len(calls))
        stage.mkdir(parents=True)
        manifest = {"stage": "read", "created": time.time(), "seconds": float(len(calls)), "options": {}, "facts": {},
                    "files": {"part": {"bytes": 5_000_000}}}
        (stage / "manifest.json").write_text(json.dumps(manifest))
        log = scale.ProcessLog(1)
        log.samples = [(time.time(), 1_000.0 * len(calls), 10.0, 300.0)]
        return log, 30.0 * len(calls)

    monkeypatch.setattr(scale, "prepare", prepare)
    monkeypatch.setattr(scale, "crown", lambda file, home: crowned.append((file.name, len(calls))))
    monkeypatch.setattr(scale, "write_reviews", lambda file, reviews, seed, *rest, **more: file.write_text(f"{seed}\n"))
    (tmp_path / "reviews.jsonl").write_text("{}\n")
    found = scale.main(["--data", str(tmp_path), "--file", str(tmp_path / "reviews.jsonl"), "--units", "word",
                        "--month", "10", "--json"])
    home = tmp_path / "home"
    files = ["reviews.jsonl", "second-month.jsonl"]
    assert calls == [
        (files[:1], home, ["word"], False), (files, home, ["word"], False), (files[1:], home, ["word"], True),
    ]  # fmt: skip
    assert crowned == [("reviews.jsonl", 1)], "the champion has learnt from the first file only"
    assert (tmp_path / "second-month.jsonl").read_text() == f"{scale.SEED + 1}\n", "other reviews than the first file's"
    rows = found["measurements"]
    assert [rows[name]["wall_s"] for name in ("read", "second month: read", "month alone: read")] == [1.0, 2.0, 3.0]
    assert (rows["whole run"]["peak_mib"], rows["second month: whole run"]["wall_s"]) == (1_000, 60.0)
    assert [found["ratios"][name]["value"] for name in ("scale.month", "scale.month_alone")] == [1.0, 0.667]
    assert "read 2" not in rows, "what the first run made is in its own rows"
