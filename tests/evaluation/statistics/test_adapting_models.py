"""A figure of a model that adapts stands under a name of its own: in tables, pictures, the gate's decision."""

from __future__ import annotations

import polars as pl
import pytest

from core.config.presets import load_config
from core.config.run_config import RunConfig
from core.config.sections.promotion import PromotionConfig
from core.errors import ConfigError
from evaluation.scoring.metrics import figures_of, policies, star_slices
from evaluation.scoring.score import figures_of_bundle, score_stream
from evaluation.statistics.comparison import comparison_table, own_baselines
from evaluation.statistics.intervals import ComparedScores
from evaluation.statistics.slice_table import SliceOptions, review_slices
from reviewlm import shown_results
from tests.evaluation.challengers import assert_refused_by, judge, rule, scores

ANY = PromotionConfig(adaptation="any")


def adapting(bundle):
    """The same bundle, whose model says that it adapts."""
    bundle.model.adaptation = "continuous cache"
    return bundle


def test_figures_of_a_bundle_say_how_it_adapts_and_so_do_its_slices(bundle, stream):
    rows = score_stream(bundle, stream)
    assert figures_of_bundle(rows, bundle).to_dict()["adaptation"] == "static"
    whole = figures_of_bundle(rows, adapting(bundle))
    assert whole.to_dict()["adaptation"] == "continuous cache"
    assert set(star_slices(rows, whole)["adaptation"]) == {"continuous cache"}
    stated = policies(whole.boundary, whole.vocabulary, whole.unit, whole.adaptation)
    assert stated["adaptation"] == "continuous cache"


def table():
    rows = scores()
    figures = {"lstm": figures_of(rows), "lstm+cache": figures_of(scores(0.9), adaptation="continuous cache")}
    return comparison_table(figures, {"lstm": "lstm", "lstm+cache": "neural_cache"})


def test_tables_name_the_model_that_adapts():
    found = table()
    assert dict(found.select("model", "adaptation").iter_rows()) == {
        "lstm": "static", "lstm+cache": "continuous cache",
    }  # fmt: skip


STATIC_AND_CACHED = {"kn5": "static", "lstm": "static", "kn5+cache": "cache", "lstm+cache": "continuous cache"}
PARTS = {"kn5": (), "lstm": (), "kn5+cache": ("kn5",), "lstm+cache": ("lstm",)}


def test_each_kind_has_a_baseline_of_its_own():
    found = own_baselines(STATIC_AND_CACHED, PARTS, "kn5")
    assert found == {"kn5": "kn5", "lstm": "kn5", "kn5+cache": "kn5+cache", "lstm+cache": "kn5+cache"}
    without = {name: way for name, way in STATIC_AND_CACHED.items() if name != "kn5+cache"}
    assert own_baselines(without, PARTS, "kn5") == {"kn5": "kn5", "lstm": "kn5", "lstm+cache": ""}
    found = own_baselines(STATIC_AND_CACHED, PARTS, "lstm+cache")
    assert found == {"kn5": "lstm", "lstm": "lstm", "kn5+cache": "lstm+cache", "lstm+cache": "lstm+cache"}


def test_gains_and_differences_stay_within_a_kind():
    levels = {"kn5": 1.0, "lstm": 0.8, "kn5+cache": 0.9, "lstm+cache": 0.7}
    tables = {name: scores(level, seed=7) for name, level in levels.items()}
    figures = {name: figures_of(rows, adaptation=STATIC_AND_CACHED[name]) for name, rows in tables.items()}
    own = own_baselines(STATIC_AND_CACHED, PARTS, "kn5")
    table = comparison_table(figures, baseline=own)
    assert table["model"].to_list() == ["lstm", "kn5", "lstm+cache", "kn5+cache"]
    gains = dict(table.select("model", "gain").iter_rows())
    assert gains["lstm+cache"] == pytest.approx(1 - 0.7 / 0.9)
    assert (gains["kn5"], gains["kn5+cache"]) == (0, 0)
    compared = ComparedScores(tables, figures, confidence=0.95, resamples=50, seed=1)
    pairs = compared.difference_table(own).select("model", "other", "relation").unique().rows()
    assert set(pairs) == {
        ("lstm", "kn5", "baseline"), ("kn5", "lstm", "next better"),
        ("lstm+cache", "kn5+cache", "baseline"), ("kn5+cache", "lstm+cache", "next better"),
    }  # fmt: skip
    assert compared.interval_table(own).filter(model="lstm+cache")["gain_lo"][0] > 0
    sliced = review_slices(tables, None, SliceOptions(own, min_reviews=5, resamples=50)).table
    assert sliced.filter(pl.col("model") == "lstm+cache")["gain"].to_numpy() == pytest.approx(1 - 0.7 / 0.9)


def test_the_command_line_shows_two_tables_each_with_its_baseline(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")  # wide enough for headings that are not folded

    def model(name, adaptation, baseline, gain):
        test = {"perplexity": 9.0, "word_perplexity": 9.0, "bits_per_byte": 1.0, "open_bits_per_byte": 0.8,
                "gain": gain, "reviews": 1}  # fmt: skip
        return {"name": name, "unit": "word", "adaptation": adaptation, "baseline": baseline, "test": test}

    static = [model("lstm", "static", "kn5", 0.2), model("kn5", "static", "kn5", 0.0)]
    cached = [model("lstm+cache", "continuous cache", "kn5+cache", 0.3), model("kn5+cache", "cache", "kn5+cache", 0.0)]
    shown_results.show_models({"models": [*cached, *static], "baseline": "kn5"})
    first, second = capsys.readouterr().out.split("Models that adapt to the review they are measured on")
    assert "vs kn5 " in first
    assert "lstm+cache" not in first
    assert "vs kn5+cache" in second
    assert "-30.0%" in second
    table = [model("lstm+cache", "continuous cache", "", None), *static]
    shown_results.show_models({"models": table, "baseline": "kn5"})
    second = capsys.readouterr().out.split("Models that adapt to the review they are measured on")[1]
    assert "vs " not in second
    assert "No baseline for this table: 'kn5' cannot be compared with it, and the run has no variant" in second


def test_the_command_line_says_so_below_its_table(capsys):
    test = {"perplexity": 9.0, "word_perplexity": 9.0, "bits_per_byte": 1.0, "open_bits_per_byte": 1.0,
            "tokens": 3, "oov": 0, "reviews": 1}  # fmt: skip
    model = {"name": "lstm+cache", "kind": "neural_cache", "unit": "word", "adaptation": "continuous cache"}
    static = {"name": "lstm", "kind": "lstm", "unit": "word", "adaptation": "static"}
    shown_results.show_models({"models": [{**static, "test": test}, {**model, "test": test}]})
    said = capsys.readouterr().out
    assert "lstm+cache adapts to the text it is measured on (continuous cache)" in said
    assert "lstm adapts" not in said


def test_the_gate_refuses_a_challenger_that_adapts_unless_told():
    assert_refused_by(judge(challenger_adaptation="cache"), "same adaptation")
    assert_refused_by(judge(PromotionConfig(adaptation="continuous cache"), challenger_adaptation="cache"),
                      "same adaptation")  # fmt: skip
    assert_refused_by(judge(PromotionConfig(adaptation="cache")), "same adaptation")
    assert judge(PromotionConfig(adaptation="cache"), challenger_adaptation="cache").promote
    with pytest.raises(ValueError, match="continuous cache"):
        PromotionConfig(adaptation="cached")


def test_a_static_challenger_of_an_adapting_champion_is_told_the_way_out():
    found = rule(judge(champion_adaptation="cache"), "same adaptation")
    assert found.passed is None
    assert "roll back to a champion of the wanted kind" in found.detail


def test_a_baseline_of_another_kind_is_named_so():
    decision = judge(ANY, challenger_adaptation="cache")
    assert "whose figures are static, the challenger's cache" in rule(decision, "better than the baseline").detail


def test_the_gate_names_figures_of_an_adapting_challenger_and_says_what_it_was_compared_with():
    decision = judge(ANY, challenger_adaptation="continuous cache")
    assert decision.promote
    assert "challenger (continuous cache), open bits per byte" in decision.figures
    assert "challenger, open bits per byte" not in decision.figures
    assert "champion, open bits per byte" in decision.figures
    assert rule(decision, "same adaptation").passed is None
    assert "the challenger's figures are continuous cache, the champion's static" in decision.reason
    assert "the champion's static" in decision.to_markdown()


def test_the_gate_has_nothing_to_say_where_both_adapt_alike():
    decision = judge(ANY, challenger_adaptation="cache", champion_adaptation="cache")
    assert rule(decision, "same adaptation").passed
    assert "champion (cache), open bits per byte" in decision.figures
    assert "static" not in decision.reason


def test_the_configuration_takes_a_continuous_cache_after_its_part():
    config = load_config("demo", ["seed=7", 'models=[{kind="lstm", name="net"}, {kind="neural_cache", part="net"}]',
                                  'baseline="net"'])  # fmt: skip
    assert isinstance(config, RunConfig)
    assert config.models[1].parts == ("net",)
    with pytest.raises(ConfigError, match="one of the models before it"):
        load_config("demo", ['models=[{kind="neural_cache", part="net"}, {kind="lstm", name="net"}]', 'baseline="net"'])


def test_the_configuration_refuses_to_adapt_a_model_that_is_not_neural():
    with pytest.raises(ConfigError, match="needs a neural model; its part 'kn' is of kind 'ngram'"):
        load_config("demo", ['models=[{kind="ngram", name="kn"}, {kind="neural_cache", part="kn"}]', 'baseline="kn"'])
