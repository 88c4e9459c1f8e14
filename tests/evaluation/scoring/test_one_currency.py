"""One currency: the same distribution over texts costs the same bits per byte, however the texts are cut into tokens.

A small grammar with a text that two derivations make is enumerated by hand. From the enumeration follows, for every
vocabulary, the model that predicts each next token exactly. Scored by the pipeline's own code, all of these models are
one model in figures per byte and per word, and none of them is above the floor.
"""

import itertools
import math
from collections import defaultdict
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.corpus.synthetic.automaton import Automaton, Domain
from reviewlm.corpus.synthetic.grammar import Forward
from reviewlm.evaluation.scoring.metrics import figures_of
from reviewlm.evaluation.scoring.score import score_stream
from reviewlm.evaluation.statistics.floor import floor_of
from reviewlm.evaluation.statistics.intervals import ComparedScores, flagged_below_floor
from reviewlm.models.specs import VocabularySpec
from reviewlm.models.streams import TokenStream, write_stream
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.special import CONTEXT_IDS, EOS
from reviewlm.tasks.evaluation.intervals import judged_reviews
from reviewlm.training.vocabularies.learn import learn_vocabulary
from tests.examples import examples

UNITS = {
    "word": 200,
    "char": 400,
    "bpe": 400,
    "unigram": 400,
}
PER_TEXT = ("bits_per_byte", "open_bits_per_byte", "byte_perplexity", "word_perplexity")
ARTICLES, DISHES = (
    ("the", "a", "the hot"),
    {
        "tea": "tea",
        "hot tea": "hot tea",
        "soup": "soup",
    },
)


@dataclass(frozen=True)
class Grammar:
    """Weights of the articles, of the dishes, and of a second dish against none."""

    articles: tuple[int, ...]
    dishes: tuple[int, ...]
    second: tuple[int, int]

    def forward(self):
        articles = "|".join(
            f"{text}*{weight}" for text, weight in zip(ARTICLES, self.articles, strict=True)
        )
        more = [[self.second[0], " and {+dish}"], [self.second[1], ""]]
        table = dict(zip(DISHES, self.dishes, strict=True))
        dish = Domain({"": table}, {"name": DISHES}, lazy=True)
        return Forward(
            Automaton({"start": f"[{articles}] {{+dish}}{{more}}", "more": more}, {"dish": dish})
        )

    def probabilities(self):
        """Every text with its probability: the sum over all derivations, written out without the automaton."""
        found = defaultdict(float)
        articles, dishes = (
            [each / sum(all_) for each in all_] for all_ in (self.articles, self.dishes)
        )
        more, none = (each / sum(self.second) for each in self.second)
        for (article, p), (dish, q) in itertools.product(
            zip(ARTICLES, articles, strict=True), zip(DISHES.values(), dishes, strict=True)
        ):
            found[f"{article} {dish}"] += p * q * none
            for other, r in zip(DISHES.values(), dishes, strict=True):
                found[f"{article} {dish} and {other}"] += p * q * more * r
        return dict(found)


GRAMMAR = Grammar((3, 1, 2), (2, 1, 4), (1, 2))
TEXTS = sorted(GRAMMAR.probabilities())


class PrefixLM:
    """p(next token | tokens so far) = the probability of the texts that go on so / of those that begin so."""

    def __init__(
        self,
        vocabulary,
        probabilities,
        sharpness=1.0,
    ):
        self.vocabulary_size, self.mass = vocabulary.size, defaultdict(float)
        for text, probability in probabilities.items():
            ids = (*vocabulary.encode(text).tolist(), EOS)
            for end in range(len(ids) + 1):
                self.mass[ids[:end]] += probability**sharpness

    def start(self, batch):
        return [()] * batch

    def score(self, ids_BT, state):
        nats_BT, state = np.zeros(ids_BT.shape), list(state)
        for (row, t), token in np.ndenumerate(ids_BT):
            if int(token) not in CONTEXT_IDS:
                longer = (*state[row], int(token))
                nats_BT[row, t] = -math.log(self.mass[longer] / self.mass[state[row]])
                state[row] = longer
        return nats_BT, state


@pytest.fixture(scope="module")
def vocabularies():
    specs = {
        unit: VocabularySpec(
            unit=unit,
            size=size,
            min_count=1,
        )
        for unit, size in UNITS.items()
    }
    return {unit: learn_vocabulary(TEXTS * 5, spec, NormalForm()) for unit, spec in specs.items()}


def reviews_of(texts):
    sizes = [len(text.encode()) + 1 for text in texts]
    ids = [f"r{number:03d}" for number in range(len(texts))]
    stars = [1 + number % 5 for number in range(len(texts))]
    return pl.DataFrame(
        {
            "review_id": ids,
            "text": texts,
            "stars": stars,
            "bytes": sizes,
        }
    )


def drawn(
    probabilities,
    count,
    seed,
):
    texts = sorted(probabilities)
    return list(
        np.random.default_rng(seed).choice(texts, count, p=[probabilities[text] for text in texts])
    )


def scores(
    vocabularies,
    probabilities,
    reviews,
    sharpness=1.0,
    whole=False,
):
    """Scores by unit; *whole*: with the price of case and spaces, which these texts all write alike."""
    found = {}
    for unit, vocabulary in vocabularies.items():
        bundle = SimpleNamespace(
            vocabulary=vocabulary, model=PrefixLM(vocabulary, probabilities, sharpness)
        )
        with TemporaryDirectory() as folder:
            write_stream(folder, vocabulary, [reviews], whole=whole)
            found[unit] = score_stream(bundle, TokenStream.open(folder))
    return found


def compared(
    tables,
    vocabularies,
    judged,
):
    figures = {
        unit: figures_of(rows, unit=unit, vocabulary=vocabularies[unit].digest)
        for unit, rows in tables.items()
    }
    return ComparedScores(
        tables,
        figures,
        judged,
        confidence=0.95,
        resamples=300,
        seed=1,
    ).interval_table("word")


def judged_by(
    grammar,
    reviews,
    monkeypatch,
):
    forward = grammar.forward()
    monkeypatch.setattr(
        "reviewlm.corpus.synthetic.grammar.log_probability",
        lambda text, stars: forward.log_probability(text, {}),
    )
    return judged_reviews(reviews)


def test_the_grammar_has_a_text_with_two_derivations():
    probabilities = GRAMMAR.probabilities()
    assert math.fsum(probabilities.values()) == pytest.approx(1, abs=1e-12)
    assert probabilities["the hot tea"] == pytest.approx((3 / 6 * 1 / 7 + 2 / 6 * 2 / 7) * 2 / 3)


def test_the_forward_algorithm_sums_all_derivations_of_a_text():
    forward = GRAMMAR.forward()
    for text, probability in GRAMMAR.probabilities().items():
        assert forward.log_probability(text, {}) == pytest.approx(math.log(probability), abs=1e-12)


@examples(8)
@given(
    st.tuples(*[st.integers(1, 9)] * 3),
    st.tuples(*[st.integers(1, 9)] * 3),
    st.tuples(*[st.integers(1, 9)] * 2),
    st.lists(st.sampled_from(TEXTS), min_size=1, max_size=8),
)
def test_another_unit_of_the_same_model_changes_nothing_per_byte_or_word(
    vocabularies,
    articles,
    dishes,
    second,
    texts,
):
    probabilities = Grammar(articles, dishes, second).probabilities()
    expected = -math.fsum(math.log(probabilities[text]) for text in texts)
    tables = scores(vocabularies, probabilities, reviews_of(texts))
    found = {unit: figures_of(rows) for unit, rows in tables.items()}
    for unit, figures in found.items():
        assert figures.nats == pytest.approx(expected, rel=1e-9), unit
        assert (figures.oov, figures.spelling_nats) == (0, 0)
        for name in PER_TEXT:
            assert getattr(figures, name) == pytest.approx(
                getattr(found["char"], name), rel=1e-9
            ), (unit, name)
    assert found["char"].tokens > found["bpe"].tokens >= len(texts)
    assert found["char"].perplexity < found["word"].perplexity, (
        "per token they differ: only the text is common"
    )


def test_only_the_unit_that_drops_case_pays_for_it(vocabularies):
    probabilities = GRAMMAR.probabilities()
    tables = scores(
        vocabularies, probabilities, reviews_of(drawn(probabilities, 60, seed=1)), whole=True
    )
    paid = {unit: rows["surface_nats"].sum() for unit, rows in tables.items()}
    assert paid["word"] > 0
    assert (paid["char"], paid["bpe"], paid["unigram"]) == (0, 0, 0)
    assert tables["word"]["spelling_nats"].equals(
        tables["word"]["surface_nats"].rename("spelling_nats")
    )


def test_the_true_model_has_a_gap_of_zero_in_every_unit(vocabularies, monkeypatch):
    probabilities = GRAMMAR.probabilities()
    reviews = reviews_of(drawn(probabilities, 60, seed=1))
    judged = judged_by(GRAMMAR, reviews, monkeypatch)
    tables = scores(vocabularies, probabilities, reviews)
    table = compared(tables, vocabularies, judged)
    for name in ("gap", "gap_lo", "gap_hi"):
        assert table[name].to_list() == pytest.approx([0.0] * len(UNITS), abs=1e-9), name
    assert flagged_below_floor(table) == []
    assert figures_of(tables["bpe"]).bits_per_byte == pytest.approx(
        floor_of(judged)["bits_per_byte"], rel=1e-9
    )


def test_a_model_that_is_too_sure_is_above_the_floor_by_the_same_in_every_unit(
    vocabularies, monkeypatch
):
    """The gap estimates the divergence KL(p‖q) per byte, here with q ∝ p³, and its interval holds it."""
    p = GRAMMAR.probabilities()
    whole = math.fsum(each**3 for each in p.values())
    size = math.fsum(each * (len(text) + 1) for text, each in p.items())
    divergence = math.fsum(each * math.log2(each / (each**3 / whole)) for each in p.values()) / size
    reviews = reviews_of(drawn(p, 400, seed=2))
    table = compared(
        scores(vocabularies, p, reviews, 3.0),
        vocabularies,
        judged_by(GRAMMAR, reviews, monkeypatch),
    )
    for row in table.to_dicts():
        assert 0 < row["gap_lo"] < divergence < row["gap_hi"]
        assert row["gap"] == pytest.approx(table["gap"][0], rel=1e-9)
        assert row["gap_hi"] - row["gap_lo"] < divergence
