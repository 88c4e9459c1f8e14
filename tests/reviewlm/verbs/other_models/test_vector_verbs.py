"""What `reviewlm models embed` hands to its flow and writes, and what `reviewlm models neighbours` shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reviewlm.verbs.other_models.vectors
from reviewlm.training.vectors.files import make_keyed_vectors, read_vectors, save_vectors
from tests.command_line import exit_code

NAMES = ["man", "woman", "king", "queen", "\n"]
ROYAL = make_keyed_vectors(NAMES, np.array([[1, 0, 0], [0, 1, 0], [1, 0, 1], [0, 1, 1], [0, 0, 1]]))


def answer(capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return dict(json.loads(capfd.readouterr().out.splitlines()[-1]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_vectors(tmp_path / "vectors", ROYAL)
    return tmp_path / "vectors"


@pytest.mark.parametrize("form", ["word2vec", "binary", "glove"])
def test_embed_writes_the_vectors_of_its_flow_to_a_file(
    form: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    made = {"vectors": str(folder), "words": 5}
    monkeypatch.setattr(reviewlm.verbs.other_models.vectors, "run_flow", lambda *about: made)
    out = tmp_path / "new" / "out.vec"
    assert (
        exit_code(
            monkeypatch,
            "models",
            "embed",
            "--out",
            str(out),
            "--form",
            form,
            "--json",
        )
        == 0
    )
    told = answer(capfd)
    assert (told["written"], told["left_out"], told["form"]) == (4, 1, form)
    assert read_vectors(out).index_to_key == ROYAL.index_to_key[:4]


def test_a_form_without_a_file_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert (
        exit_code(
            monkeypatch,
            "models",
            "embed",
            "--form",
            "glove",
        )
        == 2
    )
    assert "no effect without --out" in capfd.readouterr().err


NEIGHBOURS = ("models", "neighbours", "King", "--analogy", "man", "king", "woman", "--n", "2")


def test_neighbours_are_given_as_json(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert (
        exit_code(
            monkeypatch,
            *NEIGHBOURS,
            "--vectors",
            folder,
            "--json",
        )
        == 0
    )
    neighbours = answer(capfd)["neighbours"]["King"]
    assert [near["word"] for near in neighbours] == ["man", "\n"]


def test_an_analogy_is_given_as_json(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert (
        exit_code(
            monkeypatch,
            *NEIGHBOURS,
            "--vectors",
            folder,
            "--json",
        )
        == 0
    )
    assert answer(capfd)["analogy"] == {
        "given": ["man", "king", "woman"],
        "answers": [{"word": "queen", "cosine": 0.958569}, {"word": "\n", "cosine": 0.561517}],
    }


def test_an_analogy_is_shown_as_a_sentence(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert exit_code(monkeypatch, *NEIGHBOURS, "--vectors", folder) == 0
    assert "'man' is to 'king' as 'woman' is to" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        pytest.param([], 2, "No word was given", id="no-word"),
        pytest.param(["kong"], 3, "similar words: king", id="unknown-word"),
    ],
)
def test_a_wrong_question_is_an_error(
    arguments: list[str],
    code: int,
    said: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert (
        exit_code(
            monkeypatch,
            "models",
            "neighbours",
            *arguments,
            "--vectors",
            str(folder),
        )
        == code
    )
    assert said in capfd.readouterr().err


def test_a_home_without_vectors_is_an_error_that_says_how_to_make_them(
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert exit_code(monkeypatch, "models", "neighbours", "good") == 5
    assert "embed` trains them" in capfd.readouterr().err
