"""The card of a registered model says what the run found, and what it did not look at."""

from __future__ import annotations

from dataclasses import replace

import pytest

from evaluation.reports.model_card import model_card, pointer
from tests.evaluation.made_results import made_results


def section_of(card, title):
    return card.partition(f"## {title}\n")[2].partition("\n## ")[0]


@pytest.fixture(scope="module")
def card():
    return model_card(made_results(), "reviews")


def test_it_names_the_version_and_the_outcome(card):
    assert card.startswith("# reviews, version 3: lstm+cache\n")
    assert "promoted to champion as version 3" in card
    assert "| better than the champion | passed |" in section_of(card, "The gate")


def test_it_states_corpus_licence_and_hashes(card):
    data = section_of(card, "Training data")
    assert "| licence | not stated |" in data
    assert "| first review | 2015-01-01 |" in data
    digests = section_of(card, "Digests")
    assert "| prepare | 8ac1d4c38f1521f3 |" in digests
    assert "| bundle | bundle of lstm+cache |" in digests


def test_figures_stand_with_their_intervals_beside_the_baseline(card):
    figures = section_of(card, "Figures")
    assert "| bits per byte, unknown words spelt out | 0.8000 (0.7880 to 0.8128) | 1.000 (0.9850 to 1.016) |" in figures
    assert "680 test reviews" in figures


def test_the_worst_slices_and_the_limits_are_its_own(card):
    assert "| month: 2022-" in section_of(card, "Where it is weakest")
    limits = section_of(card, "Limits")
    assert "9.6% stand in the training text; in held-out reviews 9.0%" in limits
    assert "It copies" not in limits
    assert "highest exposure 3.20 bits" in limits
    assert "continuous cache" in limits


def test_a_winner_that_is_the_baseline_is_not_held_against_itself():
    card = model_card(replace(made_results(), winner="kn5"))
    assert "baseline" not in section_of(card, "Figures")
    assert "surely worse" not in section_of(card, "Where it is weakest")


def test_a_copying_model_is_called_one():
    results = made_results()
    winner = results.model("lstm+cache")
    copying = replace(winner, audit={**winner.audit, "copied_8": 0.5})
    others = tuple(copying if model.name == winner.name else model for model in results.models)
    assert "It copies." in model_card(replace(results, models=others))


def test_what_was_not_audited_is_said_not_to_be():
    results = made_results()
    bare = tuple(replace(model, audit={}, observed={}) for model in results.models)
    card = model_card(replace(results, models=bare, slices=None, decision=None))
    assert "Memorisation was not audited" in card
    assert "Where it is weakest" not in card
    assert "## The gate" not in card


def test_a_warning_of_the_gate_stands_in_the_card():
    results = made_results()
    decision = replace(results.decision, warnings=("reviews of one user resemble each other",))
    assert "Warning: reviews of one user resemble each other" in model_card(replace(results, decision=decision))


def test_it_says_how_to_ask_the_version(card):
    assert 'mlflow.pyfunc.load_model("models:/reviews/3")' in card
    assert "reviewlm generate --model 3" in card
    assert "reviewlm run --preset demo" in section_of(card, "How to make it again")


def test_the_pointer_names_the_file_and_the_run():
    assert pointer("http://127.0.0.1:5000/#/runs/1") == (
        "Model card: `model_card.md` among the artifacts of [its run](http://127.0.0.1:5000/#/runs/1)."
    )
