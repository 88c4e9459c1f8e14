"""A text that stands inside a longer one is found, whatever the Jaccard similarity of the two."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config.run_config import DuplicatesConfig
from corpus.duplicates.anchors import COMMON, PARTITIONS, RUN, Anchors, partitioned
from tests.corpus.duplicates.test_near_duplicates import (
    CONFIG,
    TEST,
    TRAIN,
    finder,
    found_by,
    jaccard,
    leaving,
    random_text,
)


@pytest.fixture(scope="module")
def texts():
    random = np.random.default_rng(3)
    return [random_text(random, 60, 150) for _ in range(400)]


def test_every_first_half_of_another_text_is_found(texts, tmp_path):
    halves = [" ".join(text.split()[: len(text.split()) // 2]) for text in texts[:100]]
    assert max(jaccard(half, text) for half, text in zip(halves, texts, strict=False)) < CONFIG.similarity
    found = found_by(finder(tmp_path, [*texts, *halves]))
    assert found.keys() == {(number, len(texts) + number) for number in range(100)}


@pytest.mark.parametrize("cut", [lambda words: words[-25:], lambda words: words[10:40]], ids=["end", "middle"])
def test_so_is_any_part_of_20_words_or_more_wherever_it_stands(cut, texts, tmp_path):
    parts = [" ".join(["I", "say", *cut(text.split())]) for text in texts[:50]]
    found = found_by(finder(tmp_path, [*texts, *parts], CONFIG.model_copy(update={"containment": 0.8})))
    assert found.keys() == {(number, len(texts) + number) for number in range(50)}


def test_short_quotes_and_halves_that_only_share_a_part_are_not(texts, tmp_path):
    quotes = [" ".join(text.split()[:19]) for text in texts[:50]]
    own = [" ".join([*text.split()[:25], *(f"own{n}" for n in range(25))]) for text in texts[:50]]
    assert found_by(finder(tmp_path, [*texts, *quotes, *own])) == {}


def test_containment_can_be_switched_off(texts, tmp_path):
    config = DuplicatesConfig(containment="none")
    half = " ".join(texts[0].split()[:40])
    assert found_by(finder(tmp_path, [*texts, half], config)) == {}


@pytest.mark.parametrize("test_text", ["whole", "half"])
def test_across_splits_the_less_sacred_of_the_two_leaves_the_shorter_or_the_longer_one(test_text, texts, tmp_path):
    whole = texts[0]
    half = " ".join(whole.split()[: len(whole.split()) // 2])
    pair = [whole, half] if test_text == "whole" else [half, whole]
    sides = np.array([TEST, TRAIN], np.uint8)
    assert found_by(finder(tmp_path, pair), lambda keys: sides[keys], within=False).keys() == {(0, 1)}


def test_thousands_of_texts_with_one_template_cost_no_comparison_of_all_with_all(tmp_path):
    template = [f"t{n}" for n in range(40)]
    random = np.random.default_rng(4)
    texts = [" ".join([*template, *random_text(random, 60, 61).split()]) for _ in range(2_000)]
    sides = np.array([TEST] * 20 + [TRAIN] * 1_980, np.uint8)
    near = finder(tmp_path, texts)
    assert found_by(near, lambda keys: sides[keys], within=False) == {}
    assert near.examined < 100 * 20 * 1_980


FOOTER = " ".join(f"f{n}" for n in range(30))
"""Under every review, as the disclaimer of a site."""


@pytest.mark.long
@pytest.mark.parametrize("within", [True, False])
def test_with_a_footer_under_all_texts_halves_are_found_and_comparisons_grow_with_the_texts(within, tmp_path):
    examined = {}
    for count in (2_000, 4_000):
        random = np.random.default_rng(count)
        own = [random_text(random, 60, 90, 1_000_000) for _ in range(count)]
        halves = [" ".join(text.split()[: len(text.split()) // 2]) for text in own[:40]]
        sides = np.append(random.choice(3, count, p=[0.1, 0.1, 0.8]), [TRAIN] * 40).astype(np.uint8)
        sides[:40] = TEST
        near = finder(tmp_path / str(count), [f"{text} {FOOTER}" for text in own + halves])
        found = found_by(near, lambda keys, sides=sides: sides[keys], within=within)
        assert found.keys() == {(number, count + number) for number in range(40)}
        assert near.common > 0
        examined[count] = near.examined
    assert examined[4_000] < 2.5 * examined[2_000] < 2.5 * 100 * 2_000


@pytest.mark.parametrize("tests", [COMMON // 2, COMMON + 1])
def test_when_those_that_stay_are_looked_through_again_nothing_more_is_found(tests, tmp_path):
    random = np.random.default_rng(6)
    own = [f"{random_text(random, 60, 90, 1_000_000)} {FOOTER}" for _ in range(tests + 1)]
    texts = [FOOTER, *own[:tests], *(f"{text} indeed" for text in own[:tests]), own[tests]]
    sides = np.array([TEST] * (tests + 1) + [TRAIN] * (tests + 1), np.uint8)
    found = found_by(finder(tmp_path / "all", texts), lambda keys: sides[keys], within=False)
    assert len(leaving(found, sides)) == tests + (tests < COMMON), "the copies, and what has the footer if it is rare"
    stay = np.array([number for number in range(len(texts)) if number not in leaving(found, sides)])
    again = finder(tmp_path / "again", [texts[number] for number in stay])
    assert found_by(again, lambda keys: sides[stay[keys]], within=False) == {}


@given(
    shared=st.lists(st.integers(0, 2**64 - 1), min_size=9, max_size=14),
    around=st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=12), min_size=4, max_size=4),
)
def test_texts_with_a_whole_window_in_common_have_an_anchor_in_common(shared, around, tmp_path_factory):
    one, other = [*around[0], *shared, *around[1]], [*around[2], *shared, *around[3]]
    offsets = np.array([0, len(one), len(one) + len(other)])
    anchors = Anchors(tmp_path_factory.mktemp("anchors"), window=9, least=1)
    found, counts = anchors.of(np.array([*one, *other], np.uint64), offsets)
    for text in range(2):  # two stretches of one text each
        of_text = found[: counts[0]] if text == 0 else found[counts[0] :]
        values, texts, sizes = partitioned(of_text, counts[text : text + 1])
        anchors.append(values, texts + np.uint32(text), sizes)
    together = [anchors.buckets(partition) for partition in range(PARTITIONS)]
    assert any(members.tolist()[:2] == [0, 1] for members, _ in together)


def test_texts_with_fewer_shingles_than_the_least_have_no_anchor(tmp_path):
    anchors = Anchors(tmp_path, window=7, least=10)
    found, counts = anchors.of(np.arange(19, dtype=np.uint64), np.array([0, 9, 19]))
    assert counts.tolist() == [0, len(found)]
    assert 1 <= len(found) <= 4, "of windows of seven among ten"


def test_partitions_keep_every_anchor_with_its_text():
    found = np.random.default_rng(2).integers(0, 2**64, 500, np.uint64)
    counts = np.array([0, 120, 300, 0, 80])
    values, texts, sizes = partitioned(found, counts)
    assert sorted(zip(values.tolist(), texts.tolist(), strict=True)) == sorted(
        zip(found.tolist(), np.repeat([0, 1, 2, 3, 4], counts).tolist(), strict=True)
    )
    assert (values % np.uint64(PARTITIONS)).tolist() == np.repeat(np.arange(PARTITIONS), sizes).tolist()


def test_of_every_window_of_runs_the_smallest_is_kept(tmp_path):
    values = np.random.default_rng(1).integers(0, 2**64, 300, np.uint64)
    single = Anchors(tmp_path, window=RUN, least=1)  # a window of one run: all of them
    runs, _ = single.of(values, np.array([0, 300]))
    assert len(runs) == 300 - RUN + 1
    found, _ = Anchors(tmp_path, window=16, least=1).of(values, np.array([0, 300]))
    width = 16 - RUN + 1
    assert set(found.tolist()) == {min(runs[start : start + width].tolist()) for start in range(len(runs) - width + 1)}
    assert len(found) / len(runs) == pytest.approx(2 / (width + 1), abs=0.05)
