"""Every sampling option follows its definition, alone and with the others; texts end at stop strings."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.completion.typed import WrittenText
from reviewlm.models.sampling import Sampling
from reviewlm.models.sampling.filters import NEARNESS_DIGITS, filter_tokens, sampled_logp
from reviewlm.models.specs import VocabularySpec
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.training.vocabularies.learn import learn_vocabulary
from tests.examples import examples
from tests.models.table_lm import HistoryLM, TableSpec

TEXTS = [
    "The soup was great, so we went back.",
    "In Phoenix the staff was slow.",
    "We went to Phoenix! Great pizza",
]
CLOSE = 1 - 1e-6


@pytest.fixture(scope="module", params=["word", "bpe", "char"])
def bundle(request):
    vocabulary = learn_vocabulary(
        TEXTS,
        VocabularySpec(
            unit=request.param,
            size=300,
            min_count=1,
        ),
        NormalForm(),
    )
    return Bundle(TableSpec(), vocabulary, HistoryLM.random(vocabulary.size, 3, 0.5))


def kept(p_V, chosen):
    """Return the distribution over the chosen entries only."""
    p_V = np.where(chosen, p_V, 0.0)
    return p_V / p_V.sum()


def last_of_share(
    p_V,
    merit_V,
    share,
):
    """Go through the entries from the best on, and return the merit of the one that reaches the share."""
    mass = 0.0
    for index in sorted(range(len(p_V)), key=lambda i: -merit_V[i]):
        mass += p_V[index]
        if mass >= share - 1e-9:
            break
    return merit_V[index]


def oracle(p_V, options):
    """Follow the definitions, option by option, in the documented order."""
    p_V = np.array(p_V, float) ** (1 / options.temperature)
    p_V /= p_V.sum()
    if options.top_k:
        p_V = kept(p_V, p_V >= sorted(p_V)[-min(options.top_k, len(p_V))] * CLOSE)
    if options.top_p < 1:
        p_V = kept(p_V, p_V >= last_of_share(p_V, p_V, options.top_p) * CLOSE)
    if options.min_p > 0:
        p_V = kept(p_V, p_V >= options.min_p * p_V.max() * CLOSE)
    if options.typical_p < 1:
        surprise_V = np.array([-math.log(p) if p > 0 else math.inf for p in p_V])
        entropy = sum(p * s for p, s in zip(p_V, surprise_V, strict=True) if p > 0)
        # Also on different sides of the entropy.
        merit_V = np.round(-abs(surprise_V - entropy), NEARNESS_DIGITS)
        p_V = kept(p_V, (merit_V >= last_of_share(p_V, merit_V, options.typical_p)) & (p_V > 0))
    return p_V


@examples(300)
@example(
    weights=[5, 6, 7, 8],
    temperature=2.5,
    top_k=0,
    top_p=0.907,
    min_p=0.0,
    typical_p=0.113,
)
@example(
    weights=[4, 4, 4, 4, 8],
    temperature=0.5,
    top_k=0,
    top_p=1.0,
    min_p=0.0,
    typical_p=0.113,
)
@given(
    weights=st.lists(st.integers(0, 8), min_size=3, max_size=12).filter(lambda w: sum(w) > max(w)),
    temperature=st.sampled_from([0.5, 1.0, 2.5]),
    top_k=st.sampled_from([0, 0, 2, 5]),
    top_p=st.sampled_from([0.611, 0.907, 1.0, 1.0]),
    min_p=st.sampled_from([0.0, 0.0513, 0.307, 1.0]),
    typical_p=st.sampled_from([0.113, 0.517, 0.871, 1.0]),
)
def test_filters_follow_their_definitions_in_the_documented_order(
    weights,
    temperature,
    top_k,
    top_p,
    min_p,
    typical_p,
):
    options = Sampling(
        temperature,
        top_k,
        top_p,
        min_p,
        typical_p,
    )
    with np.errstate(divide="ignore"):
        logp_BV = torch.as_tensor(np.log(np.array(weights) / sum(weights))[None]).double()
    found = sampled_logp(logp_BV, options).exp().numpy()[0]
    assert found == pytest.approx(oracle(np.array(weights) / sum(weights), options), abs=1e-9)


def test_options_may_be_fractions():
    logp_BV = torch.log_softmax(torch.randn(3, 14, generator=torch.Generator().manual_seed(1)), 1)
    values = {
        "temperature": 0.5,
        "top_p": 0.75,
        "min_p": 0.125,
        "typical_p": 0.75,
    }
    given = Sampling(**{name: Fraction(value) for name, value in values.items()})
    assert sampled_logp(logp_BV, given).equal(sampled_logp(logp_BV, Sampling(**values)))


# Options that depend on the text so far


@examples(200)
@given(
    text=st.lists(st.integers(9, 12), max_size=30),
    size=st.integers(0, 4),
    penalty=st.sampled_from([0.5, 1.0, 1.7]),
)
def test_repeats_cost_what_the_options_say(
    text,
    size,
    penalty,
):
    logp_V = torch.log_softmax(torch.randn(14, generator=torch.Generator().manual_seed(1)), 0)
    options = Sampling(repetition_penalty=penalty, no_repeat_ngram_size=size)
    found = filter_tokens(logp_V[None], torch.tensor([0, 1]), options, [text])[0]
    seen = {tuple(text[i : i + size]) for i in range(len(text) - size + 1)}
    for token in range(14):
        expected = float(logp_V[token]) * (penalty if token in text else 1)
        if token in (0, 1) or (
            size and (*text[max(0, len(text) - size + 1) :], token)[-size:] in seen
        ):
            expected = -math.inf
        assert float(found[token]) == pytest.approx(expected, rel=1e-6)


# Text token by token, and stop strings


@examples(200)
@given(data=st.data())
def test_text_token_by_token_is_the_decoded_text(bundle, data):
    ids = data.draw(st.lists(st.integers(0, bundle.vocabulary.size - 1), max_size=30))
    before = data.draw(st.sampled_from(["", "The soup", "We went (", 'So "', "Great! "]))
    write = bundle.vocabulary.writer(before)
    assert "".join(map(write, ids)) == bundle.vocabulary.decode(ids, before)


@examples(200)
@given(
    pieces=st.lists(st.sampled_from(["a", "b", "ab", "aab", "ba", " "]), max_size=20),
    stop=st.lists(st.sampled_from(["ab", "aba", "bb", "abab", "aaa", "a b"]), max_size=3),
)
def test_text_ends_before_the_first_stop_string(pieces, stop):
    vocabulary = learn_vocabulary(
        ["ab ab"],
        VocabularySpec(
            unit="char",
            size=300,
            min_count=1,
        ),
        NormalForm(),
    )
    text = "".join(pieces)
    written = WrittenText(vocabulary, "x", stop)
    told = ""
    for token in vocabulary.encode(text).tolist():
        told += written.add(token)
        assert written.stopped or not any(string in told for string in stop)
        if written.stopped:
            break
    told += written.end()
    places = [text.find(string) for string in stop if string in text]
    # The text may go on past the first stop string only where another one ends earlier.
    ends = min((text.find(string) + len(string) for string in stop if string in text), default=None)
    assert written.stopped == bool(places)
    expected = (
        text if ends is None else text[: min(text[:ends].find(s) for s in stop if s in text[:ends])]
    )
    assert told == expected
