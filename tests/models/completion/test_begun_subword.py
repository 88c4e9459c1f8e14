"""A prompt that ends inside a word goes on inside it with BPE and Unigram, as a search by brute force says."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.completion import suggestions
from reviewlm.models.completion.reading import PrefixReader, from_start, result_of, run_together
from reviewlm.models.completion.suggestions import ways_on
from reviewlm.models.completion.typed import WrittenText, start_of
from reviewlm.models.sampling import generate, stream
from reviewlm.models.specs import VocabularySpec
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.special import EOS
from reviewlm.training.vocabularies.learn import learn_vocabulary
from tests.marked_cases import slow_but
from tests.models.completion.test_suggestions import UNRATED
from tests.models.table_lm import TableLM, TableSpec
from tests.serving.engine.small_models import KINDS, bundle_of

INSIDE = {"bpe": "We went to the pi", "unigram": "In Phoe"}
"""Prompts whose last word none of the models takes for finished; as BPE, it may go on in five ways and more."""
PAIRS = [(kind, "bpe") for kind in KINDS] + [
    (kind, "unigram") for kind in ("ngram", "rnn", "mixture", "cache")
]


def ways_of(
    bundle,
    prompt,
    stars=3,
):
    reader, prefix = PrefixReader(bundle.model), tuple(bundle.vocabulary.prefix(stars))
    search = ways_on(bundle.vocabulary, start_of(bundle.vocabulary, prompt), prefix, reader)
    return result_of(run_together(reader, search))[0]


def covering(
    bundle,
    ids,
    characters,
):
    """Yield every token sequence after *ids* of which the last token, and no earlier one, reaches the end of the
    characters, with its probability."""
    p_V = torch.softmax(from_start(list(ids), bundle.model)[0][0].double(), 0).numpy()
    for token in np.flatnonzero(p_V).tolist():
        text = bundle.vocabulary.entry(token) if token > 8 else b""
        if text.startswith(characters):
            yield (token,), p_V[token]
        elif text and characters.startswith(text):
            for rest, p in covering(bundle, (*ids, token), characters[len(text) :]):
                yield (token, *rest), p_V[token] * p


def expected_of(
    bundle,
    prompt,
    stars=3,
):
    """Return the probability of each covering token sequence, given that the text begins with the prompt."""
    typed = start_of(bundle.vocabulary, prompt).open
    context = (*bundle.vocabulary.prefix(stars), *typed.context)
    found = {ids: p for ids, p in covering(bundle, context, typed.characters) if p > 1e-12}
    return {ids: p / sum(found.values()) for ids, p in found.items()}, context, typed.characters


def p_value(drawn, due):
    """Return the p-value of a chi-square test of counts against probabilities; the rare ones are one class."""
    draws = sum(drawn.values())
    assert set(drawn) <= {each for each, p in due.items() if p > 0}
    often = [each for each, p in due.items() if p * draws > 5]
    seen, expected = [drawn[each] for each in often], [due[each] * draws for each in often]
    seen.append(draws - sum(seen))
    expected.append(max(draws - sum(expected), 1e-6))
    assert len(often) > 1
    return chisquare(seen, np.array(expected) * draws / sum(expected)).pvalue


@pytest.mark.parametrize(
    ("kind", "unit"), slow_but(PAIRS, [("ngram", "bpe"), ("ngram", "unigram"), ("lstm", "bpe")])
)
def test_the_ways_on_have_the_probabilities_of_all_token_sequences_that_begin_so(kind, unit):
    bundle, prompt = bundle_of(kind, unit), INSIDE[unit]
    expected, context, characters = expected_of(bundle, prompt)
    ways, found = ways_of(bundle, prompt), {}
    for mass, start in ways:
        share, given = (
            mass / sum(way.mass for way in ways),
            start_of(bundle.vocabulary, prompt).open.context,
        )
        path = start.ids[len(given) :]
        assert start.ids == given + path
        if not start.first:
            found[path] = share
            continue
        p_V = torch.softmax(from_start([*context, *path], bundle.model)[0][0].double(), 0).numpy()
        for token in start.first:
            found[*path, token] = share * p_V[token] / p_V[list(start.first)].sum()
    assert len(ways) > 2
    assert {len(bundle.vocabulary.decode(ids).encode()) > len(characters) for ids in found} == {
        True,
        False,
    }
    for ids, p in expected.items():
        assert found.get(ids, 0.0) == pytest.approx(p, abs=1e-6)
    assert sum(found.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("kind", "unit"), slow_but(PAIRS, [("ngram", "bpe"), ("ngram", "unigram")])
)
def test_texts_are_drawn_from_the_distribution_given_the_characters_of_the_prompt(
    kind,
    unit,
    monkeypatch,
):
    """The token that goes beyond the prompt, or the one after a word that ends with it, by what it adds to the text."""
    monkeypatch.setattr(suggestions, "FINISHED_SUBWORDS", 2)
    bundle, prompt, texts = bundle_of(kind, unit), "We went to the p", 1_500
    expected, context, characters = expected_of(bundle, prompt)
    adds: Counter[str] = Counter()
    for ids, p in expected.items():
        whole = bundle.vocabulary.decode(ids).encode()
        if len(whole) > len(characters):
            adds[whole[len(characters) :].decode()] += p
            continue
        p_V = torch.softmax(from_start([*context, *ids], bundle.model)[0][0].double(), 0).numpy()
        p_V[:EOS] = 0
        for token, after in enumerate(p_V / p_V.sum()):
            adds[bundle.vocabulary.decode([token])] += p * after
    drawn = Counter(
        text.removeprefix(prompt)
        for text in generate(
            bundle,
            texts,
            3,
            prompt,
            max_tokens=1,
            seed=5,
        )
    )
    assert p_value(drawn, adds) > 1e-3


@pytest.mark.parametrize("temperature", [0, 1])
def test_a_text_goes_on_after_the_finished_word_as_if_that_had_been_the_prompt(temperature):
    bundle = bundle_of("ngram", "bpe")
    begun = generate(
        bundle,
        1,
        3,
        "The soup was gre",
        temperature=0,
    )[0]
    assert (
        begun
        == generate(
            bundle,
            1,
            3,
            "The soup was great",
            temperature=0,
        )[0]
    )
    whole = generate(
        bundle,
        1,
        3,
        "The soup was gre",
        temperature=temperature,
    )[0]
    assert whole == "".join(stream(bundle, 3, "The soup was gre", temperature=temperature))


def test_a_way_that_ends_within_a_character_writes_only_what_comes_after_it(monkeypatch):
    """The second byte of "é" and "x" are one token: it finishes the prompt, and adds "x"."""
    monkeypatch.setattr(suggestions, "FINISHED_SUBWORDS", 2)
    spec = VocabularySpec(
        unit="bpe",
        size=300,
        min_count=2,
    )
    vocabulary = learn_vocabulary(["éx ĩx ũx"] * 5, spec, NormalForm())
    bundle, prompt = (
        Bundle(TableSpec(), vocabulary, TableLM.random(vocabulary.size), stars_prior=UNRATED),
        "éx é",
    )
    ways, within = ways_of(bundle, prompt, 0), 0
    for _, start in ways:
        for token in start.first:
            written = WrittenText(vocabulary, prompt, start=start)
            shown = written.shown(token)
            assert (
                written.add(token) == shown == vocabulary.decode([*start.ids, token])[len(prompt) :]
            )
            within += vocabulary.entry(token) == "é".encode()[1:] + b"x"
    assert within


BEGUN = {
    "The soup was gre": "great",
    "The soup was GRE": "GREAT",
    "Gre": "Great",
    "We went to phoe": "phoenix",
    "(wai": "waited",
    "The soup.\nThe sta": "staff",
    "the soup was  gre": "great",
}


@pytest.mark.parametrize(("prompt", "word"), BEGUN.items())
@pytest.mark.parametrize("kind", ["ngram", "lstm", "cache"])
def test_the_begun_word_is_finished(
    kind,
    prompt,
    word,
):
    for text in generate(
        bundle_of(kind),
        4,
        3,
        prompt,
        max_tokens=3,
    ):
        assert text.startswith(prompt)
        assert re.findall(r"\w+", text)[len(re.findall(r"\w+", prompt)) - 1] == word
