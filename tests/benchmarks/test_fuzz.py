"""The fuzzer: what it found before stays mended, it finds nothing new, and what it is there to find it would find."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from benchmarks.fuzz import targets
from benchmarks.fuzz.__main__ import again, main, unpack
from benchmarks.fuzz.minimise import minimise
from benchmarks.fuzz.mutations import damaged, damaged_json
from benchmarks.fuzz.supervisor import Supervisor
from benchmarks.fuzz.targets import TARGETS, Target, make_case, outcome
from benchmarks.fuzz.worker import do
from core.errors import Unreadable

CASES = Path(__file__).parent / "fuzz_cases"
FOUND = sorted(path.name for path in CASES.iterdir())
FEW = 12


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_once_stays_mended(tmp_path, name):
    """Each zip is a finding as the fuzzer saved it; its `finding.txt` says what it ended in then."""
    unpack(CASES / name, tmp_path / "case")
    target = name.partition("-")[0]
    assert outcome(target, tmp_path / "case", tmp_path / "work").split()[0] in ("read", "refused")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.slow
def test_a_few_cases_of_every_kind_end_as_they_should(tmp_path, target):
    for seed in range(FEW):
        answer = do({"target": target, "seed": seed, "folder": str(tmp_path)})
        assert "error" not in answer, f"{target} {seed}: {answer['error']}"


@pytest.mark.parametrize("target", TARGETS)
def test_a_seed_gives_the_same_case_again(tmp_path, target):
    for name in ("a", "b"):
        make_case(target, 5, tmp_path / name)
    every = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()]
    own = {".checked", ".users"}  # what is known of files by their times, and marks of processes
    files = sorted(path for path in every if own.isdisjoint(path.parts))
    changing = {"manifest.json", "review.tar"}  # times of day stand in a manifest and in the heads of gzip
    for file in files:
        if file.name not in changing and not file.name.endswith((".gz", ".parquet")):
            assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_damage_is_drawn_from_the_seed_and_is_damage():
    content = b'{"text": "a review", "stars": 5}\n' * 20
    assert damaged(Random(3), content) == damaged(Random(3), content)
    assert sum(damaged(Random(seed), content) != content for seed in range(100)) > 90
    value = {"a": [1, {"b": "x"}], "c": None}
    assert damaged_json(Random(3), value) == damaged_json(Random(3), value)
    assert len({damaged_json(Random(seed), value) for seed in range(100)}) > 50


def planted(check, monkeypatch, make=None):
    """Put a target with a fault in the place of another."""
    write = make or (lambda rng, case: (case / "data.bin").write_bytes(bytes(range(64)) + b"BAD" + bytes(200)))
    monkeypatch.setitem(TARGETS, "input", Target(write, check))


def fails_at_bad(case, work):
    if b"BAD" in (case / "data.bin").read_bytes():
        raise KeyError("BAD")
    return "fine"


class PanicException(BaseException):
    pass


def panics(case, work):
    raise PanicException("index out of bounds")


def test_an_error_that_is_not_ours_is_a_finding(tmp_path, monkeypatch):
    planted(fails_at_bad, monkeypatch)
    assert "KeyError" in do({"target": "input", "seed": 1, "folder": str(tmp_path)})["key"]
    planted(panics, monkeypatch)
    assert "PanicException" in do({"target": "input", "seed": 1, "folder": str(tmp_path)})["key"]


def test_an_answer_that_differs_the_second_time_is_a_finding(tmp_path, monkeypatch):
    answers = iter("ab")
    planted(lambda case, work: next(answers), monkeypatch)
    assert "not the same again" in do({"target": "input", "seed": 1, "folder": str(tmp_path), "times": 2})["error"]


def test_an_error_of_ours_is_none_unless_it_has_no_word(tmp_path, monkeypatch):
    def refuses(case, work):
        raise Unreadable("It is damaged")

    planted(refuses, monkeypatch)
    assert do({"target": "input", "seed": 1, "folder": str(tmp_path)}) == {"outcome": "refused Unreadable"}

    def says_nothing(case, work):
        raise targets.ModelError("")

    planted(says_nothing, monkeypatch)
    assert "without a word" in do({"target": "input", "seed": 1, "folder": str(tmp_path)})["error"]


def test_a_finding_is_made_smaller_as_long_as_it_stays_the_same(tmp_path):
    (tmp_path / "data.bin").write_bytes(bytes(range(64)) + b"BAD" + bytes(200))

    def same():
        return b"BAD" in (tmp_path / "data.bin").read_bytes()

    assert minimise(tmp_path, same) == 264
    assert (tmp_path / "data.bin").read_bytes() == b"BAD"


def test_a_record_that_is_not_accounted_for_is_a_finding(tmp_path):
    case = tmp_path / "case"
    case.mkdir()
    (case / "review.jsonl").write_bytes(b'{"text": "a"}\n{"text": "b"}\n')
    (case / "case.json").write_text(json.dumps({"name": "review.jsonl", "settings": {}, "count": 3}))
    answer = do({"target": "input", "case": str(case), "folder": str(tmp_path)})
    assert "3 records, 2 accounted for" in answer["error"]


@pytest.mark.long
def test_a_worker_that_dies_or_hangs_is_a_finding_and_the_next_case_is_done(tmp_path):
    with Supervisor(tmp_path, cpu_seconds=60) as supervisor:
        first = supervisor.run({"target": "replay", "seed": 1})
        assert "outcome" in first
        assert supervisor.process is not None
        supervisor.process.kill()
        supervisor.process.wait()
        assert "outcome" in supervisor.run({"target": "replay", "seed": 1})
        supervisor.cpu_seconds = supervisor.wall_seconds = -1  # every case takes longer
        assert supervisor.run({"target": "replay", "seed": 1, "times": 500})["key"] == "too slow"


@pytest.mark.long
def test_a_saved_finding_is_done_again(tmp_path):
    (tmp_path / "settings-1").mkdir()
    (tmp_path / "settings-1" / "preset.toml").write_text("seed = 3")
    (tmp_path / "settings-1" / "overrides.json").write_text("[1]")  # a fault of the case: an override is text
    (tmp_path / "work").mkdir()
    with Supervisor(tmp_path / "work") as supervisor:
        answer = again(supervisor, tmp_path / "settings-1", smaller=False)
    assert "AttributeError" in answer["key"]


@pytest.mark.long
def test_a_minute_of_fuzzing_finds_nothing(tmp_path, capsys):
    ended = main(["--minutes", "1", "--seed", "20261121", "--out", str(tmp_path)])
    assert ended == 0, capsys.readouterr().out
