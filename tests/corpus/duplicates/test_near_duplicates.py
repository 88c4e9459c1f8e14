"""Near-duplicates are those of a brute-force search, found with few comparisons."""

import re
from itertools import combinations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.core.config.sections.data import DuplicatesConfig
from reviewlm.corpus.duplicates.near import NearDuplicates
from reviewlm.corpus.synthetic.grammar import write_review
from tests.examples import examples

CONFIG = DuplicatesConfig()
TEST, VALIDATION, TRAIN = 0, 1, 2


def words(text):
    return re.findall(r"[^\W_]+", text.lower().replace("'", "").replace("\u2019", ""))


def shingles(text, size=3):
    found = words(text)
    return (
        {tuple(found[i : i + size]) for i in range(max(1, len(found) - size + 1))}
        if found
        else set()
    )


def jaccard(
    one,
    other,
    size=3,
):
    one, other = shingles(one, size), shingles(other, size)
    return len(one & other) / len(one | other)


def brute_force(texts, config=CONFIG):
    """All pairs that are near-duplicates, by comparing every two texts."""
    long = [i for i, text in enumerate(texts) if len(words(text)) >= config.shingle + 2]
    sets = {i: shingles(texts[i], config.shingle) for i in long}
    return {
        (i, j): len(sets[i] & sets[j]) / len(sets[i] | sets[j])
        for i, j in combinations(long, 2)
        if len(sets[i] & sets[j]) / len(sets[i] | sets[j]) >= config.similarity
    }


def finder(
    folder,
    texts,
    config=CONFIG,
    keys=None,
    batch=1_000,
):
    near = NearDuplicates(folder / "near", config)
    keys = np.arange(len(texts)) if keys is None else np.array(keys)
    for start in range(0, len(texts), batch):
        some = slice(start, start + batch)
        near.add([(keys[some].astype(np.uint64), pl.Series(texts[some], dtype=pl.String))])
    return near


def found_by(near, *args, **options):
    return {(a, b): value for a, b, value in near.pairs(*args, **options).iter_rows()}


some_words = st.lists(st.sampled_from(["a", "b", "ab", "ba", "aa", "é", "1"]), max_size=12).map(
    " ".join
)


def random_text(
    random,
    low=8,
    high=120,
    vocabulary=5_000,
):
    return " ".join(f"w{n}" for n in random.integers(0, vocabulary, random.integers(low, high)))


def embedded(count, random):
    return [write_review(1 + i % 5, random.random)[0] for i in range(count)]


def altered(random, text):
    """A near-duplicate as people and crawlers make them; at least as similar as the limit."""
    while True:
        new = text.split()
        for _ in range(random.integers(1, max(2, len(new) // 10))):
            place = random.integers(len(new))
            match random.integers(5):
                case 0:
                    new[place] = f"other{random.integers(1000)}"
                case 1:
                    del new[place]
                case 2:
                    new.insert(place, f"more{random.integers(1000)}")
                case 3:
                    new[place] = new[place].upper() + "!"
                case 4:
                    new += ["P.S.:", "I", "will", "be", "back"]
            new = new or ["nothing"]
        if jaccard(text, result := " ".join(new)) >= CONFIG.similarity:
            return result


@pytest.fixture(scope="module")
def planted():
    """3,000 unrelated texts, 300 near-duplicates of some of them, and 300 that share half of a template."""
    random = np.random.default_rng(7)
    texts = [random_text(random) for _ in range(2_000)]
    texts += embedded(1_000, random)
    pairs = {}
    for number in range(300):
        pairs[number, len(texts)] = True
        texts.append(altered(random, texts[number]))
    template = [f"t{n}" for n in range(60)]
    texts += [" ".join([*template, *random_text(random, 40, 60).split()]) for _ in range(300)]
    return texts, pairs


def test_planted_near_duplicates_are_found(planted, tmp_path):
    texts, pairs = planted
    found = found_by(finder(tmp_path, texts))
    assert len(pairs.keys() & found.keys()) / len(pairs) >= 0.95


def test_little_but_planted_near_duplicates_is_found(planted, tmp_path):
    texts, pairs = planted
    found = found_by(finder(tmp_path, texts))
    assert len(pairs.keys() & found.keys()) / len(found) >= 0.9


@pytest.mark.parametrize(("similarity", "shingle"), [(0.7, 3), (0.5, 2), (0.9, 1), (1.0, 3)])
def test_pairs_are_those_of_brute_force(
    similarity,
    shingle,
    tmp_path,
):
    random = np.random.default_rng(11)
    config = DuplicatesConfig(similarity=similarity, shingle=shingle)
    texts = [random_text(random, 3, 30, 60) for _ in range(120)]
    texts += [altered(random, texts[n]) for n in random.integers(0, 120, 120)]
    found, expected = found_by(finder(tmp_path, texts, config)), brute_force(texts, config)
    assert found.keys() <= expected.keys()
    assert len(found) >= 0.95 * len(expected)
    assert len(expected) > 20
    for pair, value in found.items():
        assert value == pytest.approx(expected[pair], abs=1e-6)


@examples(30)
@given(
    texts=st.lists(some_words, min_size=2, max_size=25),
    batch=st.integers(1, 25),
    seed=st.integers(0, 99),
)
def test_only_near_duplicates_are_found_in_whatever_order(
    texts,
    batch,
    seed,
    tmp_path_factory,
):
    config = DuplicatesConfig(similarity=0.6, shingle=2)
    order = np.random.default_rng(seed).permutation(len(texts))
    plain = found_by(finder(tmp_path_factory.mktemp("plain"), texts, config))
    mixed = finder(
        tmp_path_factory.mktemp("mixed"),
        [texts[i] for i in order],
        config,
        order,
        batch,
    )
    assert found_by(mixed) == plain
    assert plain.keys() <= brute_force(texts, config).keys()


def leaving(found, sides):
    """The less sacred text of each pair that straddles."""
    return {max(pair, key=sides.__getitem__) for pair in found if sides[pair[0]] != sides[pair[1]]}


@pytest.fixture(scope="module")
def form_letter(tmp_path_factory):
    """The search in ten thousand copies of a form letter, what it finds, and the side of each copy."""
    letter = " ".join(f"w{n}" for n in range(60))
    texts = [f"Dear Joe {number} {letter}" for number in range(10_000)]
    sides = np.random.default_rng(1).choice(3, len(texts), p=[0.1, 0.1, 0.8]).astype(np.uint8)
    near = finder(tmp_path_factory.mktemp("letters"), texts)
    return near, found_by(near, lambda keys: sides[keys]), sides


def test_all_copies_of_a_form_letter_leave(form_letter):
    _, found, sides = form_letter
    assert leaving(found, sides) == set(np.flatnonzero(sides > TEST).tolist())


def test_ten_thousand_copies_of_a_form_letter_cost_few_comparisons(form_letter):
    near, found, sides = form_letter
    assert sum(sides[a] != sides[b] for a, b in found) < 2 * len(sides)
    assert near.examined < 20 * len(sides)


@pytest.mark.parametrize("first", ["一", "ก", "ក"], ids=["Chinese", "Thai", "Khmer"])
def test_near_duplicates_are_found_in_scripts_that_put_no_space_between_words(first, tmp_path):
    random = np.random.default_rng(1)
    signs = "".join(chr(ord(first) + n) for n in random.integers(0, 30, 80))
    others = ["".join(chr(ord(first) + n) for n in random.integers(0, 30, 80)) for _ in range(20)]
    near = finder(tmp_path, [signs, f"{signs[:40]}{first}{signs[41:]}", *others])
    assert found_by(near).keys() == {(0, 1)}
    assert near.short == 0
