"""Names, references, paths and options are checked before work: a mistake starts no server and imports no framework."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from reviewlm import flow_runs
from reviewlm.cli import app
from reviewlm.core.config.presets import load_config
from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.environment import home_folder
from reviewlm.core.errors import EmptyInput
from reviewlm.core.store import Store
from reviewlm.flows.drift import retrain_request
from tests.command_line import complaint, run
from tests.programs import command
from tests.tracking.registry.made_registry import register

MISTAKES: list[tuple[list[str], int, str]] = [
    (["compare", "champion", "99"], 2, "is neither a registered version"),
    (["compare", "champion", "nobody"], 2, "is neither a registered version"),
    (["compare", "champion", "previous"], 2, "is neither a registered version"),
    (["compare", "champion", "kn5", "--input", "nosuch.csv"], 3, "nosuch.csv"),
    (["compare", "champion", "kn5", "--set", "models.lsmt.hidden=3"], 2, "did you mean 'lstm'?"),
    (["data", "drift"], 2, "no new reviews"),
    (["data", "drift", "--input", "nosuch.csv"], 3, "nosuch.csv"),
    (["version", "rescore", "--input", "nosuch.csv"], 3, "nosuch.csv"),
    (["promote", "--input", "nosuch.csv"], 3, "nosuch.csv"),
    (
        ["promote", "--set", "vectors.own=nosuch.vec", "--set", "models.lstm.vectors=own"],
        3,
        "nosuch.vec",
    ),
    (["promote", "--version", "99", "--why", "x"], 3, "There is no version 99"),
    (["rollback", "--to", "99"], 3, "There is no version 99"),
    (["rollback", "--model", "nobody"], 3, "remedy: one of reviewlm"),
    (["history", "--model", "nobody"], 3, "No model is registered"),
    (["version", "lineage", "99"], 7, "'reviewlm' has no version 99"),
    (["version", "reproduce", "nobody"], 7, "'reviewlm' has no version nobody"),
    (["version", "reproduce", "champion", "--input", "nosuch.csv"], 3, "nosuch.csv"),
    (["generate", "--model", "nobody"], 7, "'reviewlm' has no version nobody"),
    (
        ["generate", "--model", "reviewln"],
        7,
        "one of champion, 1, or a registered model: reviewlm; `reviewlm history",
    ),
    (["generate", "--model", "reviewln@champion"], 7, "registered are: reviewlm"),
    (["suggest", "the food", "--model", "reviewlm@chmpion"], 7, "one of champion, 1, or"),
    (["suggest", "the food", "--model", "reviewlm/99"], 7, "remedy: one of champion, 1"),
    (["suggest", "the food", "--model", "previous"], 7, "'reviewlm' has no version previous"),
    (["generate", "--model", "./nosuch"], 2, "reviewlm.load(FOLDER)"),
    (["score", "nosuch.txt"], 3, "nosuch.txt"),
    (["data", "quarantine", "show", "--input", "nosuch.jsonl"], 3, "nosuch.jsonl"),
    (
        ["data", "checks", "run", "--table", "nosuch.parquet", "--suite", "nosuch.json"],
        3,
        "nosuch.parquet",
    ),
    (
        ["data", "checks", "suggest", "--table", "nosuch.parquet", "--out", "suite.json"],
        3,
        "nosuch.parquet",
    ),
    (["run", "--input", "nosuch.csv"], 3, "nosuch.csv"),
    (["run", "--set", "source.business=nosuch.json"], 3, "nosuch.json"),
    (
        ["run", "--set", "vectors.own=nosuch.vec", "--set", "models.lstm.vectors=own"],
        3,
        "nosuch.vec",
    ),
    (["run", "--set", "models.lstm.vectors=own"], 2, "vectors.own=FILE"),
    (["run", "--set", "execution.device=cuda"], 2, "GPU"),
    (["run", "--until", "train", "--set", "baseline=nobody"], 2, "must be one of the models"),
    (["run", "--set", 'models.kn5+lstm.parts=["kn5","nobody"]'], 2, "'nobody'"),
    (["run", "--set", "models.lstm.name=''"], 2, "name"),
    (["run", "--rebuild", "nosuchstage"], 2, "execution.rebuild"),
    (["models", "sweep", "--preset", "demo", "--model", "lsmt"], 2, "did you mean 'lstm'?"),
    (["data", "ingest", "--preset", "smal"], 2, "did you mean 'small'?"),
]


@pytest.fixture
def champion(own_home: Path) -> Path:
    """A champion of the embedded corpus, whose data set the store has."""
    own_home.mkdir(exist_ok=True)
    register(own_home, load_config("small"), 1, ["champion"])
    return own_home


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.mark.slow
def test_every_mistake_is_told_before_a_server_or_a_framework_is_there(
    champion: Path, tmp_path: Path
) -> None:
    asked = json.dumps([arguments for arguments, _, _ in MISTAKES])
    done = subprocess.run(
        command("run_verbs", asked),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    codes, heavy = json.loads(done.stdout.splitlines()[-1])
    assert codes == [code for _, code, _ in MISTAKES], done.stderr
    assert heavy == []
    assert "Traceback" not in done.stderr
    messages = done.stderr.split("error: ")[1:]
    assert len(messages) == len(MISTAKES)
    assert [
        words
        for message, (_, _, words) in zip(messages, MISTAKES, strict=True)
        if words not in message
    ] == []


@pytest.fixture
def flows_run(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the flows would have been given; none is run."""
    given: list[tuple[Any, ...]] = []

    def run(name: str, config: RunConfig, *about: Any, **arguments: Any) -> dict[str, Any]:
        given.append((name, *about, arguments))
        return {
            "months": [],
            "version": 1,
            "sentence": "s",
        }

    monkeypatch.setattr(flow_runs, "_run", run)
    return given


def test_a_verb_about_a_version_says_which_data_it_takes(
    champion: Path, flows_run: list[tuple[Any, ...]]
) -> None:
    done = CliRunner().invoke(app, ["version", "rescore", "--json"], catch_exceptions=False)
    data = "version 1 (champion) of 'reviewlm': the embedded corpus, 20,000 synthetic reviews."
    assert f"Data: {data}" in done.stdout


def test_a_verb_about_a_version_says_whose_settings_it_takes(
    champion: Path, flows_run: list[tuple[Any, ...]]
) -> None:
    done = CliRunner().invoke(app, ["version", "rescore", "--json"], catch_exceptions=False)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["settings"] == "version 1 (champion) of 'reviewlm'"


def test_a_verb_about_a_version_leaves_the_choice_of_data_to_its_flow(
    champion: Path, flows_run: list[tuple[Any, ...]]
) -> None:
    CliRunner().invoke(app, ["version", "rescore", "--json"], catch_exceptions=False)
    assert flows_run == [("rescore", "", None, [], {"versions": "champion"})]


@pytest.mark.parametrize(
    "verb", [["version", "rescore"], ["data", "ingest"], ["run", "--until", "prepare"]]
)
def test_a_verb_that_fits_no_model_needs_no_word_vectors(
    verb: list[str],
    champion: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(name: str, *given: Any, **arguments: Any) -> dict[str, Any]:
        raise EmptyInput("reached", remedy="-")

    monkeypatch.setattr(flow_runs, "_run", stop)
    lost = ["--set", "vectors.own=nosuch.vec", "--set", "models.lstm.vectors=own"]
    assert complaint(*verb, *lost).what == "reached"
    assert complaint("run", "--until", "train", *lost).what == "There is no such file or folder"


@pytest.mark.usefixtures("own_home")
@pytest.mark.parametrize(
    "verb",
    [["compare", "champion", "previous"], ["data", "drift"], ["version", "rescore"], ["promote"]],
)
def test_without_a_champion_a_verb_asks_for_data_instead_of_making_them_up(
    verb: list[str], flows_run: list[tuple[Any, ...]]
) -> None:
    error = complaint(*verb)
    assert "registered" in error.what
    assert str(home_folder()) in str(error.where)
    assert "REVIEWLM_HOME" in error.remedy
    assert not home_folder().exists()
    assert "--input FILES" in error.remedy
    assert not flows_run


@pytest.mark.usefixtures("own_home")
@pytest.mark.parametrize(
    "verb",
    [
        ["run"],
        ["run", "--minutes", "5"],
        ["data", "ingest"],
        ["models", "sweep", "--model", "lstm"],
    ],
)
def test_an_input_without_texts_starts_no_run(
    verb: list[str],
    tmp_path: Path,
    flows_run: list[tuple[Any, ...]],
) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("id,body,score\n1,nice,5\n")
    assert complaint(*verb, "--input", str(file)).what == "There is no field 'text'"
    file.write_text("")
    assert complaint(*verb, "--input", str(file)).what == "The input holds no records"
    assert not flows_run


@pytest.mark.usefixtures("own_home")
@pytest.mark.parametrize("verb", [("data", "drift"), ("version", "rescore")])
def test_without_a_champion_new_reviews_are_compared_with_nothing(
    verb: tuple[str, str], flows_run: list[tuple[Any, ...]]
) -> None:
    for given in (["--input", __file__], ["--preset", "demo"]):
        assert complaint(*verb, *given).what == "There is no champion yet"
    assert not flows_run


def test_data_that_are_gone_are_missed_before_a_comparison_starts(
    own_home: Path,
    tmp_path: Path,
    flows_run: list[tuple[Any, ...]],
) -> None:
    file = tmp_path / "mine.jsonl"
    own_home.mkdir(exist_ok=True)
    register(
        own_home,
        load_config("small").with_input([str(file)]),
        1,
        ["champion"],
        [file],
    )
    assert "mine.jsonl" in str(complaint("compare", "champion", "kn5"))
    assert not flows_run


def data_set(
    home: Path,
    raw: Path,
    files: dict[str, bytes],
) -> str:
    """Ingest files into the store, a record of which is bad, and return the data set's digest."""
    from reviewlm.corpus.reading.sources import identify

    raw.mkdir(exist_ok=True)
    listed = []
    for name, content in files.items():
        (raw / name).write_bytes(content)
        source = identify(raw / name, name)
        listed.append(
            {
                "name": name,
                "bytes": source.bytes,
                "sha256": source.sha256,
            }
        )

    def make(work: Path) -> dict[str, Any]:
        import polars as pl

        rows = {
            "source": [name for name in files],
            "line": [1] * len(files),
            "reason": ["malformed"] * len(files),
        }
        detail = {"detail": ["" for _ in files], "raw": [content for content in files.values()]}
        pl.DataFrame(rows | detail).write_parquet(work / "quarantine.parquet")
        return {"sources": listed}

    return (
        Store(home / "store")
        .build(
            "ingest",
            2,
            {},
            {"of": raw.name},
            make,
        )
        .artifact.digest
    )


def shown(*arguments: str) -> dict[str, Any]:
    return run("data", "quarantine", "show", *arguments)


def test_the_quarantine_is_that_of_the_champions_data_or_of_the_files_that_are_named(
    own_home: Path, tmp_path: Path
) -> None:
    own_home.mkdir(exist_ok=True)
    data_set(own_home, tmp_path / "mine", {"a.jsonl": b"bad a"})
    assert shown()["reasons"][0]["source"] == "a.jsonl"
    data_set(own_home, tmp_path / "other", {"b.jsonl": b"bad b"})
    assert shown()["reasons"][0]["source"] == "b.jsonl", "the newest"
    file = tmp_path / "mine" / "a.jsonl"
    register(
        own_home,
        load_config("small").with_input([str(file)]),
        1,
        ["champion"],
        [file],
    )
    assert shown()["data"] == "version 1 (champion) of 'reviewlm': a.jsonl"
    assert shown()["reasons"][0]["raw"] == "bad a"
    assert shown("--set", "source.max_chars=9")["reasons"][0]["raw"] == "bad a", (
        "other limits, the same files"
    )
    assert shown("--input", str(tmp_path / "other"))["reasons"][0]["raw"] == "bad b"
    assert "not been ingested" in str(
        complaint(
            "data",
            "quarantine",
            "show",
            "--preset",
            "demo",
            "--set",
            "seed=9",
        )
    )


def test_where_there_is_nothing_to_correct_an_empty_file_is_exported(
    own_home: Path, tmp_path: Path
) -> None:
    own_home.mkdir(exist_ok=True)
    data_set(own_home, tmp_path / "mine", {"a.jsonl": b"bad a"})
    out = tmp_path / "bad.jsonl"
    export = ["data", "quarantine", "export", "--out", str(out), "--reason"]
    assert [run(*export, reason)["records"] for reason in ("malformed", "encoding")] == [1, 0]
    assert out.read_bytes() == b""
    misspelt = complaint(*export, "encodign")
    assert (misspelt.exit_code, misspelt.where) == (2, "--reason")
    assert "encoding" in misspelt.remedy


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--require", "soup"], "needs --beam"),
        (["--beam", "3", "--seed", "2"], "no effect with --beam"),
        (["--beam", "3", "--temperature", "0.5"], "--temperature"),
        (["--beam", "2", "--n", "3"], "at most 2 reviews"),
        (["--beam", "3", "--watermark", "secret"], "--watermark"),
    ],
)
def test_options_without_effect_are_refused(arguments, message):
    done = CliRunner().invoke(app, ["generate", *arguments])
    assert done.exit_code == 2
    assert message in done.output


@pytest.fixture
def reviews_of_champion(own_home: Path, tmp_path: Path) -> str:
    """The file with the reviews of the registered champion."""
    file = tmp_path / "mine.jsonl"
    register(
        own_home,
        load_config("small").with_input([str(file)]),
        1,
        ["champion"],
        [file],
    )
    return str(file)


def test_drift_adds_the_new_reviews_to_those_of_the_champion(
    reviews_of_champion: str, tmp_path: Path
) -> None:
    new = str(tmp_path / "new.jsonl")
    assert retrain_request("", [new], None)["input"] == [reviews_of_champion, new]


@pytest.mark.usefixtures("reviews_of_champion")
def test_drift_without_input_lets_a_retrain_read_the_files_as_they_are_then() -> None:
    assert retrain_request("", None, None)["input"] is None


@pytest.mark.usefixtures("champion")
def test_names_of_models_alone_are_compared_with_the_settings_of_the_champion_s_run(
    flows_run: list[tuple[Any, ...]],
) -> None:
    CliRunner().invoke(app, ["compare", "lstm", "kn5"])
    assert flows_run[-1][-1] == {"first": "lstm", "second": "kn5"}


@pytest.mark.usefixtures("champion")
def test_a_misspelled_model_is_answered_with_the_names_that_exist() -> None:
    error = complaint("compare", "lstn", "champion")
    assert error.remedy.startswith("did you mean 'lstm'?")
    assert "champion, 1" in error.remedy
