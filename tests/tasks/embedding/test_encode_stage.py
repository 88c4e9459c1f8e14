"""Encoded reviews: a killed encoding continues, and a search reads few of the reviews."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow.parquet import ParquetFile

from models.neural.encoder import Encoder
from models.vectors.nearest import cosines
from reviewlm.options import configured
from tasks.embedding import encode
from tasks.embedding.encode import REVIEWS_FILE, VECTORS_FILE, EncodedReviews, encode_files
from tests.serving.engine.small_models import TEXTS, bundle_of

REVIEWS = [text for text in TEXTS[:5] for _ in range(2)] + ["Great."]


def encoded(tmp_path: Path, home: str, monkeypatch: pytest.MonkeyPatch) -> EncodedReviews:
    """Encode `REVIEWS`, two at a time."""
    file = tmp_path / "reviews.jsonl"
    rows = [{"review_id": f"r{number}", "text": text, "stars": 4} for number, text in enumerate(REVIEWS)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    monkeypatch.setenv("REVIEWLM_HOME", str(tmp_path / home))
    monkeypatch.setattr(encode, "BATCH", 2)
    return encode_files(configured("small", []), bundle_of("lstm"), [str(file)])


def files_of(reviews: EncodedReviews) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in reviews.artifact.folder.iterdir() if path.name != "manifest.json"}


def test_a_killed_encoding_goes_on_after_its_last_finished_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, real, batches = [], Encoder.encode, iter(range(9))

    def killed_in_the_fourth(encoder: Encoder, texts: Any) -> np.ndarray:
        told.append(len(texts))
        if next(batches) == 3:
            raise KeyboardInterrupt
        return real(encoder, texts)

    wanted = files_of(encoded(tmp_path, "other", monkeypatch))
    monkeypatch.setattr(Encoder, "encode", killed_in_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        encoded(tmp_path, "home", monkeypatch)
    (vectors,) = (tmp_path / "home").rglob(VECTORS_FILE)
    vectors.write_bytes(vectors.read_bytes() + b"half a vec")  # as a write that was cut off leaves it
    told.clear()
    assert files_of(encoded(tmp_path, "home", monkeypatch)) == wanted
    assert set(wanted) == {VECTORS_FILE, REVIEWS_FILE}
    assert told == [2, 2, 1]


def test_the_chosen_reviews_are_read_in_the_order_given_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reviews, groups, real = encoded(tmp_path, "home", monkeypatch), [], ParquetFile.read_row_group

    def read(file: ParquetFile, group: int, *rest: Any, **named: Any) -> Any:
        groups.append(group)
        return real(file, group, *rest, **named)

    monkeypatch.setattr(ParquetFile, "read_row_group", read)
    assert reviews.rows([9, 0, 8, 9])["review_id"].to_list() == ["r9", "r0", "r8", "r9"]
    assert groups == [0, 4]
    groups.clear()
    assert (reviews.rows([]).height, groups) == (0, [])


def test_reviews_with_the_text_are_found_by_their_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reviews = encoded(tmp_path, "home", monkeypatch)
    for text in ("Great.", TEXTS[3], "Great"):
        found_N = cosines(Encoder(bundle_of("lstm")).encode([text])[0], reviews.vectors_NF)
        wanted = [number for number, review in enumerate(REVIEWS) if review == text]
        assert reviews.same_text(text, found_N).tolist() == wanted
