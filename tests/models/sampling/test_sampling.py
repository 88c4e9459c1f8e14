"""Sampling and suggestions against brute force over a bigram table."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from models.base import ModelError
from models.bundles.bundle import Bundle
from models.sampling import Sampling, filter_logp, generate, generate_rated, pick, suggest
from models.sampling.generation import BATCH
from models.specs import VocabularySpec
from models.text.normal_form import NormalForm
from models.tokens.vocabulary import BOS, CONTEXT_IDS, EOS, STARS, UNK, Vocabulary
from tests.examples import examples
from tests.marked_cases import slow_but
from tests.models.table_lm import HistoryLM, TableLM, TableSpec, always_ends

TEXTS = ["The soup was great, so we went back.", "In Phoenix the staff was slow.", "We went to Phoenix! Great pizza"]


def bundle_of(unit="word", seed=0, sharpness=1.0, texts=TEXTS, size=400, model=None, **options):
    vocabulary = Vocabulary.train(texts, VocabularySpec(unit=unit, size=size, min_count=1, **options), NormalForm())
    model = model or TableLM.random(vocabulary.size, seed, sharpness)
    return Bundle(TableSpec(), vocabulary, model, stars_prior=(0, 0.1, 0.2, 0.3, 0.4, 0))


@pytest.fixture(scope="module")
def bundle():
    return bundle_of()


@pytest.fixture(scope="module")
def plain():
    """A model that writes no punctuation, so that its text, encoded, is the very tokens that it drew."""
    model = bundle_of()
    weights = model.model.p_VV.copy()
    weights[:, [i for i in range(9, model.vocabulary.size) if not model.vocabulary.token(i).isalpha()]] = 0
    return with_table(model, weights)


def with_table(bundle, weights):
    return Bundle(TableSpec(), bundle.vocabulary, TableLM.normalised(weights), stars_prior=bundle.stars_prior)


# Filters, against brute force


def brute_force(p_V, temperature, top_k, top_p):
    """Follow the definitions entry by entry."""
    p_V = np.array(p_V) ** (1 / temperature)
    p_V /= p_V.sum()
    if top_k:
        kth = sorted(p_V, reverse=True)[min(top_k, len(p_V)) - 1]
        p_V = np.array([p if p >= kth * (1 - 1e-6) else 0 for p in p_V])
        p_V /= p_V.sum()
    mass, last = 0.0, 1.0
    for p in sorted(p_V, reverse=True):
        if mass >= top_p:
            break
        mass, last = mass + p, p
    p_V = np.array([p if p >= last * (1 - 1e-6) else 0 for p in p_V])
    return p_V / p_V.sum()


@examples(300)
@given(
    weights=st.lists(st.integers(0, 8), min_size=2, max_size=12).filter(any),
    temperature=st.sampled_from([0.3, 0.7, 1.0, 2.5]),
    top_k=st.integers(0, 13),
    top_p=st.sampled_from([0.013, 0.317, 0.611, 0.907, 1.0]),
)
def test_filters_follow_their_definitions(weights, temperature, top_k, top_p):
    p_V = np.array(weights) / sum(weights)
    with np.errstate(divide="ignore"):
        logp_BV = torch.as_tensor(np.log(p_V)[None]).float()
    found = filter_logp(logp_BV, temperature, top_k, top_p).exp().numpy()[0]
    assert found == pytest.approx(brute_force(p_V, temperature, top_k, top_p), abs=1e-5)


def test_a_nucleus_larger_than_the_head_is_found_too():
    p_V = np.random.default_rng(0).dirichlet(np.full(5000, 5.0))
    found = filter_logp(torch.as_tensor(np.log(p_V)[None]), top_p=0.9).exp().numpy()[0]
    assert found == pytest.approx(brute_force(p_V, 1, 0, 0.9), abs=1e-9)
    assert (found > 0).sum() > 2000


@pytest.mark.parametrize("temperature", [0, 1e-4, 1e-30])
def test_temperature_towards_zero_is_argmax(temperature):
    logp_BV = torch.log_softmax(torch.randn(20, 50, generator=torch.Generator().manual_seed(1)), 1)
    found = filter_logp(logp_BV, temperature)
    assert found.argmax(1).tolist() == logp_BV.argmax(1).tolist()
    assert found.exp().amax(1).tolist() == pytest.approx([1.0] * 20)


def test_of_equals_temperature_zero_takes_the_first():
    logp_BV = torch.tensor([[0.2, 0.4, 0.4]]).log()
    assert filter_logp(logp_BV, 0).exp().tolist() == [[0, 1, 0]]


def test_a_very_high_temperature_is_uniform_over_what_is_possible():
    found = filter_logp(torch.tensor([[0.9, 0.1, 0.0]]).log(), 1e9).exp()
    assert found.tolist()[0] == pytest.approx([0.5, 0.5, 0])


def test_filters_leave_their_argument_alone():
    logp_BV = torch.log_softmax(torch.randn(2, 9), 1)
    before = logp_BV.clone()
    filter_logp(logp_BV, 0.5, 3, 0.5)
    assert torch.equal(logp_BV, before)


# Drawing


def test_pick_inverts_the_distribution_function():
    logp_BV = torch.tensor([[0.0, 0.25, 0.5, 0.0, 0.25, 0.0]]).log().repeat(7, 1)
    uniforms = np.array([0.0, 0.2499, 0.2501, 0.7499, 0.7501, 0.99999999, np.nextafter(1, 0)])
    assert pick(logp_BV, uniforms).tolist() == [1, 1, 2, 2, 4, 4, 4]


def test_impossible_entries_are_never_picked():
    draw = np.random.default_rng(0)
    p_BV = draw.dirichlet(np.full(40, 0.1), 2000).astype(np.float32)
    p_BV[draw.random(p_BV.shape) < 0.5] = 0
    p_BV = p_BV[p_BV.sum(1) > 0]
    ids = pick(torch.as_tensor(p_BV).log(), draw.random(len(p_BV)))
    assert (p_BV[np.arange(len(ids)), ids] > 0).all()


def test_frequencies_at_temperature_one_are_the_models(plain):
    """Chi-square over the first word of 10,000 texts, and over what follows the most frequent word."""
    p_VV = plain.model.p_VV.copy()
    p_VV[:, UNK] = 0
    p_VV /= p_VV.sum(1, keepdims=True)
    texts = generate(plain, 10_000, stars=3, max_tokens=2, seed=7)
    streams = [[STARS[3], *ids, EOS, EOS][:3] for ids in plain.vocabulary.encode_batch(texts)]
    usual = 9 + int(p_VV[STARS[3], 9:].argmax())
    for last, drawn in (
        (STARS[3], [stream[1] for stream in streams]),
        (usual, [stream[2] for stream in streams if stream[1] == usual]),
    ):
        counts, possible = np.bincount(drawn, minlength=p_VV.shape[1]), p_VV[last] > 0
        assert counts[~possible].sum() == 0
        assert chisquare(counts[possible], p_VV[last][possible] * len(drawn)).pvalue > 1e-3
        assert chisquare(counts[possible], np.roll(p_VV[last][possible], 1) * len(drawn)).pvalue < 1e-9


# Whole reviews


def test_texts_are_whole_reviews_that_begin_with_the_prompt(bundle):
    for prompt in ("", "The soup", 'the  "SOUP" was ', "Zebra ünïcode ☕", "Great!\n\n"):
        texts = generate(bundle, 5, prompt=prompt, seed=3, max_tokens=40)
        assert len(texts) == 5
        assert all(text.startswith(prompt) for text in texts)
        assert not any("<" in text[len(prompt) :] or "  " in text[len(prompt) :] for text in texts)


def test_a_model_that_ends_at_once_adds_nothing(bundle):
    ends = Bundle(TableSpec(), bundle.vocabulary, always_ends(bundle.vocabulary.size))
    assert generate(ends, 2, prompt="The soup ", stars=1) == ["The soup ", "The soup "]
    assert generate(ends, 1) == [""]


def test_texts_end_at_the_limit(plain):
    weights = plain.model.p_VV.copy()
    weights[:, EOS] = 0
    texts = generate(with_table(plain, weights), 20, max_tokens=7)
    assert [len(plain.vocabulary.encode(text)) for text in texts] == [7] * 20


def test_unknown_words_are_never_written(plain):
    weights = plain.model.p_VV.copy()
    weights[:, UNK] = 1e3
    texts = generate(with_table(plain, weights), 50, max_tokens=20)
    assert sum(len(text) for text in texts) > 300
    assert not any((plain.vocabulary.encode(text) == UNK).any() for text in texts)


def test_a_model_that_knows_nothing_but_unknown_words_ends(bundle):
    weights = np.zeros((bundle.vocabulary.size + 1, bundle.vocabulary.size))
    weights[:, UNK] = 1
    lost = Bundle(TableSpec(), bundle.vocabulary, TableLM.normalised(weights))
    assert generate(lost, 3) == ["", "", ""]


@pytest.mark.parametrize("table", slow_but([TableLM, HistoryLM], {HistoryLM}))
def test_a_text_is_the_same_alone_and_in_any_crowd(bundle, table, monkeypatch):
    model = Bundle(TableSpec(), bundle.vocabulary, table(bundle.model.p_VV), stars_prior=bundle.stars_prior)
    options = {"seed": 5, "max_tokens": 25, "top_p": 0.9, "prompt": "The soup"}
    crowd = generate(model, BATCH + 40, **options)
    assert len(set(crowd)) > BATCH
    assert len({len(text) for text in crowd}) > 10  # they leave the batch at different times
    assert generate(model, 3, **options) == crowd[:3]
    for batch in (1, 7):
        monkeypatch.setattr("models.sampling.generation.BATCH", batch)
        assert generate(model, BATCH + 40, **options) == crowd


def test_texts_of_several_ratings_in_shared_batches_are_those_of_one_rating_each(plain):
    counts, done = {1: BATCH - 3, 0: 0, 4: 7, 5: 2}, []
    rated = generate_rated(plain, counts, Sampling(0.8, top_p=0.9), 12, 5, done.append)
    alone = {stars: generate(plain, n, stars, "", 0.8, 0, 0.9, 12, 5) if n else [] for stars, n in counts.items()}
    assert rated == alone
    assert alone[4] != alone[1][:7]
    assert done == [BATCH, BATCH + 6]


def test_the_seed_the_rating_and_the_prompt_change_the_draw(plain):
    """In a table of pairs two texts under the same random numbers soon run alike: their ends would be equal."""
    weights = plain.model.p_VV.copy()
    weights[:, EOS] = 0
    endless = with_table(plain, weights)

    def ends(**options):
        return [text.split()[-8:] for text in generate(endless, 3, max_tokens=40, **options)]

    base = ends(seed=1, stars=2)
    assert ends(seed=1, stars=2) == base
    for other in (ends(seed=2, stars=2), ends(seed=1, stars=4), ends(seed=1, stars=2, prompt="The")):
        assert not any(a == b for a, b in zip(base, other, strict=True))


def test_a_prompt_that_ends_in_a_space_gets_no_second_one():
    for unit in ("word", "bpe"):
        model = bundle_of(unit, texts=["The soup was hot", "It was so", "He was so hot"] * 50)
        was = model.vocabulary.encode("The soup was")[-1]
        assert model.vocabulary.token(was).strip() == "was"
        weights = np.zeros((model.vocabulary.size + 1, model.vocabulary.size))
        weights[:, was], weights[was] = 1, 0
        weights[was, EOS] = 1
        model = with_table(model, weights)
        for prompt in ("The soup ", "The soup", "The soup\n"):
            glue = "" if prompt[-1].isspace() else " "
            assert generate(model, 1, prompt=prompt)[0].lower() == (prompt + glue + "was").lower()


def test_ratings_are_drawn_from_the_prior(bundle):
    """A model whose text tells the rating: the first word is entry 10 + stars."""
    size = bundle.vocabulary.size
    weights = np.zeros((size + 1, size))
    weights[:, EOS] = 1
    for k, star in enumerate(STARS):
        weights[star, EOS] = 0
        weights[star, 10 + k] = 1
    telling = Bundle(TableSpec(), bundle.vocabulary, TableLM.normalised(weights), stars_prior=bundle.stars_prior)
    drawn = np.bincount([bundle.vocabulary.encode(text)[0] - 10 for text in generate(telling, 2000)], minlength=6)
    assert drawn[[0, 5]].sum() == 0
    assert chisquare(drawn[1:5], np.array([0.1, 0.2, 0.3, 0.4]) * 2000).pvalue > 1e-3
    assert {bundle.vocabulary.encode(text)[0] for text in generate(telling, 5, stars=0)} == {10}


def test_temperature_zero_writes_the_most_probable_text(bundle):
    allowed = bundle.model.p_VV.copy()
    allowed[:, UNK] = 0
    ids, last = [], STARS[4]
    while (last := int(allowed[last].argmax())) != EOS and len(ids) < 30:
        ids.append(last)
    for seed in (0, 1):
        texts = generate(bundle, 2, stars=4, temperature=0, max_tokens=30, seed=seed)
        assert texts == [bundle.vocabulary.decode(ids)] * 2


@pytest.mark.parametrize("unit", ["bpe", "unigram", "char"])
def test_lossless_texts_hold_whole_characters_only(unit):
    subword = bundle_of(unit, sharpness=0.1)  # close to uniform: mostly bytes that are no characters
    for text in generate(subword, 20, prompt="Ünï ☕", max_tokens=30):
        assert text.startswith("Ünï ☕")
        assert "\ufffd" not in text
        text.encode()


@pytest.mark.parametrize("unit", ["word", "bpe", "char"])
def test_what_was_written_is_what_was_drawn(unit):
    model = bundle_of(unit, sharpness=2.0)
    text = generate(model, 1, stars=2, prompt="The soup", temperature=0, max_tokens=5)[0]
    ids = [*model.vocabulary.prefix(2), *model.vocabulary.encode("The soup")]
    for _ in range(5):
        p_V = model.model.p_VV[ids[-1]].copy()
        p_V[UNK] = 0
        ids.append(int(p_V.argmax()))
        if ids[-1] == EOS:
            break
    assert text == "The soup" + model.vocabulary.decode(ids[2 + len(model.vocabulary.encode("The soup")) :], "The soup")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n is 0"),
        ({"n": 1.5}, "n is 1.5"),
        ({"stars": 6}, "stars is 6"),
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"temperature": "hot"}, "temperature is 'hot'"),
        ({"top_k": -1}, "top_k is -1"),
        ({"top_k": True}, "top_k is True"),
        ({"top_p": 0}, "top_p is 0"),
        ({"top_p": 1.01}, "top_p is 1.01"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_a_bad_parameter_is_refused_by_name(bundle, options, message):
    with pytest.raises(ModelError, match=message + ".*must be") as caught:
        generate(bundle, **options)
    assert caught.value.kind == "input"


# Suggestions


def test_suggested_words_have_the_models_probabilities(bundle):
    found = suggest(bundle, "The soup was", k=5, stars=3)
    last = bundle.vocabulary.encode("was")[0]
    words = {
        bundle.vocabulary.decode([i], "The soup was").strip(): bundle.model.p_VV[last, i]
        for i in range(9, bundle.vocabulary.size)
        if bundle.vocabulary.token(i)[0].isalnum()
    }
    expected = sorted(words.items(), key=lambda item: -item[1])[:5]
    assert [word for word, _ in found.words] == [word for word, _ in expected]
    assert [p for _, p in found.words] == pytest.approx([p for _, p in expected], rel=1e-6)
    assert sum(p for _, p in found.words) + found.rest == pytest.approx(1, abs=1e-6)
    assert "phoenix" not in dict(suggest(bundle, "The soup was", k=50).words)
    assert "Phoenix" in dict(suggest(bundle, "The soup was", k=50).words)


def test_words_at_the_start_of_a_sentence_are_shown_with_a_capital(bundle):
    assert all(word[0].isupper() for word, _ in suggest(bundle, "It was hot. ").words)
    assert all(word[0].isupper() for word, _ in suggest(bundle, "").words)


def test_more_words_than_there_are_leave_what_is_no_word(bundle):
    found = suggest(bundle, "The soup", k=1000)
    assert sum(p for _, p in found.words) + found.rest == pytest.approx(1, abs=1e-6)
    assert len(found.words) == len({word for word, _ in found.words}) < bundle.vocabulary.size


def spelled(bundle, prompt, begun, depth):
    """Sum the probability of every token sequence of at most *depth* tokens that spells a word."""
    vocabulary, p_VV = bundle.vocabulary, bundle.model.p_VV
    names = [vocabulary.token(i) if i > 8 else "" for i in range(vocabulary.size)]
    parts = [i for i, name in enumerate(names) if name and all(c.isalnum() or c in "'’" for c in name)]
    starts = [i for i, name in enumerate(names) if name[:1] == " " and name[1:].isalnum()]
    ends_V = 1 - p_VV[:, parts].sum(1)
    words = {}

    def go(ids, p, depth, started):
        if started:
            word = vocabulary.decode(ids).strip()
            words[word] = words.get(word, 0) + p * ends_V[ids[-1]]
        if depth:
            space = [i for i, name in enumerate(names) if name == " "]
            for i in parts if started or (ids and names[ids[-1]] == " ") or begun else starts + space:
                before = ids[-1] if ids else [*vocabulary.prefix(0), *vocabulary.encode(prompt)][-1]
                if p * p_VV[before, i] > 1e-6:
                    go([*ids, i], p * p_VV[before, i], depth - 1, names[i] != " ")

    go([], 1.0, depth, False)
    return words


@pytest.mark.parametrize("unit", ["bpe", "unigram", "char"])
@pytest.mark.parametrize("prompt", ["so so", "so\n", ""])
def test_words_of_parts_have_the_probability_of_all_their_spellings(unit, prompt):
    texts = ["so so it is so", "it is to so its"] * 2
    model = bundle_of(unit, texts=texts, size=300)
    # A few letters, and words that end soon: all spellings of any weight can be enumerated.
    names = [model.vocabulary.token(i) if i > 8 else "" for i in range(model.vocabulary.size)]
    usual = [1.0 if name and set(name) <= set("soit ") else 0.0 for name in names]
    usual[EOS], usual[names.index(" ")] = 4.0, 6.0
    model = with_table(model, model.model.p_VV * usual)
    found = suggest(model, prompt, k=4, stars=0)
    expected = spelled(model, prompt, begun=prompt != "so so", depth=7)
    if prompt == "so so":  # the last word is finished
        ends = 1 - model.model.p_VV[model.vocabulary.encode(prompt)[-1], model.vocabulary.word_part_V].sum()
        expected = {word: p / ends for word, p in expected.items()}
    best = sorted(expected.values(), reverse=True)[:4]
    assert len(found.words) == 4
    assert sum(p for _, p in found.words) + found.rest == pytest.approx(1, abs=1e-6)
    for (word, p), most in zip(found.words, best, strict=True):
        assert p <= expected[word] + 1e-6
        assert p == pytest.approx(most, rel=0.15)


def test_bad_suggestion_parameters_are_refused(bundle):
    with pytest.raises(ModelError, match="k is 0; it must be"):
        suggest(bundle, "The", k=0)
    with pytest.raises(ModelError, match="stars is 9"):
        suggest(bundle, "The", stars=9)


def test_greedy_text_follows_from_pairs_of_tokens(bundle):
    text = generate(bundle, 1, stars=5, temperature=0, max_tokens=6)[0]
    ids = [STARS[5], *bundle.vocabulary.encode(text)]
    for a, b in pairwise(ids):
        p_V = bundle.model.p_VV[a].copy()
        p_V[sorted({UNK, *CONTEXT_IDS})] = 0
        assert p_V.argmax() == b
    assert BOS not in ids


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.999, 1 - 1e-9])
def test_a_nucleus_does_not_depend_on_its_neighbours(top_p):
    """Rows that need heads of different widths, together and alone."""
    draw = np.random.default_rng(1)
    p_BV = np.stack([draw.dirichlet(np.full(3000, a)) for a in (0.001, 0.02, 0.2, 10.0)])
    logp_BV = torch.as_tensor(np.log(np.maximum(p_BV, 1e-30))).float()
    together = filter_logp(logp_BV, top_p=top_p)
    for row, p_V in enumerate(p_BV):
        assert torch.equal(filter_logp(logp_BV[row : row + 1], top_p=top_p)[0], together[row])
        assert together[row].exp().numpy() == pytest.approx(brute_force(p_V, 1, 0, top_p), abs=1e-4)
