"""What `reviewlm models nearest` finds and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from reviewlm import loading
from reviewlm.core.store import Store
from reviewlm.evaluation.text_vectors import query_likelihood
from reviewlm.models.bundles.bundle import Bundle, save_bundle
from reviewlm.models.neural.encoder import Encoder
from reviewlm.options import configure
from tests.command_line import Done, call
from tests.serving.engine.small_models import TEXTS, bundle_of

ROWS = [
    {
        "review_id": f"r{number}",
        "user_id": f"u{number % 5}",
        "business_id": f"b{number % 3}",
        "stars": 1 + number % 5,
        "text": text,
        "date": "2024-01-01",
    }
    for number, text in enumerate(TEXTS[:6] + [f"{text} Great." for text in TEXTS[:6]])
]
QUERY = "Cold tacos, rude staff."


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    file = tmp_path / "reviews.jsonl"
    file.write_text(
        "".join(json.dumps(row) + "\n" for row in ROWS) + "no record\n", encoding="utf-8"
    )
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    bundle, facts = bundle_of("lstm"), {"clean_digest": "0123456789abcdef"}
    save_bundle(
        tmp_path / "lstm",
        bundle.spec,
        bundle.vocabulary,
        bundle.model,
        [],
        facts,
    )
    return tmp_path / "lstm"


def write(file: Path, *texts: str) -> Path:
    rows = [
        {
            "review_id": f"r{number}",
            "text": text,
            "stars": 4,
        }
        for number, text in enumerate(texts)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def cosine(
    bundle: Bundle,
    one: str,
    other: str,
) -> float:
    first, second = Encoder(bundle).encode([one, other]).astype(np.float64)
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


@pytest.fixture
def found_in_file(
    reviews: Path,
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Done:
    """The answer for a text and a file of reviews, in a home without a model."""
    asked = ("models", "nearest", QUERY, "--input", reviews, "--n", 3, "--json")
    done = call(monkeypatch, capfd, *asked)
    assert done.code == 0, done.err
    return done


def test_the_nearest_reviews_of_a_file_are_those_that_make_the_text_likeliest(
    found_in_file: Done,
) -> None:
    facts, texts = found_in_file.facts, [str(row["text"]) for row in ROWS]
    scores = query_likelihood(texts)(QUERY, texts)
    order = np.argsort(-scores, kind="stable")[:3]
    assert facts["typical_score"] == pytest.approx(np.median(scores), abs=1e-5)
    assert [near["review_id"] for near in facts["nearest"]] == [
        ROWS[row]["review_id"] for row in order
    ]
    assert [near["score"] for near in facts["nearest"]] == pytest.approx(scores[order], abs=1e-5)


def test_the_nearest_reviews_of_a_file_have_the_fields_of_their_records(
    found_in_file: Done,
) -> None:
    records = {row["review_id"]: row for row in ROWS}
    for near in found_in_file.facts["nearest"]:
        assert set(near) == {"score", "passage", "review_id", "stars", "business_id", "text"}
        record = records[near["review_id"]]
        assert (near["stars"], near["business_id"]) == (record["stars"], record["business_id"])


def test_the_nearest_reviews_of_a_file_need_no_model(found_in_file: Done) -> None:
    facts = found_in_file.facts
    assert (facts["model"], facts["version"]) == (None, None)
    assert (facts["reviews"], facts["same_text"]) == (12, [])


def test_records_of_a_file_that_cannot_be_used_are_counted(found_in_file: Done) -> None:
    assert "1 record cannot be used" in found_in_file.err


def test_no_review_is_near_that_has_no_word_of_the_text(
    tmp_path: Path,
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    file = write(tmp_path / "two.jsonl", "warm soup", "cold tacos")
    found = call(
        monkeypatch,
        capfd,
        "models",
        "nearest",
        "tacos",
        "--input",
        file,
        "--json",
    ).facts
    assert [near["review_id"] for near in found["nearest"]] == ["r1"]
    assert (
        call(
            monkeypatch,
            capfd,
            "models",
            "nearest",
            "zeppelin",
            "--input",
            file,
            "--json",
        ).facts["nearest"]
        == []
    )
    file = write(tmp_path / "no.jsonl", "!!", "?")
    wordless = call(
        monkeypatch,
        capfd,
        "models",
        "nearest",
        "tacos",
        "--input",
        file,
    )
    assert wordless.code == 3


def test_by_the_model_the_nearest_are_those_with_the_largest_cosine_of_its_vectors(
    reviews: Path,
    folder: Path,
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    command = (
        "models",
        "nearest",
        QUERY,
        "--by",
        "model",
        "--model",
        folder,
        "--input",
        reviews,
        "--n",
        3,
        "--json",
    )
    done, bundle = call(monkeypatch, capfd, *command), bundle_of("lstm")
    assert "rating" not in done.err, "nobody gave one"
    wanted = sorted(ROWS, key=lambda row: -cosine(bundle, QUERY, str(row["text"])))[:3]
    assert [near["review_id"] for near in done.facts["nearest"]] == [
        row["review_id"] for row in wanted
    ]
    for near, row in zip(done.facts["nearest"], wanted, strict=True):
        assert near["score"] == pytest.approx(cosine(bundle, QUERY, str(row["text"])), abs=1e-4)


def test_the_champion_is_taken_unless_another_version_or_folder_is_named(
    reviews: Path,
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    names, version = (
        [],
        SimpleNamespace(
            name="reviewlm",
            version=3,
            tags={},
            created=None,
        ),
    )
    found = bundle_of("lstm"), version
    monkeypatch.setattr(
        loading, "open_registered", lambda workspace, asked, name: (names.append(name), found)[1]
    )
    command = ("models", "nearest", "cold tacos", "--by", "model", "--input", reviews, "--json")
    facts = call(monkeypatch, capfd, *command).facts
    assert (facts["model"], facts["version"], names) == ("reviewlm", 3, ["champion"])


def test_a_review_with_the_text_itself_is_no_discovery(
    reviews: Path,
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    command = ("models", "nearest", TEXTS[2] + "  ", "--input", reviews)
    facts = call(monkeypatch, capfd, *command, "--json").facts
    assert [same["review_id"] for same in facts["same_text"]] == ["r2"]
    assert "r2" not in [near["review_id"] for near in facts["nearest"]]
    rows = "".join(
        json.dumps({**ROWS[2], "review_id": f"again{number}"}) + "\n" for number in range(3)
    )
    reviews.write_text(reviews.read_text(encoding="utf-8") + rows, encoding="utf-8")
    facts = call(
        monkeypatch,
        capfd,
        *command,
        "--n",
        2,
        "--json",
    ).facts
    assert (facts["same_texts"], [same["review_id"] for same in facts["same_text"]]) == (
        4,
        ["r2", "again0"],
    )
    assert not {near["review_id"] for near in facts["nearest"]} & {
        "r2",
        "again0",
        "again1",
        "again2",
    }


def test_without_files_the_test_reviews_of_the_models_run_are_searched(
    folder: Path,
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def make(work: Path) -> dict[str, object]:
        split = pl.Series(["train"] * 8 + ["test"] * 4)
        pl.DataFrame(ROWS).with_columns(split=split).sort("split").write_parquet(
            work / "clean.parquet"
        )
        return {"splits": {"train": {"reviews": 8}, "test": {"reviews": 4}}}

    config = configure("small", [])
    made = (
        Store.of(config.home)
        .build(
            "prepare",
            1,
            {},
            {},
            make,
        )
        .artifact
    )
    bundle = bundle_of("lstm")
    save_bundle(
        folder,
        bundle.spec,
        bundle.vocabulary,
        bundle.model,
        [],
        {"clean_digest": made.digest},
    )
    command = (
        "models",
        "nearest",
        "cold tacos",
        "--by",
        "model",
        "--model",
        folder,
        "--n",
        20,
        "--json",
    )
    facts = call(monkeypatch, capfd, *command).facts
    assert {near["review_id"] for near in facts["nearest"]} == {"r8", "r9", "r10", "r11"}
    assert facts["data"] == "the test reviews of 'lstm'"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["  "],
        ["cold tacos", "--input", "x.json", "--model", "3"],
    ],
)
def test_a_wrong_question_is_an_error(
    arguments: list[str],
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert (
        call(
            monkeypatch,
            capfd,
            "models",
            "nearest",
            *arguments,
        ).code
        == 2
    )


def test_a_model_without_a_network_is_an_error(
    tmp_path: Path,
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    counted = bundle_of("ngram")
    save_bundle(
        tmp_path / "ngram",
        counted.spec,
        counted.vocabulary,
        counted.model,
        [],
        {},
    )
    asked = ("models", "nearest", "tacos", "--by", "model", "--model", tmp_path / "ngram")
    assert call(monkeypatch, capfd, *asked).code == 3


def test_reviews_that_are_gone_are_an_error(
    folder: Path,
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    gone = call(
        monkeypatch,
        capfd,
        "models",
        "nearest",
        "cold tacos",
        "--model",
        folder,
    )
    assert gone.code == 5
    assert "--input FILES" in gone.err
