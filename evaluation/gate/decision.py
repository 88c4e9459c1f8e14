"""Hold the decision of the gate and show it: the same facts in Markdown and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Self

from reviewlm.core.figures import HIGHER, LOWER
from reviewlm.core.output import literal, table_row
from reviewlm.evaluation.statistics.bootstrap import Interval

DIGITS = 9
"""Significant digits of a stored figure, so that a decision is the same text on every machine."""
FIGURES = {"open bits per byte": LOWER, "macro-F1": HIGHER, "accuracy": HIGHER}
"""Figures that both models have, as `Decision.figures` names them after the model; a decision has those of one kind of
model, with one direction."""
SHARE = "%"
UNITS = {
    "scored in this run": SHARE,
    "enough reviews": "groups",
    "not below the floor": "bits/byte",
    "latency": "ms",
    "size": "MB",
    "better than the baseline": SHARE,
    "not worse than the baseline": SHARE,
    "better than the champion": SHARE,
    "no slice worse": SHARE,
    "no forgetting": SHARE,
    "novelty": SHARE,
    "copied span": "words",
    "known secrets": "canaries",
    "exposure": "bits",
    "private patterns": "passages",
    "better than the majority label": SHARE,
    "no label given up": "labels",
    "gain over the champion": SHARE,
    "gain over the champion, lower end": SHARE,
    "gain over the champion, upper end": SHARE,
    "gain over the champion, confidence": SHARE,
    "champion's reviews, loss": SHARE,
    "champion's reviews, loss, lower end": SHARE,
    "champion's reviews, loss, upper end": SHARE,
}
"""Units of the values and limits of rules and of `Decision.figures`. Shares are stored as such and shown in percent."""
QUANTITIES = {
    "better than the baseline": "gain, at least ",
    "not worse than the baseline": "gain, at most ",
    "better than the champion": "gain, at least ",
    "no slice worse": "loss ",
    "no forgetting": "loss, at least ",
}
"""What the value of a rule is, where its name does not say so: of an interval it is the end that decides."""
MARKS = {True: "passed", False: "failed", None: "not applicable"}
COLUMNS = ("rule", "outcome", "value", "limit", "why")
"""Columns of the table of rules."""


@dataclass(frozen=True)
class RuleOutcome:
    """Outcome of one rule of the gate.

    Args:
        name: Name of the rule.
        passed: True, False, or None if the rule does not apply.
        detail: A sentence that gives the reason.
        value: The measured value, if it is a number.
        limit: The limit that the value is compared with.
    """

    name: str
    passed: bool | None
    detail: str
    value: float | None = None
    limit: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", rounded(self.value))
        object.__setattr__(self, "limit", rounded(self.limit))

    @classmethod
    def compared(
        cls,
        name: str,
        detail: str,
        value: float | None,
        limit: float | None,
        passes: Callable[[float, float], bool],
    ) -> Self:
        """Compare a value with its limit. No limit: the rule does not apply. A missing or NaN value: the rule fails.

        Args:
            detail: Describes the measured value, or why it is missing.
            passes: Whether a value passes a limit, e.g. `operator.le`.
        """
        if limit is None:
            return cls(name, None, f"{detail}; there is no limit", value)
        return cls(name, value is not None and passes(value, limit), detail, value, limit)

    @property
    def outcome(self) -> str:
        """Outcome in words: "passed", "failed" or "not applicable"."""
        return MARKS[self.passed]

    def row(self) -> list[str]:
        """Return its row (`COLUMNS`) of the table of rules."""
        value, limit = (shown(one, UNITS.get(self.name, "")) for one in (self.value, self.limit))
        quantity = "" if self.value is None else QUANTITIES.get(self.name, "")
        return [self.name, self.outcome, quantity + value, limit, self.detail]


@dataclass(frozen=True)
class Decision:
    """Whether the challenger becomes champion, and the outcome of every rule.

    Args:
        promote: True if and only if no rule failed.
        reason: One sentence.
        rules: In the order in which they are applied.
        metric: The figure that the models were compared by.
        challenger: Digest of its bundle.
        champion: Digest of its bundle; None if there was none.
        test_set: Digest of the test reviews that both were scored on.
        figures: Numbers of both models and of their difference.
        challenger_scores: SHA-256 of its scores used for the decision, see `evaluation.gate.language.scores_digest`.
        champion_scores: The same of the champion; None if it has no scores.
        passed_over: Why models that are better on validation were not tried, one sentence each.
        warnings: Cases where the stated chance of error is not guaranteed, one sentence each.
        champion_reviews: Digests of the champion's own test reviews and of both models' scores of them; None if none
            were scored.
    """

    promote: bool
    reason: str
    rules: tuple[RuleOutcome, ...]
    metric: str
    challenger: str
    champion: str | None
    test_set: str
    figures: Mapping[str, float | None]
    challenger_scores: str = ""
    champion_scores: str | None = None
    passed_over: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    champion_reviews: Mapping[str, str] | None = None

    def to_json(self) -> str:
        """Return the decision as JSON text with sorted keys."""
        return (
            json.dumps(asdict(self), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
            + "\n"
        )

    @classmethod
    def from_json(cls, text: str) -> Decision:
        """Read the decision that `to_json` wrote."""
        values = json.loads(text)
        rules = tuple(RuleOutcome(**rule) for rule in values["rules"])
        lists = {name: tuple(values.get(name, ())) for name in ("passed_over", "warnings")}
        return cls(**{**values, "rules": rules, **lists})

    def to_markdown(self) -> str:
        """Return the verdict, the figures of both models and the table of rules, as Markdown."""
        table = [table_row(list(COLUMNS)), "|---|---|---:|---:|---|", *map(table_row, self.rows())]
        notes = [f"- {literal(line)}" for line in self._notes()]
        return "\n".join(
            [f"### {literal(self.headline)}", "", *self._comparison_table(), *notes, "", *table, ""]
        )

    @property
    def same_model(self) -> bool:
        """Whether both models have the same scores of every test review: the champion, made again."""
        return bool(self.champion_scores) and self.challenger_scores == self.champion_scores

    @property
    def headline(self) -> str:
        """The verdict in a few words, with its reason."""
        return f"{'Promoted' if self.promote else 'Not promoted'}: {self.reason}"

    def rows(self) -> list[list[str]]:
        """Return one row (`COLUMNS`) per rule: failed rules, those that passed, those that do not apply."""
        order = (False, True, None)
        return [
            rule.row() for rule in sorted(self.rules, key=lambda rule: order.index(rule.passed))
        ]

    def _comparison_table(self) -> list[str]:
        """Return the figures that both models have as a table: one row per figure, one column per model."""
        named = [name.rpartition(", ") for name in self.figures if name.endswith(tuple(FIGURES))]
        if not named:
            return []

        models = list(dict.fromkeys(model for model, _, _ in named))
        figures = list(dict.fromkeys(figure for _, _, figure in named))
        rows = [
            [name, *(shown(self.figures.get(f"{model}, {name}")) for model in models)]
            for name in figures
        ]
        rule = f"|---|{'---:|' * len(models)}"
        return [table_row([FIGURES[figures[0]], *models]), rule, *map(table_row, rows), ""]

    def _notes(self) -> Iterator[str]:
        yield from (f"warning: {what}" for what in self.warnings)
        yield from (f"passed over: {why}" for why in self.passed_over)
        other = {
            name: value for name, value in self.figures.items() if not name.endswith(tuple(FIGURES))
        }
        yield from (
            f"{name}: {shown(value, UNITS.get(name, ''))}" for name, value in sorted(other.items())
        )


def ends(name: str, interval: Interval) -> dict[str, float]:
    """Return a figure and the ends of its interval, by the names that they have in `Decision.figures`."""
    return {
        name: interval.estimate,
        f"{name}, lower end": interval.low,
        f"{name}, upper end": interval.high,
    }


def rounded(value: float | None) -> float | None:
    """Return a finite number with nine significant digits; None for numbers that JSON does not allow."""
    return float(f"{value:.{DIGITS}g}") if value is not None and math.isfinite(value) else None


def shown(value: float | None, unit: str = "") -> str:
    """Return a figure as text for tables, with its unit."""
    if value is None:
        return "–"
    if unit == SHARE:
        return f"{100 * value:.4g}%"
    if not unit:
        return f"{value:.6g}"

    return (
        f"{value:,.0f} {unit}"
        if float(value).is_integer() or abs(value) >= 1000
        else f"{value:.4g} {unit}"
    )
