"""N-gram models of text files, as a user types them: results on the last line, errors with their exit codes."""

from __future__ import annotations

import gzip
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from reviewlm.cli import app
from tests import command_line
from tests.programs import command

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "training" / "ngram" / "data"
TRAIN, HELD_OUT = str(GOLDEN / "train.txt"), str(GOLDEN / "held_out.txt")
ngram, complaint = (
    partial(command_line.run, "models", "ngram"),
    partial(command_line.complaint, "models", "ngram"),
)


@pytest.fixture
def fitted(tmp_path: Path, own_home: Path) -> tuple[Path, dict[str, Any]]:
    """The file of a pruned model, and what its fit says of it."""
    file = tmp_path / "m.arpa"
    facts = ngram(
        "fit",
        "--text",
        TRAIN,
        "--order",
        "3",
        "--prune",
        "0,1,2",
        "--arpa",
        file,
    )
    return file, facts


def test_a_fitted_model_has_the_ngrams_of_kenlm(fitted: tuple[Path, dict[str, Any]]) -> None:
    _, facts = fitted
    golden = gzip.decompress((GOLDEN / "train_012.3.arpa.gz").read_bytes()).decode()
    counts = [f"ngram {order}={count}" for order, count in enumerate(facts["ngrams"], start=1)]
    assert counts == golden.splitlines()[1:4]


def test_a_fit_says_what_it_took(fitted: tuple[Path, dict[str, Any]]) -> None:
    _, facts = fitted
    assert {"discounts", "seconds", "peak_mib", "tokens", "types"} <= facts.keys()
    assert [len(of_order) for of_order in facts["discounts"]] == [3, 3, 3]


def test_a_fitted_model_scores_as_query_does(fitted: tuple[Path, dict[str, Any]]) -> None:
    file, _ = fitted
    scored = ngram(
        "score",
        "--model",
        file,
        "--text",
        HELD_OUT,
    )
    query = [line.split("\t") for line in (GOLDEN / "query.tsv").read_text().splitlines()]
    theirs = {
        label.rstrip(":"): float(value) for model, label, value in query if model == "train_012 3"
    }
    including, excluding = "Perplexity including OOVs", "Perplexity excluding OOVs"
    assert scored["perplexity"] == pytest.approx(theirs[including], rel=1e-6)
    assert scored["perplexity_without_oov"] == pytest.approx(theirs[excluding], rel=1e-6)
    assert (scored["tokens"], scored["oov"]) == (theirs["Tokens"], theirs["OOVs"])


def test_methods_choose_their_parameters_on_held_out_text(tmp_path: Path, own_home: Path) -> None:
    common = ("fit", "--text", TRAIN, "--order", "2", "--smoothing", "add_k")
    ngram(
        *common,
        "--held-out",
        HELD_OUT,
        "--binary",
        tmp_path / "tuned",
    )
    ngram(
        *common,
        "--held-out",
        TRAIN,
        "--binary",
        tmp_path / "spoilt",
    )
    tuned, spoilt = (
        ngram(
            "score",
            "--model",
            tmp_path / name,
            "--text",
            HELD_OUT,
        )["perplexity"]
        for name in ("tuned", "spoilt")
    )
    assert tuned < spoilt


FIT = ("fit", "--text", TRAIN)
NO_TEXT = ("fit", "--text", "no_such_file", "--arpa", "m")
"""What is said before the text is read is said of a text that is not there."""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (FIT, 2, "No output"),
        ((*FIT, "--arpa", "m", "--order", "2", "--prune", "0,0,1"), 2, "at most 2 thresholds"),
        ((*FIT, "--arpa", "m", "--prune", "0,x"), 2, "whole numbers"),
        ((*FIT, "--arpa", "m", "--smoothing", "add_k"), 2, "there is none"),
        ((*FIT, "--arpa", "m", "--smoothing", "stupid_backoff"), 2, "scores, not probabilities"),
        (
            (*NO_TEXT, "--smoothing", "witten_bell", "--prune", "1,1,2"),
            2,
            "threshold of order 1 must be 0",
        ),
        ((*NO_TEXT, "--smoothing", "witten_bell", "--pad", "100"), 2, "only Kneser–Ney can pad"),
        ((*NO_TEXT, "--pad", "100", "--entropy", "1e-7"), 2, "cannot be combined"),
        ((*NO_TEXT, "--entropy", "inf"), 2, "it must be a finite number"),
        ((*NO_TEXT, "--smoothing", "stupid_backoff", "--entropy", "1e-7"), 2, "scores"),
        ((*NO_TEXT, "--prune", "0,-1"), 2, "prune has -1"),
        (
            (*FIT, "--arpa", "m", "--smoothing", "add_k", "--held-out", "no_such_file"),
            3,
            "no_such_file cannot be read",
        ),
        (("fit", "--text", "no_such_file", "--arpa", "m"), 3, "cannot be read"),
        (("score", "--model", TRAIN, "--text", HELD_OUT), 3, "line"),
        (
            ("score", "--model", "no_such_file", "--text", HELD_OUT),
            3,
            "no_such_file cannot be read",
        ),
        (("score", "--model", str(GOLDEN), "--text", HELD_OUT), 7, "ngram.json"),
    ],
)
def test_what_is_wrong_is_said_at_once_with_its_exit_code(
    arguments: tuple[str, ...],
    code: int,
    said: str,
    tmp_path: Path,
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    error = complaint(*arguments)
    assert error.exit_code == code
    assert said in str(error)


def test_a_fit_replaces_neither_its_text_nor_a_folder(tmp_path: Path, own_home: Path) -> None:
    (tmp_path / "train.txt").write_bytes(Path(TRAIN).read_bytes())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "words.txt").write_text("mine")
    for option, name, code, said in (
        ("--arpa", "train.txt", 3, "would be overwritten"),
        ("--arpa", "mine", 2, "This is a folder"),
        ("--binary", "train.txt", 2, "train.txt exists"),
        ("--binary", "mine", 2, "mine exists"),
    ):
        error = complaint(
            "fit",
            "--text",
            tmp_path / "train.txt",
            option,
            tmp_path / name,
        )
        assert (error.exit_code, said in str(error)) == (code, True)
    assert (tmp_path / "train.txt").read_bytes() == Path(TRAIN).read_bytes()
    assert [path.read_text() for path in (tmp_path / "mine").iterdir()] == ["mine"]


def test_models_of_text_files_need_no_torch() -> None:
    program = command("list_loaded_modules", "reviewlm.training.ngram.lines.text_files", "torch")
    done = subprocess.run(
        program,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_a_damaged_folder_has_the_exit_code_of_damaged_models(
    tmp_path: Path, own_home: Path
) -> None:
    ngram(
        *FIT,
        "--order",
        "2",
        "--binary",
        tmp_path / "m",
    )
    (tmp_path / "m" / "logp_2.npy").write_bytes(b"")
    error = complaint(
        "score",
        "--model",
        tmp_path / "m",
        "--text",
        HELD_OUT,
    )
    assert (error.exit_code, type(error).__name__) == (7, "BundleError")
    assert "logp_2" in str(error)


def test_nothing_but_what_was_asked_for_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REVIEWLM_HOME")
    monkeypatch.chdir(tmp_path)
    ngram(
        *FIT,
        "--order",
        "2",
        "--binary",
        "m",
    )
    ngram(
        "score",
        "--model",
        "m",
        "--text",
        HELD_OUT,
    )
    ngram("suggest", "the", "--model", "m")
    ngram("generate", "--model", "m")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    for verb in (FIT, ("score", "--text", TRAIN), ("suggest", "a"), ("generate",)):
        done = CliRunner().invoke(app, ["models", "ngram", *verb, "--preset", "small"])
        assert done.exit_code == 2, verb


def test_the_vocabulary_is_padded_as_lmplz_does(tmp_path: Path, own_home: Path) -> None:
    ngram(
        *FIT,
        "--order",
        "3",
        "--pad",
        "5000",
        "--arpa",
        tmp_path / "padded.arpa",
    )
    ours, theirs = (
        {
            word: float(p)
            for p, word, *_ in map(str.split, text.splitlines())
            if word in ("<unk>", "the", "</s>")
        }
        for text in (
            unigrams((tmp_path / "padded.arpa").read_text()),
            unigrams(gzip.decompress((GOLDEN / "train_padded.3.arpa.gz").read_bytes()).decode()),
        )
    )
    assert ours == pytest.approx(theirs, abs=1e-6)
    assert len(ours) == 3


def unigrams(arpa: str) -> str:
    return arpa.split("\\1-grams:\n")[1].split("\n\n")[0]
