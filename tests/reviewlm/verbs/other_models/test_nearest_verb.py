"""What `reviewlm nearest` finds, measures and refuses; reviews are encoded once."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from core.store import Store
from models.bundles.bundle import Bundle, save_bundle
from models.neural.encoder import Encoder
from models.vectors.word_vectors import WordVectors
from reviewlm.options import configured
from reviewlm.verbs.other_models import nearest
from tests.command_line import call
from tests.serving.engine.small_models import TEXTS, bundle_of

ROWS = [
    {"review_id": f"r{number}", "user_id": f"u{number % 5}", "business_id": f"b{number % 3}", "stars": 1 + number % 5,
     "text": text, "date": "2024-01-01"}
    for number, text in enumerate(TEXTS[:6] + [f"{text} Great." for text in TEXTS[:6]])
]  # fmt: skip


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    file = tmp_path / "reviews.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS) + "no record\n", encoding="utf-8")
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    bundle, facts = bundle_of("lstm"), {"clean_digest": "0123456789abcdef"}
    save_bundle(tmp_path / "lstm", bundle.spec, bundle.vocabulary, bundle.model, [], facts)
    return tmp_path / "lstm"


def cosine(bundle: Bundle, one: str, other: str) -> float:
    first, second = Encoder(bundle).encode([one, other]).astype(np.float64)
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


def test_the_nearest_reviews_of_a_file_are_those_with_the_largest_cosine(
    reviews: Path, folder: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = ("nearest", "Cold tacos, rude staff.", "--bundle", folder, "--input", reviews, "--n", 3)
    done = call(monkeypatch, capfd, *asked, "--json")
    assert done.code == 0, done.err
    assert "1 record cannot be used" in done.err
    told, bundle = done.facts, bundle_of("lstm")
    assert "has never seen a review of an unknown rating" in told["warnings"][0]
    assert (told["model"], told["version"], told["reviews"], told["same_text"]) == ("lstm", None, 12, [])
    wanted = sorted(ROWS, key=lambda row: -cosine(bundle, "Cold tacos, rude staff.", str(row["text"])))[:3]
    assert [near["review_id"] for near in told["nearest"]] == [row["review_id"] for row in wanted]
    for near, row in zip(told["nearest"], wanted, strict=True):
        assert near["cosine"] == pytest.approx(cosine(bundle, "Cold tacos, rude staff.", str(row["text"])), abs=1e-4)
        assert set(near) == {"cosine", "review_id", "stars", "business_id", "text"}
        assert (near["stars"], near["business_id"]) == (row["stars"], row["business_id"])


def test_the_champion_is_asked_unless_another_version_or_folder_is_named(
    reviews: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asked, version = [], SimpleNamespace(name="reviewlm", version=3)
    monkeypatch.setattr(nearest, "opened", lambda config, name: (asked.append(name), (bundle_of("lstm"), version))[1])
    told = call(monkeypatch, capfd, "nearest", "cold tacos", "--input", reviews, "--json").facts
    assert (told["model"], told["version"], asked) == ("reviewlm", 3, ["champion"])


def test_a_review_with_the_text_itself_is_no_discovery(
    reviews: Path, folder: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = ("nearest", TEXTS[2] + "  ", "--bundle", folder, "--input", reviews)
    told = call(monkeypatch, capfd, *asked, "--json").facts
    assert [same["review_id"] for same in told["same_text"]] == ["r2"]
    assert "r2" not in [near["review_id"] for near in told["nearest"]]
    assert "The text itself: review r2  3 stars" in call(monkeypatch, capfd, *asked).out
    rows = "".join(json.dumps({**ROWS[2], "review_id": f"again{number}"}) + "\n" for number in range(3))
    reviews.write_text(reviews.read_text(encoding="utf-8") + rows, encoding="utf-8")
    told = call(monkeypatch, capfd, *asked, "--n", 2, "--json").facts
    assert (told["same_texts"], [same["review_id"] for same in told["same_text"]]) == (4, ["r2", "again0"])
    assert not {near["review_id"] for near in told["nearest"]} & {"r2", "again0", "again1", "again2"}
    assert "and 2 more with the text itself" in call(monkeypatch, capfd, *asked, "--n", 2).out


def test_reviews_are_encoded_once_for_a_model_and_the_bytes_of_the_files(
    reviews: Path, folder: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = ("nearest", "cold tacos", "--bundle", folder, "--json", "--input")
    first = call(monkeypatch, capfd, *asked, reviews).facts["vectors"]
    copied = reviews.rename(reviews.with_name("moved.jsonl"))
    assert call(monkeypatch, capfd, *asked, copied).facts["vectors"] == first
    copied.write_text(copied.read_text(encoding="utf-8") + json.dumps({**ROWS[0], "review_id": "new"}) + "\n")
    told = call(monkeypatch, capfd, *asked, copied).facts
    assert (told["vectors"] != first, told["reviews"]) == (True, 13)


def test_without_files_the_test_reviews_of_the_models_run_are_searched(
    folder: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def make(work: Path) -> dict[str, object]:
        split = pl.Series(["train"] * 8 + ["test"] * 4)
        pl.DataFrame(ROWS).with_columns(split=split).sort("split").write_parquet(work / "clean.parquet")
        return {"splits": {"train": {"reviews": 8}, "test": {"reviews": 4}}}

    config = configured("small", [])
    made = Store.of(config).build("prepare", 1, {}, {}, make).artifact
    bundle = bundle_of("lstm")
    save_bundle(folder, bundle.spec, bundle.vocabulary, bundle.model, [], {"clean_digest": made.digest})
    asked = ("nearest", "cold tacos", "--bundle", folder, "--n", 20, "--json")
    told = call(monkeypatch, capfd, *asked).facts
    assert {near["review_id"] for near in told["nearest"]} == {"r8", "r9", "r10", "r11"}
    assert told["data"] == "the test reviews of 'lstm'"
    assert call(monkeypatch, capfd, *asked, "--split", "all").facts["reviews"] == 12
    empty = call(monkeypatch, capfd, *asked, "--split", "validation")
    assert empty.code == 3
    assert "There are no reviews to encode" in empty.err


def test_the_measure_compares_with_chance_tf_idf_and_word_vectors(
    reviews: Path,
    folder: Path,
    tmp_path: Path,
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    WordVectors(["great", "cold"], np.eye(2)).save(tmp_path / "vectors")
    asked = ("nearest", "--measure", "--bundle", folder, "--input", reviews, "--json")
    told = call(monkeypatch, capfd, *asked, "--vectors", tmp_path / "vectors").facts
    rates = told["rates"]
    assert [row["vectors"] for row in rates] == ["chance", "language model", "tf-idf", "mean word vector (vectors)"]
    assert (told["word_vectors"], told["compared"], told["reviews"]) == (str(tmp_path / "vectors"), 12, 12)
    assert [row["vectors"] for row in rates if "stars_gain" not in row] == ["language model"]
    model, tf_idf = rates[1], rates[2]
    assert tf_idf["stars_gain"] == pytest.approx(tf_idf["stars"] - model["stars"])
    assert all(0 <= row["business_id_lo"] <= row["business_id"] <= row["business_id_hi"] for row in rates)
    monkeypatch.setattr(nearest, "MOST_MEASURED", 8)  # two businesses of four reviews
    without = call(monkeypatch, capfd, *asked)
    assert (without.facts["compared"], without.facts["rates"][0]["queries"]) == (8, 8)
    assert "of 8 of 12 reviews" in " ".join(call(monkeypatch, capfd, *asked[:-1]).out.split())
    assert without.facts["word_vectors"] is None
    assert [row["vectors"] for row in without.facts["rates"]] == ["chance", "language model", "tf-idf"]
    assert "comparison without word vectors: There are no word vectors in the store yet" in without.err


def test_word_vectors_that_do_not_exist_are_refused_before_any_work(
    own_home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(nearest, "opened", None)
    done = call(monkeypatch, capfd, "nearest", "--measure", "--vectors", "glvoe.txt")
    assert (done.code, "There is no such file or folder" in done.err) == (3, True), done.err


@pytest.mark.parametrize(("arguments", "said"), [
    ([], "Give either a text or --measure"),
    (["  "], "Give either a text or --measure"),
    (["cold tacos", "--measure"], "Give either a text or --measure"),
    (["cold tacos", "--vectors", "glove.txt"], "--vectors has no effect without --measure"),
    (["cold tacos", "--input", "x.json", "--split", "train"], "--split has no effect with --input"),
    (["--measure", "--n", "3"], "--n has no effect with --measure"),
    (["cold tacos", "--model", "3", "--bundle", "lstm"], "--model has no effect with --bundle"),
])  # fmt: skip
def test_a_wrong_question_is_an_error(
    arguments: list[str], said: str, own_home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    done = call(monkeypatch, capfd, "nearest", *arguments)
    assert (done.code, said in done.err) == (2, True), done.err


def test_a_model_without_a_network_and_reviews_that_are_gone_are_errors(
    folder: Path, tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    counted = bundle_of("ngram")
    save_bundle(tmp_path / "ngram", counted.spec, counted.vocabulary, counted.model, [], {})
    refused = call(monkeypatch, capfd, "nearest", "cold tacos", "--bundle", tmp_path / "ngram")
    assert refused.code == 3
    assert "has no network, so texts have no vectors; choose a neural model" in refused.err
    gone = call(monkeypatch, capfd, "nearest", "cold tacos", "--bundle", folder)
    assert gone.code == 5
    assert "The reviews of 'lstm' are not in the store" in gone.err
    assert "--input FILES" in gone.err
