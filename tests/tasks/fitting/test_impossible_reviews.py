"""A model that gives probability 0 to what happened, as maximum likelihood does, goes the whole way in the open: it is
fitted, kept, opened, scored and shown, every such event counted, and the gate refuses it with the reason."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.core.config.sections.evaluation import PromotionConfig
from reviewlm.core.errors import ConfigError
from reviewlm.evaluation.gate.evidence import Evidence, Latency, Leaks, ModelEvidence
from reviewlm.evaluation.gate.language import LanguageCase
from reviewlm.evaluation.scoring.score import figures_of_bundle, score_stream
from reviewlm.models.base import ModelError
from reviewlm.models.bundles.bundle import SPEC, load_bundle
from reviewlm.models.ngram.lm import NGramLM
from reviewlm.models.specs import NGramSpec
from reviewlm.models.streams import TokenStream
from reviewlm.tasks.fitting.fit import run_job
from tests.tasks.fitting.small_jobs import job_of, written

SEEN = [
    f"The {food} was {word}."
    for food in ("soup", "bread", "tea")
    for word in ("good", "bad", "cold", "fine")
] * 3
TESTED = ["The soup was good.", "The soup was tea.", "good good good", "The tea was cold."]
IMPOSSIBLE = [False, True, True, False]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Streams, and the bundle that a fit of maximum likelihood leaves."""
    return written(tmp_path_factory.mktemp("data"), train=SEEN, validation=TESTED)


@pytest.fixture(scope="module")
def fitted(folder: Path) -> dict[str, Any]:
    spec = NGramSpec(
        name="mle2",
        order=3,
        smoothing="maximum_likelihood",
    )
    return run_job(job_of(folder, folder / "work", spec), lambda news: None)


@pytest.fixture(scope="module")
def scored(folder: Path, fitted: dict[str, Any]) -> pl.DataFrame:
    return score_stream(
        load_bundle(folder / "work" / "bundle"), TokenStream.open(folder / "validation")
    )


@pytest.mark.slow
def test_the_fit_counts_the_events(fitted: dict[str, Any]) -> None:
    assert fitted["validation/zero_probability_events"] >= 2


@pytest.mark.slow
def test_the_fit_calls_the_perplexity_infinite(fitted: dict[str, Any]) -> None:
    assert fitted["validation/perplexity"] == math.inf


def test_the_bundle_remembers_that_a_probe_was_impossible(
    folder: Path, fitted: dict[str, Any]
) -> None:
    probes = json.loads((folder / "work" / "bundle" / SPEC).read_text())["probes"]
    assert [probe["nats"] for probe in probes] == [None] * 3
    assert load_bundle(folder / "work" / "bundle").spec.smoothing == "maximum_likelihood"


def test_a_bundle_with_a_probe_that_is_no_longer_impossible_is_refused(
    folder: Path,
    fitted: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    score = NGramLM.score

    def lenient(model: NGramLM, *arguments: Any) -> Any:
        nats, state = score(model, *arguments)
        nats[nats == math.inf] = 9.0
        return nats, state

    monkeypatch.setattr(NGramLM, "score", lenient)
    with pytest.raises(ModelError) as error:
        load_bundle(folder / "work" / "bundle")
    assert error.value.kind == "bundle"


def test_impossible_reviews_cost_infinitely_many_nats(scored: pl.DataFrame) -> None:
    assert scored["nats"].is_infinite().to_list() == IMPOSSIBLE


def test_impossible_reviews_are_counted(folder: Path, scored: pl.DataFrame) -> None:
    figures = figures_of_bundle(scored, load_bundle(folder / "work" / "bundle"))

    assert figures.impossible == 2
    assert figures.to_dict()["impossible"] == 2


def test_impossible_reviews_make_every_figure_infinite(folder: Path, scored: pl.DataFrame) -> None:
    figures = figures_of_bundle(scored, load_bundle(folder / "work" / "bundle"))

    assert figures.perplexity == math.inf
    assert figures.open_bits_per_byte == math.inf


def judged(challenger: pl.DataFrame, baseline: pl.DataFrame) -> Any:
    evidence = Evidence(
        ModelEvidence("new", challenger, "t", departure=0.0),
        baseline=ModelEvidence("base", baseline, "t", name="base"),
        checks_passed=True,
        leaks=Leaks(True, test="t"),
        smoke_passed=True,
        latency=Latency(1, 1, 1),
        resamples=100,
    )
    unaudited = {
        "min_novelty": None,
        "max_copied_span": None,
        "max_private_patterns": None,
    }
    return LanguageCase.judge(PromotionConfig(min_test_reviews=2, **unaudited), evidence)


def test_the_gate_refuses_it_even_where_there_is_no_champion(
    scored: pl.DataFrame,
) -> None:
    worse = scored.with_columns(nats=pl.lit(1e6))
    decision = judged(scored, worse)
    assert not decision.promote
    assert "the challenger calls 2 of 4 test reviews impossible (probability 0)" in decision.reason
    assert json.loads(decision.to_json())["promote"] is False


def test_a_baseline_that_calls_reviews_impossible_is_nothing_to_have_beaten(
    scored: pl.DataFrame,
) -> None:
    decision = judged(scored.with_columns(nats=pl.lit(10.0)), scored)
    assert not decision.promote
    assert decision.reason == "the baseline 'base' has no finite figures to compare with"


def test_scores_that_are_no_probabilities_are_no_model_of_a_run() -> None:
    with pytest.raises(ConfigError, match=r"scores, not probabilities"):
        load_config("small", ["models.0.smoothing=stupid_backoff"])
