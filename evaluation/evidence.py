"""What a decision of the gate rests on: scores made now, and what was found out about both models."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from evaluation.metrics import Figures
from models.adaptation import STATIC


@dataclass(frozen=True)
class Evidence:
    """All that a decision rests on.

    Args:
        challenger: Rows of `evaluation.score.score_stream`, scored now.
        challenger_digest: Digest of the challenger's bundle.
        challenger_test: Digest of the test reviews that it was scored on.
        champion: The same of the champion; None where there is none yet.
        champion_digest: See above.
        champion_test: See above.
        challenger_adaptation: "static", or how the challenger adapts to the text that it is scored on.
        champion_adaptation: The same of the champion.
        baseline: Figures of the baseline named in the configuration, on the same reviews.
        baseline_name: Its name.
        baseline_digest: Digest of its bundle.
        checks_passed: Whether the data checks passed; None where they were not run.
        checks_detail: What they said.
        leak_free: Whether a certificate, verified now, says that no review of the test set stands in the training data,
            exactly or nearly; None where there is none.
        leak_detail: What it said, and what is known of the champion's training data.
        leak_test: Digest of the test reviews that it is of, to be compared with those that were scored.
        unfair: Why the challenger has an advantage that the figures do not charge for (it folds case where the
            champion does not, say); empty where it has none.
        smoke_passed: Whether the registered model answered in a fresh process; None where it was not asked.
        smoke_detail: What it said.
        resamples: Draws of the bootstrap.
        seed: Of the bootstrap.
    """

    challenger: pl.DataFrame
    challenger_digest: str
    challenger_test: str
    champion: pl.DataFrame | None = None
    champion_digest: str | None = None
    champion_test: str | None = None
    challenger_adaptation: str = STATIC
    champion_adaptation: str = STATIC
    baseline: Figures | None = None
    baseline_name: str = "baseline"
    baseline_digest: str | None = None
    checks_passed: bool | None = None
    checks_detail: str = ""
    leak_free: bool | None = None
    leak_detail: str = ""
    leak_test: str = ""
    unfair: str = ""
    smoke_passed: bool | None = None
    smoke_detail: str = ""
    resamples: int = 10_000
    seed: int = 1

    @property
    def challenger_named(self) -> str:
        """The name that the challenger's figures stand under."""
        return _named("challenger", self.challenger_adaptation)

    @property
    def champion_named(self) -> str:
        """The name that the champion's figures stand under."""
        return _named("champion", self.champion_adaptation)

    @property
    def other_adaptation(self) -> str:
        """What has to be said where one of the two adapts and the other does not, or otherwise; else empty."""
        if self.champion_digest is None or self.challenger_adaptation == self.champion_adaptation:
            return ""
        return f"the challenger's figures are {self.challenger_adaptation}, the champion's {self.champion_adaptation}"


def _named(who: str, adaptation: str) -> str:
    return who if adaptation == STATIC else f"{who} ({adaptation})"
