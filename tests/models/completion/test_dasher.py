"""Dasher's intervals: they fill the interval of the text, and a text takes as many bits as its code length."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.serving.dasher import bits_to_write
from reviewlm.corpus.synthetic.synth import write_reviews
from reviewlm.models.base import ModelError
from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.completion.dasher import intervals
from reviewlm.models.specs import VocabularySpec
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.special import EOS, UNK
from reviewlm.training.vocabularies.learn import learn_vocabulary
from tests.examples import examples
from tests.models.table_lm import TableLM, TableSpec

UNRATED = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""No training review had a rating, so there is one way to read a text."""

TEXTS = [
    "The soup was great, so we went back.",
    "In Phoenix we don't eat soup. (Ever!)\n\nThe café is naïve…",
] * 2


def model_of(
    unit,
    texts=TEXTS,
    sharpness=1.0,
    **options,
):
    """A model that never writes <unk> where that cannot be written, and no control characters."""
    spec = VocabularySpec(
        unit=unit,
        size=300 + 200 * (unit == "word"),
        min_count=1,
        **options,
    )
    vocabulary = learn_vocabulary(texts, spec, NormalForm())
    weights = np.exp(
        sharpness * np.random.default_rng(1).normal(size=(vocabulary.size + 1, vocabulary.size))
    )
    weights[:, EOS] = 3
    if vocabulary.lossless:
        written = set("".join(texts).encode())
        entries = [vocabulary.entry(i) for i in range(9, vocabulary.size)]
        weights[
            :, [UNK, *(i for i, entry in enumerate(entries, 9) if not set(entry) <= written)]
        ] = 0
    return Bundle(TableSpec(), vocabulary, TableLM.normalised(weights), stars_prior=UNRATED)


@pytest.fixture(scope="module", params=["word", "bpe", "unigram", "char"])
def model(request):
    return model_of(request.param)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "T",
        "The soup",
        "The soup ",
        "the so",
        "We don'",
        "it cost 12.",
        "WAS",
        "zqx",
        "The café",
        "\n",
        " ",
        "x" * 60,
        "東京",
        "soup\n\n",
        "soup (",
        "İ",
        "Phoenix. ",
    ],
)
def test_intervals_fill_the_interval_of_the_text(model, text):
    found = intervals(model, text, stars=3)
    assert all(type(each.probability) is float for each in found), "NumPy's numbers are no JSON"
    assert sum(each.probability for each in found) == pytest.approx(1, abs=1e-12)
    assert len({(each.kind, each.symbol) for each in found}) == len(found)
    if any(each.kind == "other" for each in found):
        inside = intervals(model, text, stars=3, other=True)
        assert sum(each.probability for each in inside) == pytest.approx(1, abs=1e-12)
        assert all(
            each.begun if each.kind == "other" else not each.symbol.isascii() for each in inside
        )
        assert len({(each.symbol, each.begun) for each in inside}) == len(inside)


@pytest.fixture(
    scope="module",
    params=[True, False],
    ids=["folded", "in all cases"],
)
def words(request, tmp_path_factory):
    """A model of words whose prices of case and spaces are those of some hundred texts."""
    file = tmp_path_factory.mktemp("texts") / "reviews.jsonl"
    write_reviews(file, 300, seed=1)
    texts = pl.read_ndjson(file)["text"].to_list()
    return model_of("word", [*TEXTS, *texts], lowercase=request.param)


def code_length(
    model,
    text,
    stars=2,
):
    """The bits that a score charges for a text: tokens, letters of unknown words, case, spaces and quotes."""
    score = model.score_text(text, stars)
    return (score.nats + score.spelling_nats) / math.log(2)


@pytest.mark.parametrize(
    "text",
    [
        "The soup was great, so we went back.",
        "In Phoenix we don't eat (soup)!",
        "The café is",
        "so THE Soup",
        "The sOuP was",
        "The soUP was",
    ],
)
def test_a_text_of_known_words_takes_its_code_length(words, text):
    bits = bits_to_write(words, text, 2)
    assert bits == pytest.approx(code_length(words, text), rel=0.03)
    assert bits <= code_length(words, text) + 1e-6


@pytest.mark.parametrize(
    "text",
    [
        "Zqx was great. We went to Zqx again, so zqx",
        "Qzw and Zqx, Qzw and Zqx",
        "ZQX-Zqx zqx!",
    ],
)
def test_an_unknown_word_that_comes_back_takes_the_code_length_of_its_text(words, text):
    bits = bits_to_write(words, text, 2)
    assert bits == pytest.approx(code_length(words, text), rel=0.03)
    assert bits <= code_length(words, text) + 1e-6


def test_the_next_letter_of_an_unknown_word_follows_the_unknown_words_before_it(words):
    def share(text, symbol):
        return next(each.probability for each in intervals(words, text, 2) if each.symbol == symbol)

    assert share("Zqxw was great. Zq", "x") > 5 * share("Soup was great. Zq", "x")


SIGNS = st.sampled_from([*(chr(code) for code in range(33, 127)), *"   \n", *"éÉßİΣςñ’“日👍€½ǅ"])
WORDS = [
    "The",
    "soup",
    "SOUP",
    "sOUp",
    "Zqx",
    "don't",
    "Don’t",
    "PHOENIX",
    "café",
    "CAFÉ",
    "(ever!)",
    "naïve…",
    "1.50",
]


UNKNOWN_SIGNS = "👍€"


@pytest.mark.xfail(
    strict=True,
    reason="what follows an unknown sign right after a word costs 5 to 11 bits too much",
)
def test_a_text_with_an_unknown_sign_right_after_a_word_has_the_price_of_its_score(words):
    assert bits_to_write(words, "A€!", 2) <= code_length(words, "A€!") * (1 + 1e-6)


@pytest.mark.slow
@examples(150)
@given(
    signs=st.one_of(
        st.lists(SIGNS.filter(lambda sign: sign not in UNKNOWN_SIGNS), max_size=20),
        st.lists(st.sampled_from([*WORDS, " ", " ", " ", "\n", ", "]), max_size=9),
    ).map("".join)
)
def test_every_text_can_be_written_at_the_price_of_its_score_or_less(words, signs):
    text = words.vocabulary.normal_form.apply(signs)
    assert bits_to_write(words, text, 2) <= code_length(words, text) * (1 + 1e-6) + 1e-6


@examples(30)
@given(signs=st.lists(st.one_of(SIGNS, st.sampled_from(WORDS)), max_size=12).map("".join))
def test_after_any_text_every_character_may_follow(words, signs):
    text = words.vocabulary.normal_form.apply(signs)
    found = {each.symbol or each.kind for each in intervals(words, text, 2)}
    assert found >= {*(chr(code) for code in range(33, 127)), "other"}
    assert not text or found >= {" ", "end"}


def test_what_cannot_be_written_is_refused():
    with pytest.raises(ModelError, match="cannot follow"):
        bits_to_write(model_of("char"), "soup\x07")
    with pytest.raises(ModelError, match="smallest is 0"):
        intervals(model_of("char"), "", smallest=0)
    with pytest.raises(ModelError, match="stars is 9"):
        intervals(model_of("char"), "", stars=9)
    for begun in ("zz", "41", "c3a9", "e080", "f5", "c"):
        with pytest.raises(ModelError, match=f"begun is '{begun}'; it must be the first bytes"):
            intervals(model_of("char"), "", other=True, begun=begun)
    with pytest.raises(ModelError, match="begun only takes effect with other"):
        intervals(model_of("char"), "", begun="c3")
