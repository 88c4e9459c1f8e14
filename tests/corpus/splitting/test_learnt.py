"""Which held-out reviews repeat what a model has learnt from earlier data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from core.config.run_config import DuplicatesConfig
from corpus.splitting.certificate import CERTIFICATE_FILE, Certificate, CertifiedSplit
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
    """Search for held-out reviews (text, split), in frames of two."""
    ranks = [SPLITS.index(split) for _, split in held_out]
    frame = pl.DataFrame({"text": [text for text, _ in held_out], "rank": pl.Series(ranks, dtype=pl.UInt8)})
    return find_learnt(lambda: list(frame.iter_slices(2)), earlier, config, threads)


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


def certified(folder: Path, config: DuplicatesConfig = CONFIG) -> Path:
    """Write a certificate that says by which definition the splits were compared."""
    side, definition = CertifiedSplit(1, 1, ""), config.model_dump(exclude={"near"})
    certificate = Certificate(dict.fromkeys(SPLITS, side), "", "", {}, definition if config.near else None, "1")
    (folder / CERTIFICATE_FILE).write_text(certificate.to_json())
    return folder


def test_what_was_compared_with_its_data_by_the_same_definition_is_not_searched_again(tmp_path: Path) -> None:
    """The certificate decides: it is false here, and only so it can be seen what was searched."""
    earlier = prepared(tmp_path / "e", test={"1": WORDS}, train={"2": edited(WORDS)})
    held_out = [(WORDS, "test"), (f"{WORDS} too", "test"), (WORDS, "validation")]
    assert find(held_out, earlier).near.tolist() == [True, True, True], "there is no certificate"
    certified(earlier, DuplicatesConfig(similarity=0.9))
    assert find(held_out, earlier).near.tolist() == [True, True, True]
    certified(earlier, DuplicatesConfig(near=False))
    assert find(held_out, earlier).near.tolist() == [True, True, True]
    certified(earlier)
    assert find(held_out, earlier).near.tolist() == [False, True, True]


def test_each_data_set_is_searched_for_what_its_own_certificate_does_not_say(tmp_path: Path) -> None:
    own = certified(prepared(tmp_path / "own", test={"1": WORDS}, train={"2": edited(WORDS)}))
    other = certified(prepared(tmp_path / "other", train={"3": "quite another review of some other words"}))
    for earlier in ((own, other), (other, own)):
        assert not find([(WORDS, "test")], *earlier).near.any()
    other = certified(prepared(tmp_path / "again", train={"3": edited(WORDS)}))
    assert find([(WORDS, "test")], own, other).near.all()


def test_threads_lose_no_find_among_many_similar_texts(tmp_path: Path) -> None:
    text = " ".join(f"w{number}" for number in range(3_000))
    similar = f"{text.split(' w2400')[0]} " + " ".join(f"x{number}" for number in range(700))
    earlier = prepared(tmp_path / "e", train={str(number): similar for number in range(40)} | {"17": edited(text)})
    pl.read_parquet(earlier / "clean.parquet").write_parquet(earlier / "clean.parquet", row_group_size=4)
    assert [bool(find([(text, "test")], earlier, threads=4).near[0]) for _ in range(10)] == [True] * 10


@pytest.mark.parametrize("threads", [1, 3])
def test_neither_threads_nor_the_size_of_an_index_change_the_result(
    threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(8)
    texts = [" ".join(f"w{n}" for n in random.integers(0, 500, 30)) for _ in range(60)]
    earlier = prepared(tmp_path / "e", train={str(number): text for number, text in enumerate(texts)})
    pl.read_parquet(earlier / "clean.parquet").write_parquet(earlier / "clean.parquet", row_group_size=7)
    held_out = [(text + " and so on", "test") for text in texts[::3]] + [(edited(text), "validation") for text in texts]
    held_out += [("nothing of it is known", "validation")]
    whole = find(held_out, earlier)
    assert (whole.exact | whole.near).sum() == len(held_out) - 1
    monkeypatch.setattr("corpus.splitting.learnt.INDEXED_BYTES", 1_000)
    again = find(held_out, earlier, threads=threads)
    assert (again.exact.tolist(), again.near.tolist()) == (whole.exact.tolist(), whole.near.tolist())


def test_no_held_out_review_is_no_error(tmp_path: Path) -> None:
    assert find_learnt(lambda: [], [prepared(tmp_path / "e", train={"1": "a"})], CONFIG).exact.tolist() == []
