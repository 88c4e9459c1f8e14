"""All that is known of a finished run, as plain frames and dictionaries: what the report and the model card show.

Whatever a run did not measure is absent (None or empty), never a substitute; the report then leaves it out and says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from evaluation.gate.decision import Decision
from evaluation.statistics.comparison import Baseline, baseline_of
from evaluation.statistics.floor import Floor
from models.adaptation import STATIC


@dataclass(frozen=True)
class ModelResults:
    """What is known of one model.

    Args:
        name: Its name in tables.
        kind: "ngram", "lstm" …
        unit: Of its vocabulary.
        vocabulary: Digest of its vocabulary.
        adaptation: "static", or how it adapts to what it reads.
        curve: Lines of its journal (`evaluation.plots.curves.read_journal`).
        samples: Reviews that it wrote: stars, number, text.
        tokens: Token by token, of a sample of the test reviews: review_id, position, id, token, nats, rank, entropy,
            training_count, after_oov.
        reliability: Bins of the reliability diagram: bin, low, high, count, mean_probability, mean_accuracy.
        context: What its context is worth: kept, nats_per_token, reviews, tokens.
        observed: Figures of that sample: hit@k, mrr, ece, temperature …
        audit: Figures of what it writes and has learnt by heart, those of held-out reviews with `real_` before them.
        novelty: Share of n-grams that stand in the training text: n, samples, real.
        exposure: Exposure of each canary: copies, exposure.
        policies: What has to be said beside its figures.
        digests: Of its fit, its bundle, its scores.
    """

    name: str
    kind: str = ""
    unit: str = ""
    vocabulary: str = ""
    adaptation: str = STATIC
    curve: Sequence[Mapping[str, float]] = ()
    samples: pl.DataFrame | None = None
    tokens: pl.DataFrame | None = None
    reliability: pl.DataFrame | None = None
    context: pl.DataFrame | None = None
    observed: Mapping[str, Any] = field(default_factory=dict)
    audit: Mapping[str, Any] = field(default_factory=dict)
    novelty: pl.DataFrame | None = None
    exposure: pl.DataFrame | None = None
    policies: Mapping[str, str] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RunResults:
    """What is known of a run.

    Args:
        models: In the order of the configuration.
        table: `evaluation.statistics.comparison.comparison_table`: static models, then adapting ones, each best first.
        winner: The challenger: the model that was best on the validation split.
        baseline: The static model that `gain` is measured against; see `against`.
        confidence: Of the intervals.
        floor: Of the embedded corpus; None where other reviews were tested on.
        slices: `evaluation.statistics.slice_table.SLICES`.
        decision: Of the gate; None where it was not asked.
        version: Registered version of the winner; None where none was registered.
        champion: Version that is champion after the run.
        data: What is known of the reviews, by name: numbers, dates, languages, licence.
        digests: Of the data, by stage.
        run: What identifies the run: MLflow run, preset, commit, time.
        config: The whole configuration, as text.
        commands: What makes the run again, line by line.
    """

    models: Sequence[ModelResults]
    table: pl.DataFrame
    winner: str
    baseline: str = ""
    confidence: float = 0.95
    floor: Floor | None = None
    slices: pl.DataFrame | None = None
    decision: Decision | None = None
    version: int | None = None
    champion: int | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    run: Mapping[str, str] = field(default_factory=dict)
    config: str = ""
    commands: Sequence[str] = ()

    def model(self, name: str) -> ModelResults:
        """Return what is known of a model; KeyError where there is none of that name."""
        for model in self.models:
            if model.name == name:
                return model
        raise KeyError(name)

    def row(self, name: str) -> dict[str, Any]:
        """Return a model's row of the table; KeyError where there is none of that name."""
        for row in self.table.to_dicts():
            if row["model"] == name:
                return dict(row)
        raise KeyError(name)

    @property
    def against(self) -> Baseline:
        """The model that each is compared with, an adapting one for those that adapt; "" where there is none."""
        if "baseline" not in self.table.columns:
            return self.baseline
        return dict(self.table.select("model", "baseline").iter_rows())

    def shown(self, most: int) -> list[ModelResults]:
        """Return the winner, the baseline and the best others, at most so many, in the order of the configuration."""
        first = [name for name in (self.winner, baseline_of(self.against, self.winner), self.baseline) if name]
        order = dict.fromkeys([*first, *self.table["model"].to_list()])
        names = list(order)[:most]
        return [model for model in self.models if model.name in names]
