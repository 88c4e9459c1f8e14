"""Hold the decision of the gate and show it: the same facts in Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace

from reviewlm.core.figures import ACCURACY, BITS, CHAMPION_GAIN, MACRO_F1
from reviewlm.core.output import literal, table_row
from reviewlm.evaluation.gate.rule_table import (
    BETTER_THAN_CHAMPION,
    RULES,
    SHARE,
    RuleOutcome,
    show_figure,
)
from reviewlm.evaluation.statistics.bootstrap import Interval

FIGURES = {figure.words: figure.better for figure in (BITS, MACRO_F1, ACCURACY)}
"""Figures that both models have, as `Decision.figures` names them after the model; a decision has those of one kind of
model, with one direction."""
CHAMPIONS_LOSS = "champion's reviews, loss"
SHARES = tuple(
    f"{of}{end}"
    for of in (CHAMPION_GAIN.words, CHAMPIONS_LOSS)
    for end in ("", ", lower end", ", upper end", ", confidence")
)
"""Names of `Decision.figures` that are shares; they are stored as such and shown in percent."""
COLUMNS = ("rule", "outcome", "value", "limit", "why")
"""Columns of the table of rules."""


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

    def with_no_network(self, why: str) -> Decision:
        """Return the decision with a reason that also says why no network was trained."""
        return replace(self, reason=f"{self.reason} (no network was trained: {why})")

    def to_json(self) -> str:
        """Return the decision as JSON text with sorted keys."""
        return (
            json.dumps(
                asdict(self),
                indent=2,
                sort_keys=True,
                ensure_ascii=False,
                allow_nan=False,
            )
            + "\n"
        )

    @classmethod
    def from_json(cls, text: str) -> Decision:
        """Read the decision that `to_json` wrote."""
        values = json.loads(text)
        rules = tuple(RuleOutcome(**rule) for rule in values["rules"])
        lists = {name: tuple(values.get(name, ())) for name in ("passed_over", "warnings")}
        return cls(
            **{
                **values,
                "rules": rules,
                **lists,
            }
        )

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

    @property
    def brief_reason(self) -> str:
        """Why, in at most 20 letters: of a refusal what the first rule that failed says of it."""
        failed = [rule.name for rule in self.rules if rule.passed is False]
        most = self.figures.get(f"{CHAMPION_GAIN.words}, upper end")
        if failed and failed[0] == BETTER_THAN_CHAMPION.name and most is not None and most < 0:
            return "surely worse"
        if failed:
            return RULES[failed[0]].refusal if failed[0] in RULES else failed[0][:20]
        if self.champion is None:
            return "first model"
        return "better" if self.champion_scores else "champion lost"

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
        rows = []
        for name in figures:
            rows.append(
                [name, *(show_figure(self.figures.get(f"{model}, {name}")) for model in models)]
            )

        rule = f"|---|{'---:|' * len(models)}"
        return [table_row([FIGURES[figures[0]], *models]), rule, *map(table_row, rows), ""]

    def _notes(self) -> Iterator[str]:
        yield from (f"warning: {what}" for what in self.warnings)
        yield from (f"passed over: {why}" for why in self.passed_over)
        other = {}
        for name, value in self.figures.items():
            if not name.endswith(tuple(FIGURES)):
                other[name] = value

        yield from (
            f"{name}: {show_figure(value, unit_of(name))}" for name, value in sorted(other.items())
        )


def unit_of(figure: str) -> str:
    """Return the unit of one of `Decision.figures`, by its name."""
    return SHARE if figure in SHARES else ""


def ends(name: str, interval: Interval) -> dict[str, float]:
    """Return a figure and the ends of its interval, by the names that they have in `Decision.figures`."""
    return {
        name: interval.estimate,
        f"{name}, lower end": interval.low,
        f"{name}, upper end": interval.high,
    }
