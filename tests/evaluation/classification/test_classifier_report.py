"""The report of classifiers: the result first, every figure of the results, and no text that a browser could run."""

import html
import re
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest

from core.errors import InputError, as_html
from evaluation.classification import report, tables
from evaluation.classification.report import classifier_page, drawings_of
from evaluation.classification.results import ClassificationResults, ClassifierResults
from tests.evaluation.classification.made_answers import predicted
from tests.evaluation.classification.made_classifiers import HOSTILE, made_classification

SECTIONS = ["decision", "labels", "slices", "calibration", "errors", "figures", "data"]


class Outline(HTMLParser):
    """Tags with their attributes; fails if a tag is not closed in its turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "img", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def results():
    return made_classification()


@pytest.fixture(scope="module")
def page(results):
    return classifier_page(results).to_html()


def text_of(page):
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


@pytest.mark.slow
def test_the_page_is_whole_html_with_every_section_and_drawing(page):
    outline = Outline(page)
    assert outline.open == []
    assert [attrs["id"] for tag, attrs in outline.tags if tag == "details" and "id" in attrs] == SECTIONS
    assert sum(tag == "svg" for tag, _ in outline.tags) == 2


def test_the_answer_comes_first(results, page):
    answer = page[: page.index("<details")]
    assert as_html(tables.headline(results)) in answer
    assert answer.count("<blockquote>") == 3
    assert answer.count("<svg") == 1


def test_the_table_has_every_classifier_best_first_and_the_majority_label_last(results):
    rows = tables.result(results)
    named = [row["classifier"] for row in rows]
    assert named == ["lstm", "svm (lstm)", "bag", "logistic", "always '5'"]
    levels = [results.figures[name].macro_f1 for name in results.figures]
    assert levels == sorted(levels, reverse=True)
    ends = results.intervals["lstm"]["macro_f1"]
    assert rows[0]["macro-F1"] == f"{ends.estimate:.1%} ±{50 * (ends.high - ends.low):.2g}"
    assert rows[3]["vs baseline"] == "–"
    share = np.bincount(results.classifiers[0].predicted.truth_N).max() / 600
    assert rows[-1]["accuracy"] == f"{share:.1%}"
    more = tables.result(results, tables.MORE)
    assert (more[1]["log loss"], list(more[0])) == ("–", ["classifier", *tables.MORE])


def test_a_gain_is_said_to_be_sure_only_if_its_interval_is(results):
    assert "the baseline logistic: surely better. Promoted" in tables.headline(results)
    same = results.of("logistic").predicted
    two = [ClassifierResults("a", same), ClassifierResults("b", same)]
    equal = ClassificationResults(two, winner="a", baseline="b", resamples=100)
    assert tables.headline(equal).endswith("equal to the baseline b: the difference may be chance.")
    assert "baseline" not in tables.headline(ClassificationResults(two[:1], winner="a", resamples=100))


def test_the_confusion_matrix_shows_numbers_and_shares_of_the_true_label(results):
    found = results.figures["lstm"]
    figure = report.confusion_figure(found)
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert len(shown) == 25
    number, whole = found.confusion[4][4], sum(found.confusion[4])
    assert shown[24] == f"{number:,}\n{number / whole:.1%}"
    wrong = [(found.confusion[t][a], t, a) for t in range(5) for a in range(5) if t != a]
    most, true, answer = max(wrong, key=lambda each: each[0])
    assert f"'{answer + 1}' for a true '{true + 1}', {most} of" in tables.finding_of_confusion(results)


def test_only_classifiers_with_probabilities_are_in_the_reliability_diagram(results):
    drawing = next(one for one in drawings_of(results) if one.name == "reliability")
    titles = [axes.get_title().split("\n")[0] for axes in drawing.figure.axes if axes.axison]
    assert titles == ["lstm", "bag", "logistic"]


def test_slices_are_those_of_the_winner_and_the_baseline(results):
    table = results.slices
    assert set(table["model"]) == {"lstm", "logistic"}
    assert table["dimension"].unique(maintain_order=True).to_list() == ["label", "length", "month", "category"]
    fives = table.row(by_predicate=(pl.col("model") == "lstm") & (pl.col("slice") == "5"), named=True)
    assert fives["accuracy"] == pytest.approx(results.figures["lstm"].per_label[4].recall)
    assert fives["lo"] < fives["accuracy"] < fives["hi"]
    shown = tables.by_slice(results)
    assert len(shown) == table.select("dimension", "slice").n_unique()
    assert (shown[0]["slice"], shown[0].keys() - {"slice", "reviews"}) == ("label 1", {"lstm", "logistic"})


def test_the_worst_errors_come_first_and_no_text_is_run_or_hides_its_direction(results, page):
    worst = results.worst_errors(5)
    rows = results.of("lstm").predicted
    assert not rows.correct_N[worst].any()
    losses = rows.loss_N[worst].tolist()
    assert losses == sorted(losses, reverse=True)
    assert losses[0] == rows.loss_N[~rows.correct_N].max()
    assert HOSTILE not in page
    assert as_html(HOSTILE) in page
    assert "\u202e" not in page
    assert [tag for tag, _ in Outline(page).tags].count("script") == 0


def test_without_probabilities_the_worst_errors_are_those_farthest_from_the_truth(results):
    margins = made_classification(winner="svm")
    rows = margins.of("svm").predicted
    far = np.abs(rows.answers_N - rows.truth_N)[margins.worst_errors(20)].tolist()
    assert far == sorted(far, reverse=True)
    assert far[0] == np.abs(rows.answers_N - rows.truth_N).max()


def test_what_was_not_measured_is_left_out():
    found = predicted([0, 1, 1, 0], [0, 1, 0, 0], ("bad", "good"))
    alone = ClassificationResults([ClassifierResults("bayes", found)], winner="bayes", resamples=100)
    page = classifier_page(alone)
    assert [section.anchor for section in page.sections] == ["labels"]
    assert "nan" not in text_of(page.to_html())


def test_names_of_classifiers_and_labels_are_shown_as_they_are():
    odd = ("<b>bad</b>", "$good$")
    found = predicted([0, 1, 1, 0] * 10, [0, 1, 0, 0] * 10, odd)
    results = ClassificationResults([ClassifierResults("a_<i>", found)], winner="a_<i>", resamples=100)
    page = classifier_page(results).to_html()
    assert Outline(page).open == []
    assert "<b>bad" not in page
    assert "<i>" not in page
    assert "$good$" in text_of(page)


def test_results_of_other_reviews_or_unknown_names_are_refused():
    found = predicted([0, 1], [0, 1])
    other = predicted([0, 1, 1], [0, 1, 1])
    with pytest.raises(InputError, match="'b' are not of the same reviews"):
        ClassificationResults([ClassifierResults("a", found), ClassifierResults("b", other)], winner="a")
    with pytest.raises(InputError, match="no results of this classifier") as caught:
        ClassificationResults([ClassifierResults("a", found)], winner="a", baseline="kn")
    assert (caught.value.where, caught.value.remedy) == ("baseline", "use one of: a")


@pytest.mark.slow
def test_equal_results_give_an_equal_page(page):
    assert classifier_page(made_classification()).to_html() == page
