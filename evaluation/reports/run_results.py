"""Hold the results of a finished run as plain frames and dictionaries, for the report and the model card.

Results that a run did not measure are absent (None or empty), never replaced by a substitute; the report leaves them
out and says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from reviewlm.evaluation.gate.decision import Decision
from reviewlm.evaluation.statistics.comparison import Baseline, baseline_of


@dataclass(frozen=True)
class ModelResults:
    """Results of one model.

    Args:
        name: Name of the model in tables.
        curve: Lines of its journal (`journal_lines`). Networks measure a part of the validation
            reviews there.
        kept: Of a network: tokens seen by the weights that were kept, and their perplexity on all validation reviews.
        samples: Reviews that it wrote: stars, number, text, ended.
        reliability: Bins of the reliability diagram: bin, low, high, count, mean_probability, mean_accuracy.
        observed: Figures of a sample of the test reviews: hit@k, mrr, ece …
        audit: Figures of its generated and memorised text; those of held-out reviews have the prefix `real_`.
        novelty: Share of n-grams that occur in the training text: n, samples, real.
        policies: Policies without which its figures cannot be interpreted.
        digests: Digests of its fit, its bundle, its scores.
    """

    name: str
    curve: Sequence[Mapping[str, float]] = ()
    samples: pl.DataFrame | None = None
    reliability: pl.DataFrame | None = None
    observed: Mapping[str, Any] = field(default_factory=dict)
    audit: Mapping[str, Any] = field(default_factory=dict)
    novelty: pl.DataFrame | None = None
    kept: tuple[float, float] | None = None
    policies: Mapping[str, str] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RunResults:
    """Results of a run.

    Args:
        models: In the order of the configuration.
        table: `evaluation.statistics.comparison.comparison_table`: static models, then adaptive ones, each best first.
        winner: The challenger: the model that was best on the validation split.
        baseline: The static model that `baseline_gain` is measured against; see `against`.
        confidence: Confidence of the intervals.
        floor: Bits per byte of the grammar that wrote the reviews; None if the test reviews are others.
        slices: `reviewlm.evaluation.statistics.slice_table.SLICES`.
        decision: Decision of the gate; None if the gate was not run.
        version: Registered version of the winner; None if none was registered.
        champion: Version that is champion after the run.
        data: Facts about the reviews, by name: numbers, dates, languages, licence.
        digests: Digests of the data, by stage.
        run: Identification of the run: preset, start, duration, commit, MLflow run.
        config: The whole configuration, as text.
        commands: Commands that repeat the run, line by line.
        links: Pages about the run, by name: address, or path from the folder of the report.
        before: Record of the run that made the champion (`evaluation.reports.run_record.record_of`); None if it is not
            known or there was no champion.
        notices: Sentences that a reader must know before the figures: was the plan of `--minutes` kept, was the machine
            busy, files that were set aside, too little or too much training.
        source: The data in a few words, for the title: "yelp.csv, 2,000 reviews".
        name: Name of the registered model.
    """

    models: Sequence[ModelResults]
    table: pl.DataFrame
    winner: str
    baseline: str = ""
    confidence: float = 0.95
    floor: float | None = None
    slices: pl.DataFrame | None = None
    decision: Decision | None = None
    version: int | None = None
    champion: int | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    run: Mapping[str, str] = field(default_factory=dict)
    config: str = ""
    commands: Sequence[str] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    before: Mapping[str, Any] | None = None
    notices: Sequence[str] = ()
    source: str = ""
    name: str = "reviewlm"

    def model(self, name: str) -> ModelResults:
        """Return the results of a model; KeyError if there is none of that name."""
        return {model.name: model for model in self.models}[name]

    def row(self, name: str) -> dict[str, Any]:
        """Return a model's row of the table; KeyError if there is none of that name."""
        return {str(row["model"]): row for row in self.table.to_dicts()}[name]

    @property
    def against(self) -> Baseline:
        """The model that each model is compared with, an adaptive one for adaptive models; "" if there is none."""
        if "baseline" not in self.table.columns:
            return self.baseline
        return dict(self.table.select("model", "baseline").iter_rows())

    @property
    def order(self) -> list[str]:
        """Names of the models: the winner, the baseline, then the best others."""
        first = (self.winner, baseline_of(self.against, self.winner), self.baseline)
        return list(
            dict.fromkeys(name for name in (*first, *self.table["model"].to_list()) if name)
        )

    def shown(self, most: int) -> list[ModelResults]:
        """Return the first *most* models of `order`."""
        return [self.model(name) for name in self.order[:most]]
