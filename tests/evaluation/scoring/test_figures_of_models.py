import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ReviewLMError
from evaluation.scoring.metrics import Figures, figures_of, policies, star_slices
from evaluation.scoring.score import figures_of_bundle, score_stream
from evaluation.statistics.comparison import METRICS, comparable, comparison_table
from models.tokens.special import CONTEXT_IDS
from models.tokens.vocabulary import BOUNDARY_POLICY

LN2 = math.log(2)


def rows_of(nats, tokens, bytes_=None, stars=None, spelling=None, oov=None, words=None):
    count = len(nats)
    return pl.DataFrame(
        {
            "review_id": [f"r{i}" for i in range(count)],
            "stars": stars or [5] * count,
            "nats": [float(value) for value in nats],
            "tokens": tokens,
            "bytes": bytes_ or [10] * count,
            "words": words or tokens,
            "oov": oov or [0] * count,
            "spelling_nats": spelling or [0.0] * count,
        }
    )


def figures(nats=100.0, vocabulary="a", boundary="b", spelling=0.0, bytes_=300):
    return Figures(10, 50, bytes_, 40, 2, nats, spelling, "word", vocabulary, boundary)


def test_a_uniform_model_has_the_perplexity_of_its_entries(uniform_bundle, stream, vocabulary):
    found = figures_of_bundle(score_stream(uniform_bundle, stream), uniform_bundle)
    assert found.perplexity == pytest.approx(vocabulary.size - len(CONTEXT_IDS), rel=1e-12)


def test_product_two_power_and_exponential_forms_agree():
    p = [0.5, 0.25, 0.125, 0.5]
    found = figures_of(rows_of([-math.log(p[0] * p[1]), -math.log(p[2] * p[3])], [2, 2]))
    assert found.perplexity == pytest.approx(math.prod(p) ** (-1 / 4), rel=1e-12)
    assert found.perplexity == pytest.approx(2 ** (-sum(map(math.log2, p)) / 4), rel=1e-12)
    assert 2**found.bits_per_token == pytest.approx(found.perplexity, rel=1e-12)


def test_the_mean_is_weighted_by_tokens_not_by_reviews():
    found = figures_of(rows_of([10.0, 1.0], [100, 1]))
    assert found.perplexity == pytest.approx(math.exp(11 / 101))
    assert found.perplexity != pytest.approx(math.exp((10 / 100 + 1 / 1) / 2))


@given(
    nats=st.floats(1, 1e6), spelling=st.floats(0, 1e5), tokens=st.integers(1, 10**6), words=st.integers(1, 10**6),
    count=st.integers(10**4, 10**7),
)
def test_conversions_agree(nats, spelling, tokens, words, count):
    found = Figures(1, tokens, count, words, 0, nats, spelling)
    assert found.bits_per_byte * LN2 * count == pytest.approx(nats, rel=1e-9)
    assert found.open_bits_per_byte * LN2 * count == pytest.approx(nats + spelling, rel=1e-9)
    assert found.byte_perplexity == pytest.approx(2**found.bits_per_byte, rel=1e-9)
    if found.word_perplexity < math.inf:
        assert math.log(found.word_perplexity) * (words + 1) == pytest.approx(nats + spelling, rel=1e-9)
    if found.perplexity < math.inf:
        assert math.log(found.perplexity) * tokens == pytest.approx(nats, rel=1e-9)


def test_unknown_words_are_spelt_out_in_open_figures_only(bundle, stream):
    rows = score_stream(bundle, stream)
    found = figures_of(rows)
    assert rows["spelling_nats"].sum() > 0
    extra = rows["spelling_nats"].sum() / rows["bytes"].sum() / LN2
    assert found.open_bits_per_byte - found.bits_per_byte == pytest.approx(extra, rel=1e-12)


def test_bits_per_character_are_for_character_models():
    assert figures_of(rows_of([8 * LN2], [4]), unit="char").bits_per_character == pytest.approx(2.0)
    assert figures_of(rows_of([8 * LN2], [4]), unit="word").bits_per_character is None


def test_no_reviews_have_no_figures():
    found = figures_of(rows_of([1.0], [1]).clear())
    assert math.isnan(found.perplexity)
    assert math.isnan(found.open_bits_per_byte)


def test_an_impossible_token_makes_the_perplexity_infinite():
    assert figures_of(rows_of([math.inf], [3])).perplexity == math.inf


def test_slices_by_stars_add_up_to_the_whole(bundle, stream):
    rows = score_stream(bundle, stream)
    whole = figures_of_bundle(rows, bundle)
    slices = star_slices(rows, whole)
    assert slices["stars"].to_list() == [0, 1, 2, 3, 4, 5]
    for name in ("reviews", "tokens", "bytes", "oov"):
        assert slices[name].sum() == getattr(whole, name)
    assert slices["nats"].sum() == pytest.approx(whole.nats, rel=1e-12)
    fives = figures_of(rows.filter(pl.col("stars") == 5))
    assert slices.filter(pl.col("stars") == 5)["perplexity"].item() == pytest.approx(fives.perplexity)


def test_the_comparison_table_has_the_best_first_and_gains_over_the_baseline():
    table = comparison_table({"kn5": figures(100.0), "lstm": figures(80.0)}, {"lstm": "lstm"}, baseline="kn5")
    assert table["model"].to_list() == ["lstm", "kn5"]
    assert table["gain"].to_list() == pytest.approx([0.2, 0.0])
    assert table["kind"].to_list() == ["lstm", ""]


def test_nothing_is_gained_over_a_baseline_that_calls_a_review_impossible():
    table = comparison_table({"mle": figures(math.inf), "kn5": figures(80.0)}, baseline="mle")
    assert table["gain"].to_list() == [None, None]


def test_the_comparison_table_refuses_different_test_sets():
    with pytest.raises(ReviewLMError, match="different test sets"):
        comparison_table({"a": figures(), "b": figures(bytes_=301)})


@pytest.mark.parametrize("metric", METRICS)
def test_only_figures_of_the_whole_text_compare_models_of_different_vocabularies(metric):
    assert comparable(metric, figures(vocabulary="a"), figures(90.0, vocabulary="a"))
    whole = metric in ("open_bits_per_byte", "word_perplexity")
    assert comparable(metric, figures(vocabulary="a"), figures(vocabulary="c")) == whole
    assert not comparable(metric, figures(boundary="x"), figures(boundary="y"))


def test_policies_state_end_unknown_words_log_base_state_and_boundary():
    stated = policies(BOUNDARY_POLICY, "digest", "word")
    assert stated["boundary"] == BOUNDARY_POLICY
    assert {"log base", "end of review", "unknown words", "folding", "state", "vocabulary"} <= stated.keys()
