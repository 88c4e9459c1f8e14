"""The report of classifiers: the result first, every figure of the results, and no text that a browser could run."""

import pytest

from reviewlm.core.errors import as_html
from reviewlm.evaluation.classification import report
from reviewlm.evaluation.classification.compare import classifier_rows
from reviewlm.evaluation.classification.pictures import confusion_figure, drawings_of
from reviewlm.evaluation.classification.report import classifier_page
from reviewlm.evaluation.reports.report_pictures import read_drawings, write_drawings
from tests.evaluation.classification.made_answers import HOSTILE, made_classification
from tests.evaluation.reports.report_pages import Reader

SECTIONS = ["decision", "labels", "slices", "errors", "figures", "data"]


@pytest.fixture(scope="module")
def results():
    return made_classification()


@pytest.fixture(scope="module")
def drawings(results, tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawings")
    write_drawings(list(drawings_of(results)), folder)
    return read_drawings(folder)


@pytest.fixture(scope="module")
def page(results, drawings):
    return classifier_page(results, drawings).to_html()


@pytest.mark.slow
def test_the_page_is_whole_html(page):
    outline = Reader(page)
    assert outline.open == []
    assert [
        attrs["id"] for tag, attrs in outline.tags if tag == "details" and "id" in attrs
    ] == SECTIONS
    assert sum(tag == "svg" for tag, _ in outline.tags) == 2


def test_the_answer_comes_first(results, page):
    answer = page[: page.index("<details")]
    assert as_html(report.headline(results)) in answer
    assert answer.count("<blockquote>") == 3
    assert answer.count("<svg") == 1


def test_a_gain_is_said_to_be_sure_only_if_its_interval_is(results):
    assert "the baseline logistic: surely better. Promoted" in report.headline(results)
    same = results.answers["logistic"]
    rows = classifier_rows(
        {"a": same, "b": same},
        "b",
        confidence=0.95,
        resamples=100,
        seed=1,
    )
    assert "baseline" not in report.headline(
        made_classification(
            rows=rows,
            winner="a",
            baseline="b",
        )
    )
    assert report.verdict(rows[0]) == "the difference may be chance"


def test_the_confusion_matrix_shows_shares_of_the_true_label(results):
    figure = confusion_figure(results.best)
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert len(shown) == 25
    row = results.best["confusion"][4]
    assert shown[24] == f"{row[4]:,}\n{row[4] / sum(row):.1%}"


def test_the_most_frequent_confusion_is_named(results):
    confusion = results.best["confusion"]
    wrong = [(confusion[t][a], t, a) for t in range(5) for a in range(5) if t != a]
    most, true, answer = max(wrong, key=lambda each: each[0])
    expected = f"'{answer + 1}' for a true '{true + 1}', {most} of"
    assert expected in report.finding_of_confusion(results.best)


def test_the_worst_errors_come_first(results):
    rows = results.answers["lstm"]

    worst = report.worst_errors(rows, results.texts, 5)

    losses = rows.loss_N[worst].tolist()
    assert not rows.correct_N[worst].any()
    assert losses == sorted(losses, reverse=True)
    assert losses[0] == rows.loss_N[~rows.correct_N].max()


def test_no_text_of_a_review_is_run(page):
    assert HOSTILE not in page
    assert as_html(HOSTILE) in page
    assert [tag for tag, _ in Reader(page).tags].count("script") == 0


def test_no_text_of_a_review_hides_its_direction(page):
    assert "\u202e" not in page
