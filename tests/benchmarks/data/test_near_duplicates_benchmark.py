"""The truth of the benchmark of near-duplicates is found without hashing, and ours names what is true."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import orjson
import pytest

from benchmarks.data.duplicate_peers import shingles
from benchmarks.data.near_duplicates import EVERY, ours, planted, true_texts

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def written(path: Path, texts: list[str]) -> Path:
    path.write_bytes(b"".join(orjson.dumps({"text": text}) + b"\n" for text in texts))
    return path


def texts_with_copies(number: int, seed: int) -> list[str]:
    """Return random texts of 12 to 30 words, half of them copies of the one before with one or two other words."""
    draw, texts = random.Random(seed), list[str]()
    for position in range(number):
        words = [draw.choice(WORDS) + str(draw.randrange(40)) for _ in range(draw.randint(12, 30))]
        if position % 2:
            words = texts[-1].split(" ")
            for _ in range(draw.randint(1, 2)):
                words[draw.randrange(len(words))] = "other"
        texts.append(" ".join(words))
    return texts


def test_shingles_are_the_runs_of_words() -> None:
    assert shingles("a b c d", 3) == ["a b c", "b c d"]
    assert shingles("a b", 3) == ["a b"]


@pytest.mark.parametrize("seed", range(5))
def test_the_prefix_filter_finds_what_all_pairs_have(tmp_path: Path, seed: int) -> None:
    texts = texts_with_copies(60, seed)
    sets = [set(shingles(text, 3)) for text in texts]
    pairs = [
        (a, b) for a, b in itertools.combinations(range(len(sets)), 2)
        if len(sets[a] & sets[b]) / len(sets[a] | sets[b]) >= 0.7
    ]  # fmt: skip
    assert 4 < len(pairs) < 30
    assert true_texts(written(tmp_path / "texts.jsonl", texts), 0.7, 3) == set(itertools.chain(*pairs))


def test_ours_names_only_texts_with_a_partner(tmp_path: Path) -> None:
    file = written(tmp_path / "texts.jsonl", texts_with_copies(400, 1))
    named, true = set(ours(file, tmp_path, "none")), true_texts(file, 0.7, 3)
    assert named <= true
    assert len(named) >= 0.95 * len(true) > 20


def test_every_fiftieth_text_is_a_changed_copy_of_the_one_before() -> None:
    texts = [f"text {number} " + " ".join(WORDS) for number in range(2 * EVERY + 1)]
    before = list(texts)
    after = planted(texts)
    changed = [number for number, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    assert changed == [EVERY, 2 * EVERY]
    for number in changed:
        pairs = zip(before[number - 1].split(" "), after[number].split(" "), strict=True)
        assert sum(old != new for old, new in pairs) == 1  # at most 12 % of twelve words
