"""Which held-out reviews repeat what a model has learnt from earlier data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from core.config.run_config import DuplicatesConfig
from corpus.splitting.learnt import Learnt, find_learnt
from corpus.splitting.split import SPLITS
from tests.corpus.splitting.test_unlearnt import prepared

CONFIG = DuplicatesConfig()
WORDS = " ".join(f"w{number}" for number in range(40))
"""A review of 40 different words."""


def edited(text: str) -> str:
    return text.replace("w7 ", "changed ")


def find(
    held_out: list[tuple[str, str]], *earlier: Path, config: DuplicatesConfig = CONFIG, threads: int = 1
) -> Learnt:
    """Search for held-out reviews (text, split), in frames of one split each, as the slices of the order are."""
    ranks = [SPLITS.index(split) for _, split in held_out]
    frame = pl.DataFrame({"text": [text for text, _ in held_out], "rank": pl.Series(ranks, dtype=pl.UInt8)})
    return find_learnt(lambda: frame.partition_by("rank", maintain_order=True), earlier, config, threads)


def test_texts_of_train_and_validation_are_learnt_and_those_of_test_are_not(tmp_path: Path) -> None:
    earlier = prepared(tmp_path / "e", test={"1": "text a"}, validation={"2": "text b"}, train={"3": "text c"})
    found = find([("text a", "test"), ("text b", "test"), ("text c", "test"), ("Text c", "test")], earlier)
    assert found.exact.tolist() == [False, True, True, False]
    assert found.counts == {"test": {"exact": 2, "near": 0}, "validation": {"exact": 0, "near": 0}}


def test_a_validation_review_may_repeat_one_of_validation_but_none_of_train(tmp_path: Path) -> None:
    earlier = prepared(tmp_path / "e", test={"1": "text a"}, validation={"2": "text b"}, train={"3": "text c"})
    found = find([(text, "validation") for text in ("text a", "text b", "text c")], earlier)
    assert found.exact.tolist() == [False, False, True]


def test_nearly_equal_longer_and_shorter_texts_are_learnt_too_unless_only_equal_ones_are_wanted(tmp_path: Path) -> None:
    earlier = prepared(tmp_path / "e", train={"1": WORDS, "2": "another review of some other words"})
    half = " ".join(WORDS.split()[:25])
    held_out = [(text, "test") for text in (edited(WORDS), half, f"{WORDS} {WORDS[::-1]}", "quite new it is")]
    found = find(held_out, earlier)
    assert found.near.tolist() == [True, True, True, False]
    assert found.counts["test"] == {"exact": 0, "near": 3}
    assert not find(held_out, earlier, config=DuplicatesConfig(near=False)).near.any()


def test_one_data_set_of_several_is_enough(tmp_path: Path) -> None:
    one = prepared(tmp_path / "1", train={"1": WORDS})
    two = prepared(tmp_path / "2", train={"1": "a short one"}, test={"2": edited(WORDS)})
    found = find([(edited(WORDS), "test"), ("a short one", "test"), ("new", "test")], two, one)
    assert (found.exact | found.near).tolist() == [True, True, False]


def test_what_was_compared_with_its_data_in_the_same_split_is_not_searched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexed = []

    def note(texts: pl.Series, *rest: object) -> object:
        indexed.extend(texts)
        return index(texts, *rest)  # type: ignore[arg-type]

    from corpus.splitting.learnt import ShingleIndex as index

    monkeypatch.setattr("corpus.splitting.learnt.ShingleIndex", note)
    earlier = prepared(tmp_path / "e", test={"1": "known of old, as it was then"}, train={"2": "something else"})
    find([("known of old, as it was then", "test"), ("never seen before by any", "test")], earlier)
    assert indexed == ["never seen before by any"]


@pytest.mark.parametrize("threads", [1, 3])
def test_neither_threads_nor_the_size_of_an_index_change_the_result(
    threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(8)
    texts = [" ".join(f"w{n}" for n in random.integers(0, 500, 30)) for _ in range(60)]
    earlier = prepared(tmp_path / "e", train={str(number): text for number, text in enumerate(texts)})
    held_out = [(text + " and so on", "test") for text in texts[::3]] + [(edited(text), "validation") for text in texts]
    held_out += [("nothing of it is known", "validation")]
    whole = find(held_out, earlier)
    assert (whole.exact | whole.near).sum() == len(held_out) - 1
    monkeypatch.setattr("corpus.splitting.learnt.INDEXED_BYTES", 1_000)
    again = find(held_out, earlier, threads=threads)
    assert (again.exact.tolist(), again.near.tolist()) == (whole.exact.tolist(), whole.near.tolist())


def test_no_held_out_review_is_no_error(tmp_path: Path) -> None:
    assert find_learnt(lambda: [], [prepared(tmp_path / "e", train={"1": "a"})], CONFIG).exact.tolist() == []
