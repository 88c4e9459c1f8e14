"""A figure of a model that adapts stands under a name of its own: in tables, pictures, the gate's decision."""

from __future__ import annotations

import pytest
from test_promotion_gate import judge, rule, scores

from evaluation.comparison import comparison_table
from evaluation.figures import perplexity_bars
from evaluation.metrics import figures_of, figures_of_bundle, policies, star_slices
from evaluation.score import score_stream
from reviewlm import terminal
from reviewlm.config import RunConfig
from reviewlm.errors import ConfigError
from reviewlm.presets import load_config


def adapting(bundle):
    """The same bundle, whose model says that it adapts."""
    bundle.model.adaptation = "dynamic evaluation"
    return bundle


def test_figures_of_a_bundle_say_how_it_adapts_and_so_do_its_slices(bundle, stream):
    rows = score_stream(bundle, stream)
    assert figures_of_bundle(rows, bundle).to_dict()["adaptation"] == "static"
    whole = figures_of_bundle(rows, adapting(bundle))
    assert whole.to_dict()["adaptation"] == "dynamic evaluation"
    assert set(star_slices(rows, whole)["adaptation"]) == {"dynamic evaluation"}
    stated = policies(whole.boundary, whole.vocabulary, whole.unit, whole.adaptation)
    assert stated["adaptation"] == "dynamic evaluation"


def table():
    rows = scores()
    figures = {"lstm": figures_of(rows), "lstm+dynamic": figures_of(scores(0.9), adaptation="dynamic evaluation")}
    return comparison_table(figures, {"lstm": "lstm", "lstm+dynamic": "dynamic"})


def test_tables_and_bars_name_the_model_that_adapts():
    found = table()
    assert dict(found.select("model", "adaptation").iter_rows()) == {
        "lstm": "static", "lstm+dynamic": "dynamic evaluation",
    }  # fmt: skip
    left, _ = perplexity_bars(found).axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["lstm", "lstm+dynamic\ndynamic evaluation"]


def test_the_command_line_says_so_below_its_table(capsys):
    test = {"perplexity": 9.0, "word_perplexity": 9.0, "bits_per_byte": 1.0, "open_bits_per_byte": 1.0,
            "tokens": 3, "oov": 0, "reviews": 1}  # fmt: skip
    model = {"name": "lstm+cache", "kind": "neural_cache", "unit": "word", "adaptation": "continuous cache"}
    static = {"name": "lstm", "kind": "lstm", "unit": "word", "adaptation": "static"}
    terminal.show_models({"models": [{**static, "test": test}, {**model, "test": test}]})
    said = capsys.readouterr().out
    assert "lstm+cache adapts to the text that it is measured on (continuous cache)" in said
    assert "lstm adapts" not in said


def test_the_gate_names_figures_of_an_adapting_challenger_and_says_what_it_was_compared_with():
    decision = judge(challenger_adaptation="continuous cache")
    assert decision.promote
    assert "challenger (continuous cache), open bits per byte" in decision.figures
    assert "challenger, open bits per byte" not in decision.figures
    assert "champion, open bits per byte" in decision.figures
    assert rule(decision, "same adaptation").passed is None
    assert "the challenger's figures are continuous cache, the champion's static" in decision.reason
    assert "the champion's static" in decision.to_markdown()


def test_the_gate_has_nothing_to_say_where_both_adapt_alike():
    decision = judge(challenger_adaptation="cache", champion_adaptation="cache")
    assert rule(decision, "same adaptation").passed
    assert "champion (cache), open bits per byte" in decision.figures
    assert "static" not in decision.reason


@pytest.mark.parametrize("kind", ["neural_cache", "dynamic"])
def test_the_configuration_takes_both_kinds_after_their_part(kind, tmp_path):
    config = load_config("demo", ["seed=7", f'models=[{{kind="lstm", name="net"}}, {{kind="{kind}", part="net"}}]',
                                  'baseline="net"'])  # fmt: skip
    assert isinstance(config, RunConfig)
    assert config.models[1].parts == ("net",)
    with pytest.raises(ConfigError, match="none of the models before it"):
        load_config("demo", [f'models=[{{kind="{kind}", part="net"}}, {{kind="lstm", name="net"}}]', 'baseline="net"'])


@pytest.mark.parametrize("kind", ["neural_cache", "dynamic"])
def test_the_configuration_refuses_to_adapt_a_model_that_is_not_neural(kind):
    with pytest.raises(ConfigError, match="needs a neural model; its part 'kn' is of kind 'ngram'"):
        load_config("demo", [f'models=[{{kind="ngram", name="kn"}}, {{kind="{kind}", part="kn"}}]', 'baseline="kn"'])
