"""Answers of a classifier that fastText fitted equal those of the library; without it, they need no library."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.base import FitContext, ModelError
from models.classification.classifier import softmax
from models.classification.fasttext import FastTextClassifier, buckets_of, hash_of
from models.classification.fitting import fit_classifier
from models.classification.spec import FastTextSpec
from models.neural.labelling.rows import Rows
from tests.models.classification.made_reviews import LABELS, examples, vocabulary

SPEC = FastTextSpec(labels=LABELS, dimensions=4, buckets=50, order=3, epochs=(5, 20), rates=(0.3,))


def rows(*reviews: list[int]) -> Rows:
    return Rows(np.concatenate(reviews).astype(np.int64), np.cumsum([0, *map(len, reviews)]))


def made(seed: int = 0) -> FastTextClassifier:
    """A classifier of random vectors; words 10 to 19 and buckets 0 to 48 that are even have one."""
    draw = np.random.default_rng(seed)
    words_W, buckets_B = np.arange(10, 20), np.arange(0, 50, 2)
    vector_ID = draw.normal(size=(len(words_W) + 1 + len(buckets_B), 4)).astype(np.float32)
    return FastTextClassifier(
        SPEC, 30, words_W, buckets_B, vector_ID, draw.normal(size=(3, 4)).astype(np.float32), np.full(3, 1 / 3)
    )


def test_hashes_are_those_of_fnv_1a() -> None:
    # Test vectors of the authors of the hash: http://www.isthe.com/chongo/tech/comp/fnv/
    assert [hash_of(word) for word in ("", "a", "foobar")] == [0x811C9DC5, 0xE40C292C, 0xBF9CF968]


def test_the_bucket_of_an_n_gram_follows_from_signed_hashes_of_its_tokens_and_the_end() -> None:
    def signed(word: str) -> int:
        return hash_of(word) - (1 << 32 if hash_of(word) >= 1 << 31 else 0)

    tokens, wanted = ["12", "7", "33", "</s>"], []
    for length in (2, 3):
        for first in range(len(tokens) - length + 1):
            value = 0
            for token in tokens[first : first + length]:
                value = (value * 116_049_371 + signed(token)) % (1 << 64)
            wanted.append(value % 1_000)
    assert sorted(buckets_of(np.array([12, 7, 33]), 3, 1_000).tolist()) == sorted(wanted)
    assert len(buckets_of(np.array([12, 7, 33]), 1, 1_000)) == 0


def test_scores_are_the_product_with_the_mean_of_the_vectors_that_there_are() -> None:
    model, reviews = made(), [[10, 12, 25], [11], [29, 28]]
    for review, scores_K in zip(reviews, model.scores(rows(*reviews)), strict=True):
        used = [model.vector_ID[word - 10] for word in review if 10 <= word < 20] + [model.vector_ID[10]]
        used += [model.vector_ID[11 + bucket // 2] for bucket in buckets_of(np.array(review), 3, 50) if bucket % 2 == 0]
        assert scores_K == pytest.approx(model.output_KD @ np.mean(used, 0), rel=1e-5)


def test_a_saved_classifier_answers_alike_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    class Words:
        size = 30

    model, reviews, words = made(), rows([10, 12, 25], [11]), Words()
    model.save(tmp_path)
    assert (FastTextClassifier.load(tmp_path, SPEC, words).scores(reviews) == model.scores(reviews)).all()  # type: ignore[arg-type]
    file = next(tmp_path.iterdir())
    save_file({**load_file(file), "output": np.zeros((2, 4), np.float32)}, file)
    with pytest.raises(ModelError, match="do not fit the options"):
        FastTextClassifier.load(tmp_path, SPEC, words)  # type: ignore[arg-type]


def test_without_the_library_a_fit_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fasttext", None)
    words = vocabulary()
    labelled = examples(words, 20, 2)
    with pytest.raises(ModelError, match=r"pip install -c constraints.txt -e '\.\[fasttext\]'"):
        fit_classifier(SPEC, words, labelled, labelled, FitContext(tmp_path))


class Library:
    """A stand-in for fastText that diverges above a rate, and from 0.3 on without a word."""

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def train_supervised(self, file: str, lr: float, dim: int, bucket: int, **options: Any) -> Any:
        if lr > self.limit:
            raise RuntimeError("Encountered NaN.")
        words = ["</s>", *sorted({word for line in Path(file).read_text().splitlines() for word in line.split()[1:]})]

        class Fitted:
            def get_words(self) -> list[str]:
                return words

            def get_input_matrix(self) -> np.ndarray:
                return np.ones((len(words) + bucket, dim))

            def get_labels(self) -> list[str]:
                return ["__label__2", "__label__0", "__label__1"]

            def get_output_matrix(self) -> np.ndarray:
                return np.array([[3.0 if lr < 0.3 else np.nan] * dim, [1.0] * dim, [2.0] * dim])

        return Fitted()


def test_a_rate_at_which_it_diverges_is_left_out_and_labels_keep_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = vocabulary()
    labelled = examples(words, 20, 2)
    spec = FastTextSpec(labels=LABELS, dimensions=4, buckets=50, epochs=(5, 6), rates=(0.2, 0.3, 3.0))
    monkeypatch.setitem(sys.modules, "fasttext", Library(limit=1.0))
    fitted = fit_classifier(spec, words, labelled, labelled, FitContext(tmp_path))
    assert (fitted.summary["epochs"], fitted.summary["rate"]) == (5, 0.2)
    assert fitted.model.scores(rows([10]))[0] == pytest.approx([4.0, 8.0, 12.0])
    monkeypatch.setitem(sys.modules, "fasttext", Library(limit=0.1))
    with pytest.raises(ModelError, match="diverged at each of the rates"):
        fit_classifier(spec, words, labelled, labelled, FitContext(tmp_path))


def test_probabilities_are_those_that_the_library_predicted() -> None:
    # Written once by fasttext-wheel 0.9.2 after a training with made reviews; see the keys of the file.
    told = json.loads(Path(__file__).with_name("fasttext_0_9_2.json").read_text())
    spec = FastTextSpec(labels=LABELS, dimensions=2, buckets=told["buckets"], order=3)
    words_W, buckets_B = np.array(told["words"]), np.arange(told["buckets"])
    model = FastTextClassifier(
        spec, 10_000, words_W, buckets_B, np.array(told["vectors"], np.float32), np.array(told["output"], np.float32),
        np.full(3, 1 / 3),
    )  # fmt: skip
    chances_NK = softmax(model.scores(rows(*told["reviews"])))
    assert np.ptp(chances_NK[:, 0]) > 0.3, "the reviews are told apart"
    np.testing.assert_allclose(chances_NK, told["probabilities"], atol=3e-5)


def test_probabilities_are_those_that_the_library_predicts(tmp_path: Path) -> None:
    library = pytest.importorskip("fasttext", reason="the package fastText is not installed")
    words = vocabulary()
    train, held_out = examples(words, 400, 2), examples(words, 100, 3)
    model = fit_classifier(SPEC, words, train, train, FitContext(tmp_path)).model
    lines = [f"__label__{target} {' '.join(map(str, review))}\n" for review, target in _reviews_of(train)]
    (tmp_path / "peer.txt").write_text("".join(lines))
    peer = library.train_supervised(
        str(tmp_path / "peer.txt"), dim=4, epoch=20, lr=0.3, wordNgrams=3, bucket=50, thread=1, verbose=0
    )
    reviews = [review for review, _ in _reviews_of(train)][:40]
    chances_NK = softmax(model.scores(rows(*reviews)))
    for review, chances_K in zip(reviews, chances_NK, strict=True):
        found = {label: p for p, label in peer.f.predict(f"{' '.join(map(str, review))}\n", 3, 0.0, "strict")}
        assert chances_K == pytest.approx([found[f"__label__{label}"] for label in range(3)], abs=1e-4)
    right_N = model.scores(held_out.sequences).argmax(1) == held_out.targets
    assert right_N.mean() > 0.9


def _reviews_of(labelled: Any) -> list[tuple[list[int], int]]:
    from models.classification.texts import text_rows

    texts = text_rows(labelled.sequences)
    ends = zip(texts.offsets[:-1], texts.offsets[1:], labelled.targets, strict=True)
    return [(texts.ids_P[start:end].tolist(), int(target)) for start, end, target in ends]
