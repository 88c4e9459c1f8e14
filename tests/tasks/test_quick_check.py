"""`reviewlm check` runs the real stages on a few reviews of any format, names the stage that fails, and cleans up."""

from __future__ import annotations

import importlib
import json
import logging
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from reviewlm import ngram
from reviewlm.core.config.presets import load_config, preset_names
from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.errors import CheckFailed, FitError
from reviewlm.corpus.synthetic.synth import write_reviews
from reviewlm.models.specs import parts_of
from reviewlm.tasks import quick_check
from reviewlm.tasks.quick_check import StageLog, tiny, write_sample
from tests.command_line import Done, call


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    write_reviews(tmp_path / "reviews.jsonl", 60, seed=5)
    return tmp_path / "reviews.jsonl"


def as_format(source: Path, ending: str) -> Path:
    """Return the reviews in another format; plain text has no stars."""
    rows = pl.read_ndjson(source).select("review_id", "stars", "text", "date")
    file = source.with_suffix(ending)
    if ending == ".csv":
        rows.write_csv(file)
    elif ending == ".parquet":
        rows.write_parquet(file)
    elif ending == ".txt":
        file.write_text(
            "".join(text.replace("\n", " ") + "\n" for text in rows["text"]), encoding="utf-8"
        )
    return file


def config_of(*files: Path, preset: str = "small") -> RunConfig:
    return load_config(preset).with_input([str(file) for file in files])


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet", ".txt"])
def test_the_sample_has_the_first_reviews_of_any_format(
    ending: str,
    reviews: Path,
    tmp_path: Path,
) -> None:
    texts = [json.loads(line)["text"] for line in reviews.read_text(encoding="utf-8").splitlines()]
    file = as_format(reviews, ending)
    assert write_sample(config_of(file).source, tmp_path / "sample", 25) == 25
    found = [
        json.loads(line) for line in (tmp_path / "sample").read_text(encoding="utf-8").splitlines()
    ]
    assert [" ".join(row["text"].split()) for row in found] == [
        " ".join(text.split()) for text in texts[:25]
    ]
    assert all(("stars" in row) == (ending != ".txt") for row in found)


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_has_a_tiny_form_with_one_model_of_each_kind(
    preset: str, tmp_path: Path
) -> None:
    config = config_of(tmp_path / "reviews.jsonl", preset=preset)
    small = tiny(config, tmp_path / "sample.jsonl")
    assert {spec.kind for spec in small.models} == {spec.kind for spec in config.models}
    assert {config.baseline, *(part for spec in small.models for part in parts_of(spec))} <= {
        spec.name for spec in small.models
    }
    assert all(getattr(spec, "hidden", 1) <= 16 for spec in small.models)
    assert small.source.input == (str(tmp_path / "sample.jsonl"),)
    assert RunConfig.model_validate(small.model_dump()) == small, "its settings are valid together"


@pytest.fixture
def failed_check(
    own_home: Path,
    reviews: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Done:
    """A check whose second stage fails, with its files below the test's folder."""

    def diverge() -> None:
        raise FitError("The loss is not a number", remedy="lower the rate")

    def failing(config: RunConfig, log: StageLog) -> None:
        log.run("read the input", list)
        log.run("fit lstm", diverge)

    monkeypatch.setattr(quick_check, "try_stages", failing)
    monkeypatch.setattr("reviewlm.verbs.check.lasting_folder", lambda: tmp_path)
    return call(
        monkeypatch,
        capfd,
        "check",
        "--input",
        reviews,
        "--json",
    )


def test_a_failing_stage_is_named(failed_check: Done) -> None:
    assert failed_check.code == FitError.exit_code
    facts = failed_check.facts
    assert [(stage["stage"], stage["result"]) for stage in facts["stages"]] == [
        ("read the input", "ok"),
        ("fit lstm", "failed"),
    ]
    assert facts["failed"] == "fit lstm"
    assert facts["error"]["what"] == "The loss is not a number"


def test_the_files_of_a_failed_check_are_kept(
    failed_check: Done,
    tmp_path: Path,
    own_home: Path,
) -> None:
    folder = Path(failed_check.facts["home"])
    assert folder.parent == tmp_path
    assert folder.is_dir()
    assert not own_home.exists()


@pytest.mark.parametrize(("fails", "said"), [(False, "ok: 1 stages"), (True, "Wall time 17.")])
def test_the_wall_time_of_the_command_is_told_also_if_a_stage_fails(
    own_home: Path,
    reviews: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    fails: bool,
    said: str,
) -> None:
    """It counts from the start of the process, which here began 17 seconds before the stages."""

    def read() -> None:
        if fails:
            raise FitError("The loss is not a number", remedy="lower the rate")

    def quick(config: RunConfig, log: StageLog) -> None:
        monkeypatch.setattr("psutil.Process.create_time", lambda _: time.time() - 17)
        log.run("read the input", read)

    monkeypatch.setattr(quick_check, "try_stages", quick)
    monkeypatch.setattr("reviewlm.verbs.check.lasting_folder", lambda: tmp_path)
    done = call(
        monkeypatch,
        capfd,
        "check",
        "--input",
        reviews,
        "--json",
    )
    assert 17 <= done.facts["seconds"] < 18
    assert said in done.err


HALF_STARS = {"stars": 3.5}
UNREADABLE = {"text": None}


@pytest.mark.parametrize(
    ("bad", "allowed", "code"),
    [
        (HALF_STARS, (), CheckFailed.exit_code),
        (HALF_STARS, ("--set", "checks.min_stars_known=0.8"), 0),
        (UNREADABLE, (), CheckFailed.exit_code),
        (UNREADABLE, ("--set", "checks.max_quarantined=0.2"), 0),
    ],
)
def test_a_check_fails_where_a_run_would_stop_at_a_limit_of_bad_records(
    bad: dict[str, Any],
    allowed: tuple[str, ...],
    code: int,
    own_home: Path,
    reviews: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    rows = [json.loads(line) for line in reviews.read_text(encoding="utf-8").splitlines()]
    for row in rows[::10]:
        row.update(bad)
    reviews.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    monkeypatch.setattr(quick_check, "try_stages", lambda config, log: None)
    done = call(
        monkeypatch,
        capfd,
        "check",
        reviews,
        *allowed,
    )
    assert done.code == code, done.err


@pytest.mark.parametrize(("bad", "code"), [(20, CheckFailed.exit_code), (19, 0)])
def test_a_check_fails_where_a_run_would_stop_at_one_bad_file_among_good_ones(
    bad: int,
    code: int,
    own_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Among all records they would be too few: 20 of 2,040."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name, good, unreadable in (("large", 2_000, 0), ("small", 20, bad)):
        texts = [f"Review {number} of {name} was good." for number in range(good)]
        rows = [{"text": text} for text in [*texts, *[None] * unreadable]]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")

    monkeypatch.setattr(quick_check, "try_stages", lambda config, log: None)
    done = call(monkeypatch, capfd, "check", folder)
    assert done.code == code, done.err


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("ending", [".jsonl", ".txt"])
def test_a_check_of_all_stages_leaves_nothing(
    ending: str,
    own_home: Path,
    reviews: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("reviewlm.verbs.check.lasting_folder", lambda: place)
    done = call(
        monkeypatch,
        capfd,
        "check",
        "--input",
        as_format(reviews, ending),
        "--preset",
        "demo",
        "--json",
    )
    assert done.code == 0, done.err
    names = [stage["stage"] for stage in done.facts["stages"]]
    assert {"ingest", "check raw", "prepare", "tokens word, train", "compare the models"} <= set(
        names
    )
    assert {f"fit {name}" for name in ("kn5", "lstm")} <= set(names)
    assert {stage["result"] for stage in done.facts["stages"]} == {"ok"}
    assert not list(place.iterdir())
    assert not own_home.exists()


def test_a_trial_hides_the_warnings_of_too_little_text_while_it_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    estimator = logging.getLogger("reviewlm.training.ngram.smoothing.kneser_ney")
    reader = logging.getLogger("reviewlm.training.vectors.files")
    with quick_check.without_warnings_of_amounts():
        estimator.warning("too little text")
        reader.warning("odd rows")

    estimator.warning("after the trial")
    assert [record.message for record in caplog.records] == ["odd rows", "after the trial"]


@pytest.mark.parametrize("name", quick_check.OF_AMOUNTS)
def test_each_logger_whose_warnings_a_trial_hides_is_of_a_module_or_package(name: str) -> None:
    assert importlib.import_module(name).__name__ == name


def test_the_fit_of_a_few_texts_warns_outside_a_trial_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    texts = ["good food", "bad food"]
    with quick_check.without_warnings_of_amounts():
        ngram.fit(texts, order=5)

    assert caplog.records == []
    ngram.fit(texts, order=5)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
