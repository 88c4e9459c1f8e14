"""A figure of a model that adapts stands under a name of its own: in tables, pictures, the gate's decision."""

from __future__ import annotations

import polars as pl
import pytest

from reviewlm.core.config.sections.evaluation import PromotionConfig
from reviewlm.evaluation.scoring.metrics import figures_of, policies
from reviewlm.evaluation.scoring.score import figures_of_bundle, score_stream
from reviewlm.evaluation.statistics.comparison import comparison_table, own_baselines
from reviewlm.evaluation.statistics.intervals import ComparedScores
from reviewlm.evaluation.statistics.slice_table import review_slices
from tests.evaluation.challengers import assert_refused_by, judge, scores


def adapting(bundle):
    """The same bundle, whose model says that it adapts."""
    bundle.model.adaptation = "continuous cache"
    return bundle


def test_figures_of_a_bundle_say_how_it_adapts(bundle, stream):
    rows = score_stream(bundle, stream)
    assert figures_of_bundle(rows, bundle).to_dict()["adaptation"] == "static"
    whole = figures_of_bundle(rows, adapting(bundle))
    assert whole.to_dict()["adaptation"] == "continuous cache"
    stated = policies(whole.boundary, whole.vocabulary, whole.unit, whole.adaptation)
    assert stated["adaptation"] == "continuous cache"


def table():
    rows = scores()
    figures = {
        "lstm": figures_of(rows),
        "lstm+cache": figures_of(scores(0.9), adaptation="continuous cache"),
    }
    return comparison_table(figures, {"lstm": "lstm", "lstm+cache": "neural_cache"})


STATIC_AND_CACHED = {
    "kn5": "static",
    "lstm": "static",
    "kn5+cache": "cache",
    "lstm+cache": "continuous cache",
}
PARTS = {
    "kn5": (),
    "lstm": (),
    "kn5+cache": ("kn5",),
    "lstm+cache": ("lstm",),
}


@pytest.fixture
def adapting_scores():
    """Scores and figures of two models, each with and without a cache, and the baseline of each."""
    levels = {
        "kn5": 1.0,
        "lstm": 0.8,
        "kn5+cache": 0.9,
        "lstm+cache": 0.7,
    }
    tables = {name: scores(level, seed=7) for name, level in levels.items()}
    figures = {
        name: figures_of(rows, adaptation=STATIC_AND_CACHED[name]) for name, rows in tables.items()
    }
    return tables, figures, own_baselines(STATIC_AND_CACHED, PARTS, "kn5")


def test_gains_stay_within_a_kind(adapting_scores):
    _, figures, own = adapting_scores
    table = comparison_table(figures, baseline=own)
    assert table["model"].to_list() == ["lstm", "kn5", "lstm+cache", "kn5+cache"]
    gains = dict(table.select("model", "baseline_gain").iter_rows())
    assert gains["lstm+cache"] == pytest.approx(1 - 0.7 / 0.9)
    assert (gains["kn5"], gains["kn5+cache"]) == (0, 0)


def test_differences_stay_within_a_kind(adapting_scores):
    tables, figures, own = adapting_scores
    compared = ComparedScores(
        tables,
        figures,
        confidence=0.95,
        resamples=50,
        seed=1,
    )
    pairs = compared.difference_table(own).select("model", "other").unique().rows()
    assert set(pairs) == {("lstm", "kn5"), ("lstm+cache", "kn5+cache")}
    assert compared.interval_table(own).filter(model="lstm+cache")["baseline_gain_lo"][0] > 0


def test_gains_in_slices_stay_within_a_kind(adapting_scores):
    tables, _, own = adapting_scores
    sliced = review_slices(
        tables,
        None,
        own,
        min_reviews=5,
        confidence=0.95,
    )[0]
    gains = sliced.filter(pl.col("model") == "lstm+cache")["gain"].to_numpy()
    assert gains == pytest.approx(1 - 0.7 / 0.9)


def test_the_gate_refuses_a_challenger_that_adapts_unless_told():
    assert_refused_by(judge(challenger_adaptation="cache"), "same adaptation")
    assert_refused_by(
        judge(PromotionConfig(adaptation="continuous cache"), challenger_adaptation="cache"),
        "same adaptation",
    )
    assert_refused_by(judge(PromotionConfig(adaptation="cache")), "same adaptation")
    assert judge(PromotionConfig(adaptation="cache"), challenger_adaptation="cache").promote
    with pytest.raises(ValueError, match="continuous cache"):
        PromotionConfig(adaptation="cached")
