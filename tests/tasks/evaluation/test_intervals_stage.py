"""The models of a run beside each other: from stored scores to the table, MLflow's metrics, JSON and the terminal."""

from __future__ import annotations

import json
import logging
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from reviewlm import shown_results, terminal
from reviewlm.core.config.presets import parse_config
from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.output import literal
from reviewlm.core.store import Artifact, Store
from reviewlm.corpus.cleaning.clean_table import CLEAN
from reviewlm.evaluation.gate.decision import Decision
from reviewlm.evaluation.scoring.metrics import LN2, figures_of
from reviewlm.models.base import STATIC
from reviewlm.models.specs import MixtureSpec, NGramSpec
from reviewlm.tasks.data.prepare import Prepared
from reviewlm.tasks.evaluation.compare import (
    _explanation,
    _log_comparison,
    compare_models,
    log_gain,
    log_headline,
    most_bits,
)
from reviewlm.tasks.evaluation.evaluate import Measured
from reviewlm.tasks.evaluation.intervals import Evaluated, compare
from reviewlm.tasks.fitting.job import Fitted
from reviewlm.tasks.records.run_summary import describe_compared
from reviewlm.tasks.records.track import explain_figures
from reviewlm.tracking.tags import NOTE

COVERAGE_TYPES = (pl.String, pl.String, pl.Float64)
REVIEWS = 120
WORDS = np.random.default_rng(1).integers(8, 90, REVIEWS)
GRAMMAR_BITS = 1.0
MODELS = {
    "kn5": 1.30,
    "lstm": 1.10,
    "kn5+lstm": 1.08,
}
"""Bits per byte of each model, about; the grammar needs 1."""


@pytest.fixture
def config(own_home: Path) -> RunConfig:
    models = [
        {
            "kind": "ngram",
            "name": "kn5",
            "order": 5,
        },
        {
            "kind": "ngram",
            "name": "lstm",
            "order": 2,
        },
    ]
    return parse_config(
        {
            "models": models,
            "baseline": "kn5",
            "evaluation": {"resamples": 300, "min_slice_reviews": 10},
        }
    )


def ids() -> list[str]:
    return [f"r{number:03d}" for number in range(REVIEWS)]


def scores(bits: float, seed: int) -> pl.DataFrame:
    random, size = np.random.default_rng(seed), 5 * WORDS + 1
    return pl.DataFrame(
        {
            "review_id": ids(),
            "stars": pl.Series([1 + n % 5 for n in range(REVIEWS)], dtype=pl.Int8),
            "bytes": size,
            "words": WORDS,
            "tokens": WORDS + 1,
            "oov": WORDS // 50,
            "spelling_nats": 0.0,
            "nats": bits * LN2 * size * random.uniform(0.95, 1.05, REVIEWS),
        }
    )


def made(
    config: RunConfig,
    stage: str,
    key: Any,
    files: dict[str, Any],
    facts: dict[str, Any],
) -> Artifact:
    def make(work: Path) -> dict[str, Any]:
        for name, content in files.items():
            (work / name).parent.mkdir(exist_ok=True)
            if isinstance(content, pl.DataFrame):
                content.write_parquet(work / name)
            else:
                (work / name).write_bytes(content)
        return facts

    return (
        Store.of(config.home)
        .build(
            stage,
            1,
            {"key": key},
            {"tokens": f"tokens for {key}"},
            make,
        )
        .artifact
    )


def prepared(config: RunConfig, covered: dict[str, float] | None = None) -> Prepared:
    """Prepared data; *covered* are the shares of reviews that stand in training text, if that was measured."""
    known = {
        "review_id": ids(),
        "text": ["soup"] * REVIEWS,
        "stars": [1 + n % 5 for n in range(REVIEWS)],
        "bytes": 5 * WORDS + 1,
        "words": WORDS,
        "split": ["test"] * REVIEWS,
        "date": [datetime(2019 + n % 2, 5, 1) for n in range(REVIEWS)],
        "categories": ["Food, Bars" if n % 3 else "Food" for n in range(REVIEWS)],
    }
    missing = {name: [None] * REVIEWS for name in CLEAN if name not in known}
    table = pl.DataFrame({**known, **missing}).select(
        pl.col(name).cast(kind) for name, kind in CLEAN.items()
    )
    files = {"clean.parquet": table}
    if covered is not None:
        shares = {
            "review_id": [*covered],
            "split": ["test"] * len(covered),
            "coverage": [*covered.values()],
        }
        files["coverage.parquet"] = pl.DataFrame(
            shares, schema=dict(zip(shares, COVERAGE_TYPES, strict=True))
        )
    clean = made(
        config,
        "prepare",
        f"clean {covered}",
        files,
        {},
    )
    return Prepared(clean, clean)


def observed(seed: int) -> pl.DataFrame:
    random, tokens = np.random.default_rng(seed), 40 * 6
    return pl.DataFrame(
        {
            "review_id": [f"r{n // 6:03d}" for n in range(tokens)],
            "position": [n % 6 for n in range(tokens)],
            "nats": random.exponential(2.0, tokens),
            "suggestion": random.integers(1, 9, tokens),
            "keys_spared": 1,
        }
    )


def measured(
    config: RunConfig,
    name: str,
    bits: float,
) -> Measured:
    rows = scores(bits, seed=len(name))
    labels = {
        "unit": "word",
        "vocabulary": "v",
        "boundary": "b",
    }
    facts = {**figures_of(rows, **labels).to_dict(), "score_seconds": bits}
    summary = {} if "+" in name else {"parameters": 1_000.0, "cpu_seconds": 7.0}
    spec = MixtureSpec(name=name, parts=("kn5", "lstm")) if "+" in name else NGramSpec(name=name)
    bundle = {"bundle/weights": b"w" * 500_000, "metrics.jsonl": b"x" * 9_000}
    fit = made(
        config,
        "fit",
        name,
        bundle,
        {"summary": summary},
    )
    samples = pl.DataFrame(
        {
            "stars": [5],
            "text": ["Good soup."],
            "ended": [True],
        }
    )
    score = made(
        config,
        "score",
        name,
        {"scores.parquet": rows, "samples.parquet": samples},
        facts,
    )
    tokens = made(
        config,
        "observe",
        name,
        {"token_scores.parquet": observed(len(name))},
        {"hit@1": 0.1, "ece": 0.02},
    )
    return Measured(
        Fitted(spec, fit, f"run of {name}", False),
        score,
        score,
        score,
        tokens,
        tokens,
    )


@pytest.fixture
def grammar(monkeypatch: pytest.MonkeyPatch) -> None:
    """A grammar that needs `GRAMMAR_BITS` for each byte of every review."""
    sizes = iter(np.tile(5 * WORDS + 1, 9))
    monkeypatch.setattr(
        "reviewlm.corpus.synthetic.grammar.log_probability",
        lambda text, stars: -GRAMMAR_BITS * LN2 * float(next(sizes)),
    )


@pytest.fixture
def comparison(config: RunConfig, grammar: None) -> Evaluated:
    return compare(
        config.workspace,
        config.evaluation,
        config.baseline,
        prepared(config),
        models(config),
    )


def models(config: RunConfig, **bits: float) -> list[Measured]:
    return [measured(config, name, each) for name, each in {**MODELS, **bits}.items()]


def test_the_figures_of_the_table_lie_in_their_intervals(comparison: Evaluated) -> None:
    rows = {row["model"]: row for row in comparison.table.to_dicts()}
    assert list(rows) == ["kn5+lstm", "lstm", "kn5"]
    for name, bits in MODELS.items():
        row = rows[name]
        assert (
            row["open_bits_per_byte_lo"] < row["open_bits_per_byte"] < row["open_bits_per_byte_hi"]
        )
        assert row["gap"] == pytest.approx(bits - GRAMMAR_BITS, abs=0.02)
        assert row["gap_lo"] < row["gap"] < row["gap_hi"]
        assert row["hit@1_lo"] < row["hit@1"] < row["hit@1_hi"]
    assert rows["lstm"]["baseline_gain_lo"] > 0.1


def compared_again(config: RunConfig, resamples: int) -> Evaluated:
    """Compare the same scores with so many resamples."""
    evaluation = config.evaluation.model_copy(update={"resamples": resamples})
    return compare(
        config.workspace,
        evaluation,
        config.baseline,
        prepared(config),
        models(config),
    )


def test_equal_scores_are_not_compared_again(config: RunConfig, comparison: Evaluated) -> None:
    again = compared_again(config, config.evaluation.resamples)
    assert again.artifact.manifest["created"] == comparison.artifact.manifest["created"]


def test_other_resamples_are_compared_again(config: RunConfig, comparison: Evaluated) -> None:
    assert compared_again(config, 200).artifact.digest != comparison.artifact.digest


def test_a_model_below_the_floor_is_named(
    config: RunConfig,
    grammar: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "reviewlm.tasks.evaluation.intervals"):
        found = compare(
            config.workspace,
            config.evaluation,
            config.baseline,
            prepared(config),
            models(config, lstm=0.9),
        )
    assert [record.args[0] for record in caplog.records] == ["lstm"]
    assert found.table.filter("below_floor")["model"].to_list() == ["lstm"]


def test_reviews_of_others_have_no_floor(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "reviewlm.corpus.synthetic.grammar.log_probability", lambda text, stars: None
    )
    found = compare(
        config.workspace,
        config.evaluation,
        config.baseline,
        prepared(config),
        models(config),
    )
    assert found.floor is None
    assert found.table["gap"].null_count() == found.table["below_floor"].null_count() == 3


def test_figures_without_the_reviews_that_train_covers_in_part_stand_beside_the_others(
    config: RunConfig,
    grammar: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Two of 120 are covered by a quarter or more."""
    measured_models = models(config)
    found = compare(
        config.workspace,
        config.evaluation,
        config.baseline,
        prepared(
            config,
            {
                "r001": 0.25,
                "r002": 0.4,
                "r003": 0.24,
            },
        ),
        measured_models,
    )
    for row in found.table.to_dicts():
        rows = scores(MODELS[row["model"]], seed=len(row["model"]))
        rest = figures_of(rows.filter(~pl.col("review_id").is_in(["r001", "r002"])))
        assert row["covered_reviews"] == 2
        assert row["uncovered_perplexity"] == pytest.approx(rest.perplexity)
        assert row["uncovered_open_bits_per_byte"] == pytest.approx(rest.open_bits_per_byte)
    shown_results.show_models(describe_compared(config.baseline, found))
    assert "2 of 120 test reviews" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("bits", "edge"),
    [
        (
            {
                "lstm": 0.5,
                "kn5": 0.6,
                "unigram": 1.8,
            },
            0.8,
        ),
        ({"lstm": 0.5, "kn5": float("inf")}, 0.8),
        ({"kn5": 0.5, "lstm": 0.79}, None),
        ({"kn5": float("inf")}, None),
    ],
)
def test_charts_leave_out_models_that_need_far_more_bits(
    bits: dict[str, float], edge: float | None
) -> None:
    table = pl.DataFrame({"model": list(bits), "open_bits_per_byte": list(bits.values())})
    assert most_bits(table) == (edge and pytest.approx(edge))


class Tracker:
    """Keeps what would go to MLflow, call by call."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, dict[str, float]]] = []
        self.tags: dict[tuple[str, str], str] = {}
        self.tables: dict[str, pl.DataFrame] = {}

    def log_metrics(
        self,
        run_id: str,
        metrics: dict[str, float],
        dataset: tuple[str, str] | None = None,
    ) -> None:
        self.batches.append((run_id, metrics))

    def log_table(
        self,
        run_id: str,
        frame: pl.DataFrame,
        file: str,
    ) -> None:
        self.tables[file] = frame

    def set_tags(self, run_id: str, tags: dict[str, str]) -> None:
        self.tags |= {(run_id, name): value for name, value in tags.items()}

    def has_tag(
        self,
        run_id: str,
        name: str,
        value: str,
    ) -> bool:
        return self.tags.get((run_id, name)) == value

    def log_folder(
        self,
        run_id: str,
        folder: Path,
        path: str,
    ) -> None:
        pass

    def link(self, run_id: str) -> str:
        return f"http://mlflow/{run_id}"

    def show_models_of(
        self,
        retrain: str,
        most_bits: float | None,
        adaptation: str,
    ) -> None:
        self.shown = retrain
        self.adaptation = adaptation

    def tag(self, run_id: str, name: str) -> str:
        return self.tags.get((run_id, name), "")


@pytest.fixture
def logged(
    config: RunConfig,
    comparison: Evaluated,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    """What MLflow gets of a comparison, of the model that is put forward, and of its gain."""
    tracker: Any = Tracker()
    monkeypatch.setattr("reviewlm.tasks.evaluation.compare.tracker_of", lambda config: tracker)
    _log_comparison(tracker, comparison, "parent")
    log_headline(config.workspace, comparison, "lstm", "parent")
    for measured in ({"gain over the champion": 0.0095}, {}):  # the first model of all has no gain
        log_gain(
            config.workspace,
            Decision(
                True,
                "",
                (),
                "",
                "",
                "",
                "",
                measured,
            ),
            "parent",
        )
    return tracker


def test_the_run_of_the_flow_gets_the_figures_of_the_model_it_puts_forward(
    logged: Any, comparison: Evaluated
) -> None:
    row = comparison.table.row(by_predicate=pl.col("model") == "lstm", named=True)
    figures = {
        "perplexity": row["perplexity"],
        "open_bits": row["open_bits_per_byte"],
        "reviews": REVIEWS,
        "baseline_gain": 100 * row["baseline_gain"],
    }
    headline, gain = logged.batches
    assert headline == ("parent", pytest.approx(figures, abs=5e-5))
    assert gain == ("parent", {"champion_gain": 0.95})


def test_the_run_of_the_flow_gets_the_tables_of_the_comparison(logged: Any) -> None:
    assert set(logged.tables) == {
        "models.json",
        "differences.json",
        "slices.json",
        "worst_slices.json",
    }


def test_the_run_of_the_flow_names_the_models_below_the_floor(logged: Any) -> None:
    assert logged.tags["parent", "reviewlm.below_floor"] == "none"


def test_the_task_logs_its_comparison_for_each_model(
    config: RunConfig,
    grammar: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tracker = Tracker()
    monkeypatch.setattr("reviewlm.tasks.evaluation.compare.tracker_of", lambda config: tracker)
    found = compare_models.fn(config, prepared(config), models(config), "parent")
    assert found.model_named("lstm").name == "lstm"
    assert found.floor["bits_per_byte"] == pytest.approx(GRAMMAR_BITS)
    assert {run_id for run_id, _ in tracker.batches} == {f"run of {name}" for name in MODELS}
    assert tracker.adaptation == config.promotion.adaptation == STATIC


@pytest.mark.parametrize(
    ("adaptation", "baseline", "gain", "told"),
    [
        (
            "static",
            "kn5",
            0.2,
            {
                "gain": True,
                "adapts": False,
                "gap": True,
            },
        ),
        (
            "cache",
            "kn5+cache",
            0.1,
            {
                "gain": True,
                "adapts": True,
                "gap": True,
            },
        ),
        (
            "static",
            "lstm",
            0.0,
            {
                "gain": False,
                "adapts": False,
                "gap": True,
            },
        ),
        (
            "cache",
            "",
            None,
            {
                "gain": False,
                "adapts": False,
                "gap": True,
            },
        ),
    ],
)
def test_the_description_of_a_model_says_what_its_figures_are_measured_against(
    adaptation: str,
    baseline: str,
    gain: float | None,
    told: dict[str, bool],
) -> None:
    row = {
        "baseline": baseline,
        "baseline_gain": gain,
        "adaptation": adaptation,
        "gap": 0.1,
    }
    evaluated: Any = SimpleNamespace(row=lambda name: row, floor={"bits_per_byte": 0.2602})
    text = _explanation(evaluated, "lstm")
    found = {"gain": "test/baseline_gain" in text, "adapts": "adapts" in text}
    assert {**found, "gap": "test/gap" in text and "0.2602" in text} == told
    assert not told["gain"] or literal(baseline) in text


def test_an_explanation_replaces_the_one_before_it() -> None:
    tracker: Any = Tracker()
    link = "\n\n[Prefect run a](http://b)"
    for ending in ("", link):
        tracker.set_tags("run", {NOTE: f"**lstm**: static{ending}"})
        for explanation in ("over kn5.", "over kn3.", "over kn3."):
            explain_figures(tracker, "run", explanation)
        assert tracker.tag("run", NOTE) == f"**lstm**: static\n\n**Figures**: over kn3.{ending}"
        explain_figures(tracker, "run", "")
        assert tracker.tag("run", NOTE) == f"**lstm**: static{ending}"


@pytest.fixture
def described(config: RunConfig, comparison: Evaluated) -> dict[str, Any]:
    """The result of a comparison as a command gets it."""
    return describe_compared(config.baseline, comparison)


def test_the_json_has_the_figures_of_all_models(
    described: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert [model["name"] for model in described["models"]] == list(MODELS)
    test = described["models"][1]["test"]
    assert {"perplexity_lo", "gap", "gap_hi", "megabytes", "ece", "baseline_gain_lo"} <= test.keys()
    terminal.last_line(described, True)
    found = json.loads(capsys.readouterr().out)
    assert found["models"][1]["test"]["gap"] == pytest.approx(test["gap"])


def test_the_json_has_the_worst_slices_of_all_models(described: dict[str, Any]) -> None:
    assert described["slices"]["looked_at"]["stars"] == 5
    assert {row["model"] for row in described["slices"]["worst"]} == set(MODELS)


def test_the_table_on_the_terminal_fits_a_hundred_columns(
    described: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    shown_results.show_models(described)
    lines = capsys.readouterr().out.splitlines()
    table = [line for line in lines if line.startswith(("┃", "│"))]
    assert max(map(len, table)) <= 100
    assert [line.split("│")[1].strip() for line in table[1:]] == ["kn5+lstm", "lstm", "kn5"]
    assert f"{described['models'][1]['test']['open_bits_per_byte']:.3f} ±" in table[2]
    assert any("gain over kn5" in line for line in table)


@pytest.fixture
def shown_doubtful(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """Output and messages about a model below the floor whose gain may be chance."""
    figures = figures_of(scores(1.0, 1)).to_dict()
    figures |= {
        "baseline_gain": 0.01,
        "baseline_gain_lo": -0.02,
        "baseline_gain_hi": 0.04,
        "gap": -0.1,
        "below_floor": True,
    }
    figures |= {"open_bits_per_byte_lo": 0.9, "open_bits_per_byte_hi": 1.1}
    model = {
        "name": "lstm",
        "unit": "word",
        "test": figures,
    }
    floor = {"bits_per_byte": 1.1, "statement": "Nothing is below."}
    shown_results.show_models(
        {
            "models": [model],
            "baseline": "kn5",
            "floor": floor,
        }
    )
    return capsys.readouterr()


def test_a_gain_that_may_be_luck_is_marked(shown_doubtful: tuple[str, str]) -> None:
    out, _ = shown_doubtful
    assert "≈1.0%" in out
    assert "≈: may be chance" in out
    assert "±0.100" in out


def test_a_model_below_the_floor_is_a_warning(shown_doubtful: tuple[str, str]) -> None:
    _, err = shown_doubtful
    assert err.startswith("warning: lstm is significantly below the floor")
