"""What the report says in words: who won, by how much, what came of it, and where a model is weak."""

from __future__ import annotations

import math
from dataclasses import replace

import polars as pl
import pytest

from evaluation.reports import report_tables, report_words
from evaluation.reports.model_card import model_card
from evaluation.reports.report_pictures import pictures_of
from tests.evaluation.made_results import made_decision, made_results


def test_the_headline_says_who_won_by_how_much_and_what_came_of_it(results):
    said = report_words.headline(results)
    assert said.startswith("lstm+cache won: 0.8000 open bits per byte on 680 test reviews")
    assert "(95% interval 0.7880 to 0.8128)" in said
    assert "20.0% fewer than the baseline kn5 and 0.0340 above the floor" in said
    assert said.endswith(
        "promoted to champion as version 3: it is better than the champion by 2.44% of its bits per byte."
    )


def test_a_model_that_ran_alone_has_won_nothing_and_is_compared_with_nothing(results):
    alone = replace(results, table=results.table.filter(model="kn5"), winner="kn5")
    assert report_words.headline(alone).startswith("kn5: ")
    assert "kn5" in report_tables.about_result(results)
    assert "kn5" not in report_tables.about_result(alone)


@pytest.mark.parametrize(
    ("changes", "ending"),
    [
        ({"decision": None}, "The gate was not asked: the registry is as it was."),
        ({"decision": made_decision(False), "champion": 2}, "not promoted, version 2 stays champion: noise | or luck."),
        ({"decision": made_decision(False), "champion": None}, "not promoted, there is no champion: noise | or luck."),
    ],
)
def test_a_winner_that_was_not_promoted_is_said_to_be_so(changes, ending):
    assert report_words.headline(made_results(**changes)).endswith(ending)


def test_a_winner_worse_than_the_baseline_is_said_to_need_more(results):
    said = report_words.headline(replace(results, winner="nplm"))
    assert "5.0% more than the baseline kn5" in said


def test_the_baseline_is_not_compared_with_itself(results):
    assert "baseline" not in report_words.headline(replace(results, winner="kn5"))


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.8, "0.8000"), (12.3456, "12.35"), (774.23, "774.2"), (2494.6, "2,495"), (math.inf, "infinite"), (None, "–"),
     (math.nan, "–"), (0.0, "0.000"), (1e-5, "1.000e-05")],
)  # fmt: skip
def test_amounts_are_shown_with_four_digits(value, said):
    assert report_words.amount(value) == said


def test_the_slice_with_the_most_bits_is_named(results):
    own = results.slices.filter((pl.col("model") == results.winner) & (pl.col("dimension") == "stars"))
    worst = own.sort("open_bits_per_byte").row(-1, named=True)
    assert f"the most bits at “{worst['slice']}”" in report_words.said_of_slices(results, "stars")
    assert report_words.said_of_slices(results, "weather") == ""


@pytest.mark.long
def test_a_dimension_of_a_single_slice_is_not_drawn(results):
    few = results.slices.filter((pl.col("dimension") != "stars") | (pl.col("slice") == results.slices.filter(
        pl.col("dimension") == "stars")["slice"][0]))  # fmt: skip
    drawn = {picture.name for picture in pictures_of(replace(results, slices=few))}
    assert "by_stars" not in drawn
    assert "by_length" in drawn


def test_slices_that_are_surely_lost_are_named_all(results):
    said = report_words.said_of_worst(results)
    lost = results.slices.filter((pl.col("model") == results.winner) & pl.col("surely_worse"))
    assert all(f"{row['dimension'].replace('_', ' ')} {row['slice']}" in said for row in lost.to_dicts())


def test_a_winner_that_pays_more_than_it_expected_is_surer_than_it_should_be(results):
    model = results.model("lstm")
    for factor, verdict in ((0.5, "surer than it should be"), (2.0, "less sure than it could be")):
        tokens = model.tokens.with_columns(entropy=pl.col("nats") * factor)
        assert report_words.said_of_certainty([replace(model, tokens=tokens)], "lstm").endswith(f"{verdict}.")


def test_a_worst_slice_that_is_infinite_is_said_to_be(results):
    own = (pl.col("model") == results.winner) & (pl.col("dimension") == "stars") & (pl.col("slice") == "3")
    endless = {"open_bits_per_byte": math.inf, "excess": None, "gain": None}
    slices = results.slices.with_columns(
        pl.when(own).then(pl.lit(value)).otherwise(name).alias(name) for name, value in endless.items()
    )
    changed = replace(results, slices=slices)
    assert report_words.said_of_worst(changed).startswith("Hardest: stars 3, infinite.")
    assert "| stars: 3 | " in model_card(changed, "reviewlm")
    assert "| infinite |" in model_card(changed, "reviewlm")


def test_adaptive_models_are_named_apart_where_the_best_of_cost_and_of_training_are_named(results):
    costs, curves = report_words.said_of_costs(results), report_words.said_of_curves(results)
    static, adaptive = costs.split("Not beaten among models that adapt: ")
    assert (static.startswith("Not beaten among static models: "), adaptive) == (True, "lstm+cache.")
    assert "lstm+cache" not in static
    static, adaptive = curves.split("Lowest validation perplexity of the models that adapt to what they read: ")
    assert "lstm+cache" not in static
    assert adaptive.startswith("lstm+cache with")
