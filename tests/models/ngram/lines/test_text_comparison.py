"""What is compared on plain text is what each model says alone; all rows share one vocabulary and one measured half."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.base import ModelError
from models.ngram.comparison import ALL
from models.ngram.counting.counts import count_ngrams, unseen_share
from models.ngram.fitting import fit_tables
from models.ngram.lines.line_lm import LineLM
from models.ngram.lines.text_comparison import CUTOFFS, THRESHOLDS, best_method, compare_texts
from models.ngram.lines.text_corpus import GIVEN_OF_LINES, LineCorpus
from models.specs import NGramSpec

KNESER_NEY = "modified_kneser_ney"


@pytest.fixture(scope="module")
def texts(golden_folder):
    return golden_folder / "train.txt", golden_folder / "held_out.txt"


@pytest.fixture(scope="module")
def found(texts):
    return compare_texts(*texts, orders=(1, 2, 3), every=(4, 1))


@pytest.fixture(scope="module")
def parts(texts):
    train = LineCorpus.read_file(texts[0])
    lines = texts[1].read_text().removesuffix("\n").split("\n")
    return train, LineCorpus.read(lines[1::2], train.words, "unknown")


def test_there_is_a_row_for_every_method_order_and_amount_and_the_full_text_is_fitted_once(found):
    assert [(row.order, row.method) for row in found.methods] == [(k, method) for k in (1, 2, 3) for method in ALL]
    assert {(row.order, row.every) for row in found.amounts} == {(k, every) for k in (1, 2, 3) for every in (4, 1)}
    assert {row.method for row in found.amounts} == {found.best}
    assert len(found.rows) == 3 * len(ALL) + 3


def test_every_second_line_measures_and_the_others_choose(found, parts):
    train, measured = parts
    counts = count_ngrams(train, 3, len(train.words), GIVEN_OF_LINES)
    model = LineLM(fit_tables(counts, NGramSpec(order=3)).tables, train.words)
    row = next(row for row in found.methods if (row.method, row.order) == (KNESER_NEY, 3))
    assert row.perplexity == pytest.approx(model.score_text(measured).perplexity, rel=1e-12)
    assert row.measured_on == "test"
    assert found.unseen[1] == unseen_share(counts, measured)
    assert found.tokens[2] == (measured.ids != 1).sum()
    assert found.oov == (measured.ids == 0).sum()


def test_the_curve_has_the_whole_model_and_both_ways_of_pruning(found, parts, texts):
    train, measured = parts
    assert [(point.pruning, point.threshold) for point in found.curve] == [
        ("none", 0), *(("count", t) for t in THRESHOLDS), *(("entropy", c) for c in CUTOFFS)
    ]  # fmt: skip
    for pruning in ("count", "entropy"):
        sizes = [point.ngrams for point in found.curve if point.pruning in ("none", pruning)]
        assert sizes == sorted(sizes, reverse=True)
        assert len({point.bytes for point in found.curve if point.pruning == pruning}) > 1
    counts = count_ngrams(train, 3, len(train.words), GIVEN_OF_LINES)
    chooses = LineCorpus.read(texts[1].read_text().removesuffix("\n").split("\n")[::2], train.words, "unknown")
    tables = fit_tables(counts, NGramSpec(order=3, smoothing=found.best), (0, 0, 2), held_out=chooses).tables
    point = next(point for point in found.curve if (point.pruning, point.threshold) == ("count", 2))
    assert point.ngrams == sum(map(len, tables.logp))
    assert point.perplexity == pytest.approx(LineLM(tables, train.words).score_text(measured).perplexity, rel=1e-12)


def test_maximum_likelihood_is_infinite_and_says_how_often(found, parts):
    train, measured = parts
    counts = count_ngrams(train, 3, len(train.words), GIVEN_OF_LINES)
    model = LineLM(fit_tables(counts, NGramSpec(order=3, smoothing="maximum_likelihood")).tables, train.words)
    row = next(row for row in found.methods if (row.method, row.order) == ("maximum_likelihood", 3))
    assert row.perplexity == math.inf
    assert row.zero_probability_events == np.isinf(model.token_nats(measured)).sum() > 0


def test_the_best_method_is_the_one_of_least_perplexity_at_the_highest_order(texts, found):
    at_top = {row.method: row.perplexity for row in found.methods if row.order == 3 and row.perplexity is not None}
    assert found.best == min(at_top, key=at_top.get) == best_method(found.methods)
    other = compare_texts(*texts, orders=(1, 3), methods=["witten_bell", "add_k", "maximum_likelihood"], every=(4,))
    assert other.best == "witten_bell"
    assert {(row.method, row.order, row.every) for row in other.amounts} == {
        ("witten_bell", k, every) for k in (1, 3) for every in (4, 1)
    }
    whole = next(row for row in other.methods if (row.method, row.order) == ("witten_bell", 3))
    assert other.curve[0].perplexity == pytest.approx(whole.perplexity, rel=1e-12)
    assert other.curve != found.curve


def test_where_no_method_has_a_finite_perplexity_there_is_no_best_one(texts):
    found = compare_texts(*texts, orders=(3,), methods=["maximum_likelihood", "stupid_backoff"], every=(4,))
    assert (found.best, found.amounts, found.curve) == (None, (), ())
    assert len(found.methods) == 2


def test_texts_without_lines_and_orders_that_do_not_exist_are_refused(texts, tmp_path):
    (tmp_path / "one").write_text("one line\n")
    with pytest.raises(ModelError, match="2 are needed"):
        compare_texts(texts[0], tmp_path / "one")
    with pytest.raises(ModelError, match="order is 9"):
        compare_texts(*texts, orders=(9,))
    assert np.isfinite([point.perplexity for point in compare_texts(*texts, (2,), [KNESER_NEY], (1,)).curve]).all()
