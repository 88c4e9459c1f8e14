"""Write the report of classifiers: the answer first, the reasons for it folded (`evaluation/reports/report.py`).

Path("classifiers.html").write_text(classifier_page(results, drawings).to_html(), encoding="utf-8")
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from reviewlm.core.figures import (
    ACCURACY,
    CLASSIFIER_FIGURE,
    CLASSIFIER_FIGURES,
    MACRO_F1,
    MAYBE,
    MORE,
    NONE,
    figures_at,
)
from reviewlm.core.figures import ANSWER as FIRST_TABLE
from reviewlm.evaluation.classification.answers import Predicted
from reviewlm.evaluation.gate.decision import Decision
from reviewlm.evaluation.reports.document import (
    Page,
    PageSection,
    PageTable,
    Part,
    Picture,
    Quote,
)
from reviewlm.evaluation.reports.report import answer_page, beside, decision_sections
from reviewlm.evaluation.reports.report_pictures import ANSWER, WEAK, WrittenDrawing
from reviewlm.evaluation.reports.report_tables import (
    Columns,
    Row,
    outcome,
    shown_columns,
    title,
)
from reviewlm.evaluation.statistics.slices import slice_name

ABOUT = (
    "{reviews:,} test reviews{groups}, best macro-F1 first. ±: half of the {confidence:.0%} interval. Mean error: "
    "distance of answer and truth; lower is better. Points over {baseline}: difference of macro-F1; {maybe}: may be "
    "chance."
)
ERRORS = 10
FIRST_ERRORS = 3
"""Number of errors that are shown with their texts, and of those that are not folded."""
MOST_CHARACTERS = 1_200


@dataclass(frozen=True)
class ClassificationResults:
    """Results of the classifiers of a run.

    Args:
        rows: `reviewlm.evaluation.classification.compare.classifier_rows`.
        answers: Answers to the test reviews by classifier.
        winner: Name of the challenger: the classifier that was best on the validation reviews.
        baseline: Name of the classifier that the others are compared with.
        slices: Accuracy by slice of some of them (`reviewlm.evaluation.classification.slices.ACCURACIES`).
        texts: Text of the test reviews by id, for those that may be shown; empty if none may.
        costs: By classifier its kind, size and times, by name.
        decision: Decision of the gate; None if the gate was not run.
        run: Facts about the run, by name, for the first lines.
        data: Facts about the data, by name.
        links: Addresses by name.
        confidence: Confidence of the intervals.
        source: The data in a few words, for the title.
        name: Name of the registered model.
        version: Registered version of the winner; None if none was registered.
    """

    rows: Sequence[Row]
    answers: Mapping[str, Predicted]
    winner: str
    baseline: str
    slices: pl.DataFrame
    texts: Mapping[str, str] = field(default_factory=dict)
    costs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    decision: Decision | None = None
    run: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    confidence: float = 0.95
    source: str = ""
    name: str = ""
    version: int | None = None

    @property
    def best(self) -> Row:
        """The row of the winner."""
        return next(row for row in self.rows if row["name"] == self.winner)


def _calibration(row: Row) -> str:
    error = row.get("calibration_error")
    chance = row.get("calibration_chance")
    if error is None or chance is None:
        return NONE
    return f"{error:.3f} (chance {chance:.3f})"


def _columns(place: str, baseline: str) -> Columns:
    """Return the columns of a table of classifiers: heading, and the text of a row's figure."""
    return {
        figure.heading(baseline): figure.text for figure in figures_at(place, CLASSIFIER_FIGURES)
    }


def headline(results: ClassificationResults) -> str:
    """Return how good the winner is, against what, and what the gate decided."""
    row = results.best
    accuracy = ACCURACY.number(row["accuracy"])
    scores = f"a macro-F1 of {MACRO_F1.number(row['macro_f1'])} and an accuracy of {accuracy}"
    level = ACCURACY.number(row["majority_accuracy"])
    majority = f"always answering '{row['majority_label']}' has {level}"
    sentence = f"{results.winner} has {scores} on the test reviews; {majority}."
    if gain := row.get("gain_macro_f1"):
        far = f"{100 * abs(gain):.1f} points {'above' if gain > 0 else 'below'}"
        sentence += f" Its macro-F1 is {far} the baseline {results.baseline}: {verdict(row)}."

    if results.decision is None:
        return sentence

    return f"{sentence} {outcome(results.decision, results.version, None)}"


def verdict(row: Row) -> str:
    """Return the meaning of the interval of a gain in macro-F1 in words; the gate asks more than this."""
    low = row.get("gain_macro_f1_lo")
    high = row.get("gain_macro_f1_hi")
    if low is None or high is None:
        return "the difference has no interval"
    if low > 0:
        return "surely better"
    return "surely worse" if high < 0 else "the difference may be chance"


def per_label(row: Row) -> list[Row]:
    """Return the figures of each label of a classifier, with intervals."""
    rows = []
    for one in row["per_label"]:
        figures = {name: one[name] for name in ("label", "reviews", "answered")}
        for name in ("precision", "recall", "f1"):
            figure = CLASSIFIER_FIGURE[name]
            figures[figure.words] = figure.text(one)
        rows.append(figures)

    return rows


def comparison_rows(results: ClassificationResults) -> list[Row]:
    """Return one row per comparison with the baseline, on the same reviews."""
    table = []
    for row in results.rows:
        if "alone_right" not in row:
            continue

        line = {
            "classifier": row["name"],
            "alone right": row["alone_right"],
            "baseline alone right": row["baseline_alone_right"],
            "points of accuracy": CLASSIFIER_FIGURE["gain_accuracy"].text(row),
            "verdict on macro-F1": verdict(row),
        }
        table.append(line)

    return table


def by_slice(results: ClassificationResults) -> list[Row]:
    """Return the accuracy of each classifier on each slice, with intervals."""
    rows: dict[tuple[str, str], Row] = {}
    for one in results.slices.iter_rows(named=True):
        row = rows.setdefault(
            (one["dimension"], one["slice"]), {"slice": slice_name(one), "reviews": one["reviews"]}
        )
        ends = {f"{ACCURACY.name}_lo": one["lo"], f"{ACCURACY.name}_hi": one["hi"]}
        row[one["model"]] = ACCURACY.text({ACCURACY.name: one["accuracy"], **ends})

    return list(rows.values())


def finding_of_confusion(row: Row) -> str:
    """Return the most frequent kind of error of a classifier."""
    wrong = []
    for true, numbers in zip(row["labels"], row["confusion"], strict=True):
        for answer, number in zip(row["labels"], numbers, strict=True):
            if true != answer and number:
                wrong.append((number, true, answer))

    if not wrong:
        return "There is no error."

    number, true, answer = max(wrong, key=lambda each: each[0])
    return f"Most frequent error: '{answer}' for a true '{true}', {number:,} of {sum(each[0] for each in wrong):,}."


def finding_of_slices(results: ClassificationResults) -> str:
    """Return the slice on which the winner has the lowest accuracy."""
    slices = results.slices.filter(model=results.winner).sort("accuracy", "dimension", "slice")
    if slices.is_empty():
        return "No slice has enough reviews."
    worst = slices.row(0, named=True)
    return f"Lowest accuracy: {slice_name(worst)}, {worst['accuracy']:.1%}."


def worst_errors(
    predicted: Predicted,
    texts: Mapping[str, str],
    count: int,
) -> list[int]:
    """Return the rows of wrong answers with a known text that cost most, the worst first.

    The cost is −log p(true label). Without probabilities, it is the distance of answer and truth if the labels are
    numbers; otherwise all wrong answers cost the same.
    """
    cost_N = predicted.loss_N
    values_K = predicted.values_K
    if cost_N is None and values_K is not None:
        cost_N = np.abs(values_K[predicted.answers_N] - values_K[predicted.truth_N])

    mistakes = [
        row
        for row in np.flatnonzero(~predicted.correct_N).tolist()
        if predicted.review_ids[row] in texts
    ]
    if cost_N is None:
        cost_N = np.zeros(len(predicted))

    order_N = -np.nan_to_num(cost_N, nan=np.inf)
    return sorted(mistakes, key=lambda row: (order_N[row], predicted.review_ids[row]))[:count]


def classifier_page(results: ClassificationResults, drawings: Sequence[WrittenDrawing]) -> Page:
    """Return the whole page, with the drawings of `reviewlm.evaluation.classification.pictures.drawings_of`."""
    errors = list(_errors(results))
    first: list[PageTable | Picture] = [
        _table_of_classifiers(results),
        *_pictures(drawings, ANSWER),
    ]
    answer: list[Part] = [first, errors[:FIRST_ERRORS]]
    data = []
    if results.data:
        data.append(PageTable.facts(results.data))

    sections = [
        *decision_sections(results.decision),
        *_sections_of_weakness(results, _pictures(drawings, WEAK)),
        _section_of_errors(errors[FIRST_ERRORS:]),
        _section_of_figures(results),
        PageSection("Data", data, "data"),
    ]
    name = title(results.source, results.name, results.version, results.decision)
    return answer_page(
        name,
        results.run,
        headline(results),
        results.decision,
        results.links,
        answer,
        sections,
    )


def _pictures(drawings: Sequence[WrittenDrawing], section: str) -> list[Picture]:
    """Return the pictures of a section."""
    return [drawing.picture for drawing in drawings if drawing.section == section]


def _table_of_classifiers(results: ClassificationResults) -> PageTable:
    """Return the first table: each classifier, and that of always the most frequent label."""
    best = results.best
    groups = ""
    if best["groups"] != best["reviews"]:
        groups = f" in {best['groups']:,} groups of dependent reviews"

    about = ABOUT.format(
        reviews=best["reviews"],
        groups=groups,
        confidence=results.confidence,
        baseline=results.baseline,
        maybe=MAYBE,
    )
    always = {"name": f"always '{best['majority_label']}'", "accuracy": best["majority_accuracy"]}
    rows = shown_columns(
        "classifier", [*results.rows, always], _columns(FIRST_TABLE, results.baseline)
    )
    return PageTable.of(rows, about, results.rows.index(best))


def _sections_of_weakness(
    results: ClassificationResults, pictures: Sequence[Picture]
) -> Iterator[PageSection]:
    """Yield which labels are confused, and on which slices the winner is weak."""
    best = results.best
    labels = PageTable.of(per_label(best))
    yield PageSection("Which labels are confused", [labels], "labels", finding_of_confusion(best))

    about = "Accuracy; of a label its recall. Slices overlap, and among many of them some look bad by chance."
    slices = beside(by_slice(results), about, pictures)
    yield PageSection("Where it is weak", [slices], "slices", finding_of_slices(results))


def _section_of_errors(errors: Sequence[Quote]) -> PageSection:
    """Return the errors that the first screen does not show."""
    about = (
        "Read them before you trust a figure: some labels are wrong, and some texts do not tell."
    )
    return PageSection("Worst errors", [about, errors] if errors else [], "errors")


def _section_of_figures(results: ClassificationResults) -> PageSection:
    """Return further figures, the comparisons with the baseline, size and time."""
    costs = [{"classifier": name, **of} for name, of in results.costs.items()]
    against = f"Against the baseline {results.baseline}, on the same reviews"
    more = shown_columns(
        "classifier",
        results.rows,
        {**_columns(MORE, results.baseline), "calibration error": _calibration},
    )
    tables = [
        PageTable.of(more, "Kappa: higher is better; the others: lower is better"),
        PageTable.of(comparison_rows(results), against),
        PageTable.of(costs, "Size and time, measured once"),
    ]
    return PageSection("More figures", tables, "figures")


def _errors(results: ClassificationResults) -> Iterator[Quote]:
    """Yield the winner's worst errors with true label and answer, and their probabilities."""
    predicted = results.answers[results.winner]
    for row in worst_errors(predicted, results.texts, ERRORS):
        answers = []
        for what, number in (
            ("true", predicted.truth_N[row]),
            ("answered", predicted.answers_N[row]),
        ):
            table_NK = predicted.probabilities_NK
            probability = ""
            if table_NK is not None:
                probability = f" ({table_NK[row, number]:.2%})"

            answers.append(f"{what} {predicted.labels[number]}{probability}")
        text = results.texts[predicted.review_ids[row]]
        if len(text) <= MOST_CHARACTERS:
            cut = text
        else:
            cut = f"{text[:MOST_CHARACTERS]} …"

        yield Quote(cut, f"{', '.join(answers)} · {predicted.review_ids[row]}")
