"""The benchmark of Dasher: each review's bits and code length are those of the model, and sums are over all reviews."""

from __future__ import annotations

import json
from math import log
from pathlib import Path

import polars as pl
import pytest

import benchmarks.serving.dasher as benchmark
from benchmarks import harness
from benchmarks.small_text import read_reviews
from models.base import ModelError
from models.bundles.bundle import Bundle, save_bundle
from models.completion.dasher import bits_to_write
from tests.serving.engine.small_models import bundle_of

REVIEWS = pl.DataFrame({
    "text": ["We went back.", "The soup  was great.", "Short.", "The staff was kind, the pizza cold."],
    "stars": [4, 3, 5, 2],
})  # fmt: skip


@pytest.mark.slow
def test_a_page_has_each_review_and_the_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bundle_of("ngram", "bpe")
    save_bundle(tmp_path / "bundle", made.spec, made.vocabulary, made.model, [], {"stars_prior": made.stars_prior})
    REVIEWS.write_ndjson(tmp_path / "reviews.jsonl")
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
    files = ["--model", f"{tmp_path / 'bundle'}", "--reviews", f"{tmp_path / 'reviews.jsonl'}"]
    benchmark.main([*files, "--skip", "1", "--length", "10", "60", "--write", "--json"])
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["measurements"]
    texts = [("The soup was great.", 3), ("The staff was kind, the pizza cold.", 2)]
    bits = [bits_to_write(made, text, stars) for text, stars in texts]
    code = [made.score_text(text, stars).nats / log(2) for text, stars in texts]
    whole, *single = rows.values()
    assert [row["bits"] for row in single] == pytest.approx(bits, abs=0.006)
    assert [row["code length"] for row in single] == pytest.approx(code, abs=0.006)
    assert whole["bits / code length"] == pytest.approx(sum(bits) / sum(code), abs=1e-3)
    assert whole["characters"] == sum(len(text) for text, _ in texts)
    [page] = (tmp_path / "results").iterdir()
    assert "Reviews: reviews.jsonl, 2 of 10 to 60 characters" in page.read_text()


def test_a_review_that_cannot_be_written_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def bits(bundle: Bundle, text: str, stars: int) -> float:
        if stars == 5:
            raise ModelError("'x' cannot follow 'y'", "input")
        return 10.0

    monkeypatch.setattr(benchmark, "bits_to_write", bits)
    rows, refused = benchmark.measured(bundle_of("ngram"), REVIEWS)
    assert (len(rows), refused) == (3, ["'x' cannot follow 'y'"])


def test_of_a_file_with_splits_the_test_reviews_are_read(tmp_path: Path) -> None:
    REVIEWS.with_columns(split=pl.Series(["train", "test", "validation", "test"])).write_parquet(tmp_path / "a.parquet")
    assert read_reviews(tmp_path / "a.parquet")["stars"].to_list() == [3, 2]
