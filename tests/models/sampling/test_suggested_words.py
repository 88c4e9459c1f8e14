"""Suggested next words and their probabilities."""

import pytest

from reviewlm.models.sampling import suggest
from reviewlm.models.tokens.special import EOS
from tests.models.sampling.small_bundles import bundle_of, with_table


def test_words_at_the_start_of_a_sentence_are_shown_with_a_capital(bundle):
    assert all(word[0].isupper() for word, _ in suggest(bundle, "It was hot. ").words)
    assert all(word[0].isupper() for word, _ in suggest(bundle, "").words)


def spelled(
    bundle,
    prompt,
    begun,
    depth,
):
    """Sum the probability of every token sequence of at most *depth* tokens that spells a word."""
    vocabulary, p_VV = bundle.vocabulary, bundle.model.p_VV
    names = [vocabulary.token(i) if i > 8 else "" for i in range(vocabulary.size)]
    parts = [
        i for i, name in enumerate(names) if name and all(c.isalnum() or c in "'’" for c in name)
    ]
    starts = [i for i, name in enumerate(names) if name[:1] == " " and name[1:].isalnum()]
    ends_V = 1 - p_VV[:, parts].sum(1)
    words = {}

    def go(
        ids,
        p,
        depth,
        started,
    ):
        if started:
            word = vocabulary.decode(ids).strip()
            words[word] = words.get(word, 0) + p * ends_V[ids[-1]]
        if depth:
            space = [i for i, name in enumerate(names) if name == " "]
            for i in (
                parts if started or (ids and names[ids[-1]] == " ") or begun else starts + space
            ):
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
        ends = (
            1
            - model.model.p_VV[
                model.vocabulary.encode(prompt)[-1], model.vocabulary.word_part_V
            ].sum()
        )
        expected = {word: p / ends for word, p in expected.items()}
    best = sorted(expected.values(), reverse=True)[:4]
    assert len(found.words) == 4
    assert sum(p for _, p in found.words) + found.rest == pytest.approx(1, abs=1e-6)
    for (word, p), most in zip(found.words, best, strict=True):
        assert p <= expected[word] + 1e-6
        assert p == pytest.approx(most, rel=0.15)
