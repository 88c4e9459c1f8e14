"""A service that fails is started again; one that ends by itself, is stopped or cannot start is not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from core.processes import keep_running
from core.processes.leftovers import hold

ROOT = Path(__file__).resolve().parents[3]
KEEPER = """
import sys
from core.processes import keep_running
keep_running.PROVEN_SECONDS, keep_running.OWN_SECONDS = 0.05, 0.5
keep_running.SHORTEST_PAUSE, keep_running.LONGEST_PAUSE = 0.05, 0.2
sys.exit(keep_running.keep_running(sys.argv[1:]))
"""


def keeper(folder: Path, program: str) -> subprocess.Popen[str]:
    """Run a program, which notes each of its starts in the file `starts`."""
    file = folder / "program.py"
    file.write_text(f"""
import os, sys, time
with open({str(folder / "starts")!r}, "a") as log:
    print(os.getpid(), file=log, flush=True)
starts = len(open({str(folder / "starts")!r}).readlines())
time.sleep(0.1)
{program}
""")
    return subprocess.Popen([sys.executable, "-c", KEEPER, str(file)], stderr=subprocess.PIPE, text=True)


def starts(folder: Path) -> list[int]:
    file = folder / "starts"
    return [int(line) for line in file.read_text().splitlines()] if file.exists() else []


def wait_for(folder: Path, number: int) -> list[int]:
    until = time.monotonic() + 60
    while len(starts(folder)) < number:
        assert time.monotonic() < until
        time.sleep(0.02)
    return starts(folder)


def test_a_program_that_fails_is_started_again_until_it_ends_by_itself(tmp_path: Path) -> None:
    process = keeper(tmp_path, "sys.exit(7 if starts < 4 else 0)")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert len(starts(tmp_path)) == 4
    assert said.count("ended with exit code 7; restart in") == 3
    assert str(tmp_path / "program.py") in said


def test_a_program_that_is_killed_is_started_again(tmp_path: Path) -> None:
    process = keeper(tmp_path, "time.sleep(60)")
    time.sleep(0.3)
    os.kill(wait_for(tmp_path, 1)[0], signal.SIGKILL)
    assert len(set(wait_for(tmp_path, 2))) == 2
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)


def test_a_program_that_cannot_start_is_left_alone_and_its_code_is_told(tmp_path: Path) -> None:
    file = tmp_path / "none.py"
    process = subprocess.Popen([sys.executable, "-c", KEEPER.replace("0.05, 0.5", "60, 0.5"), str(file)])
    assert process.wait(timeout=60) == 1


@pytest.mark.parametrize("whole_family", [True, False], ids=["the whole family", "the keeper alone"])
def test_a_program_that_is_stopped_is_not_started_again_and_gets_the_signal_once(
    tmp_path: Path, whole_family: bool
) -> None:
    process = keeper(tmp_path, f"""
import signal
def note(*_):
    open({str(tmp_path / "signals")!r}, "a").write("x")
    time.sleep(0.2)
    raise SystemExit(3)
signal.signal(signal.SIGTERM, note)
open({str(tmp_path / "ready")!r}, "w").close()
time.sleep(60)
""")
    while not (tmp_path / "ready").exists():
        time.sleep(0.02)
    if whole_family:
        os.kill(starts(tmp_path)[0], signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 3
    assert len(starts(tmp_path)) == 1
    assert (tmp_path / "signals").read_text() == "x"


def test_the_program_ends_with_its_keeper(tmp_path: Path) -> None:
    process = keeper(tmp_path, "time.sleep(60)")
    [pid] = wait_for(tmp_path, 1)
    process.kill()
    process.communicate(timeout=60)
    gone, _ = psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=60)
    assert gone or not psutil.pid_exists(pid)


@pytest.mark.slow
def test_the_log_of_a_program_that_runs_for_months_stays_small_and_keeps_what_came_last(tmp_path: Path) -> None:
    """The program writes 60 lines, with pauses, into a log of about ten lines, and is started again in between."""
    log, program = tmp_path / "service.log", tmp_path / "program.py"
    program.write_text(f"""
import sys, time
began = open({str(tmp_path / "starts")!r}, "a")
began.write("x"); began.close()
starts = len(open({str(tmp_path / "starts")!r}).read())
for number in range(30):
    print(f"line {{30 * starts - 30 + number:03d}} of the log", flush=True)
    time.sleep(0.05)
sys.exit(1 if starts < 2 else 0)
""")
    keeper = KEEPER.replace("sys.exit(", "keep_running.LOOK_SECONDS = 0.02\nsys.exit(").replace(
        "keep_running.keep_running(", "keep_running.main(")
    with log.open("ab") as output:
        words = [sys.executable, "-c", keeper, "--log", str(log), "180", str(program)]
        assert subprocess.run(words, stdout=output, stderr=output, timeout=60).returncode == 0
    old = (tmp_path / "service.log.1").read_text()
    numbers = [int(line[5:8]) for line in (old + log.read_text()).splitlines() if line.startswith("line")]
    assert numbers == list(range(numbers[0], 60)), "no line is lost between the two files"
    assert 0 < numbers[0] < 59


def test_on_a_full_disk_a_log_of_twice_its_size_goes_without_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "service.log"
    (tmp_path / "service.log.part").mkdir()  # nothing can be written there
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    log.write_bytes(b"x" * 150)
    with pytest.raises(OSError, match="directory"):
        keep_running._cut(log, 100)
    assert log.stat().st_size == 150
    log.write_bytes(b"x" * 250)
    keep_running._cut(log, 100)
    assert log.stat().st_size == 0


@pytest.mark.slow
def test_a_file_that_a_killed_process_left_is_dealt_with_and_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    """The module that is run removes a file only at its second run, as if a server had been away."""
    folder, told = tmp_path / "running", tmp_path / "told"
    folder.mkdir()
    held = hold(folder / "living")
    assert held is not None
    (tmp_path / "ends_left.py").write_text(f"""
from pathlib import Path
told, left = Path({str(told)!r}), Path({str(folder / "killed")!r})
with told.open("a") as log:
    log.write("looked\\n")
if len(told.read_text().splitlines()) > 1:
    left.unlink()
""")
    keeper = KEEPER.replace("keep_running.keep_running(", "keep_running.main(").replace(
        "sys.exit(", "keep_running.LEFT_SECONDS, keep_running.YOUNG_SECONDS = 0.05, 0.0\nsys.exit(")
    words = [sys.executable, "-c", keeper, "--left", str(folder), "ends_left", str(tmp_path / "waits.py")]
    (tmp_path / "waits.py").write_text("import time\ntime.sleep(600)")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))}
    process = subprocess.Popen(words, cwd=tmp_path, env=environment)
    try:
        time.sleep(1)
        assert not told.exists()
        (folder / "killed").touch()
        over = time.monotonic() + 60
        while (folder / "killed").exists():
            assert time.monotonic() < over
            time.sleep(0.02)
        time.sleep(1)
    finally:
        process.kill()
        process.wait()
        os.close(held)
    assert told.read_text().splitlines() == ["looked"] * 2
    assert (folder / "living").exists()


def test_what_a_program_prints_is_lines_of_json_if_wanted(tmp_path: Path) -> None:
    program, log = tmp_path / "program.py", tmp_path / "worker-cpu-pool.log"
    known = '{"time": "2026-11-25T09:00:00+00:00", "level": "info", "logger": "tasks.fit", "message": "known"}'
    program.write_text(f"""
import os, sys, time
starts = {str(tmp_path / "starts")!r}
open(starts, "a").write("x")
time.sleep(0.1)
print("Worker started!", flush=True)
print({known!r}, file=sys.stderr, flush=True)
os.write(2, b'{{"no": "message"}}\\n\\n\\xff[1, 2]')
if len(open(starts).read()) < 2:
    raise RuntimeError("no soup")
""")
    keeper = KEEPER.replace("keep_running.keep_running(", "keep_running.main(")
    words = [sys.executable, "-c", keeper, "--log", str(log), "1000000", str(program)]
    with log.open("ab") as output:
        environment = {**os.environ, "REVIEWLM_LOG_FORMAT": "json"}
        assert subprocess.run(words, stdout=output, stderr=output, timeout=60, env=environment).returncode == 0
    lines = log.read_text().splitlines()
    told = [json.loads(line) for line in lines]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in told)
    said = [(line["level"], line["logger"], line["message"]) for line in told]
    assert said.count(("info", "worker-cpu-pool", "Worker started!")) == 2
    assert lines.count(known) == 2
    assert ("warning", "worker-cpu-pool", '{"no": "message"}') in said
    assert ("warning", "worker-cpu-pool", "RuntimeError: no soup") in said
    assert ("warning", "worker-cpu-pool", "�[1, 2]Traceback (most recent call last):") in said
    own = [message for level, logger, message in said if (level, logger) == ("warning", "keep_running")]
    assert any(message.startswith(f"{program} ended with exit code 1; restart in ") for message in own)


@pytest.mark.parametrize("fails", [True, False], ids=["fails", "is stopped"])
def test_in_a_container_a_program_is_not_started_again_and_gets_a_signal_at_once(tmp_path: Path, fails: bool) -> None:
    program = tmp_path / "program.py"
    program.write_text(f"""
import signal, time
open({str(tmp_path / "starts")!r}, "a").write("x")
signal.signal(signal.SIGTERM, lambda *_: exit(5))
open({str(tmp_path / "ready")!r}, "w").close()
time.sleep(0.1)
exit(7) if {fails} else time.sleep(60)
""")
    keeper = KEEPER.replace("keep_running.keep_running(", "keep_running.main(").replace("0.05, 0.5", "0.05, 3600")
    words = [sys.executable, "-c", keeper, "--once", "worker-cpu-pool", str(program)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "ready").exists():
        time.sleep(0.02)
    if not fails:
        process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (7 if fails else 5, "")
    assert (tmp_path / "starts").read_text() == "x"
