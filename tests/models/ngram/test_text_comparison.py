"""What is compared on plain text is what each model says alone; all rows share one vocabulary and one measured half."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.base import ModelError
from models.ngram.comparison import ALL
from models.ngram.counts import count_ngrams, unseen_share
from models.ngram.fitting import fit_tables
from models.ngram.line_lm import LineLM
from models.ngram.text_comparison import BEST, CUTOFFS, THRESHOLDS, compare_texts
from models.ngram.text_corpus import GIVEN_OF_LINES, LineCorpus
from models.specs import NGramSpec


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
    assert {row.method for row in found.amounts} == {BEST}
    assert len(found.rows) == 3 * len(ALL) + 3


def test_every_second_line_measures_and_the_others_choose(found, parts):
    train, measured = parts
    counts = count_ngrams(train, 3, len(train.words), GIVEN_OF_LINES)
    model = LineLM(fit_tables(counts, NGramSpec(order=3)).tables, train.words)
    row = next(row for row in found.methods if (row.method, row.order) == (BEST, 3))
    assert row.perplexity == pytest.approx(model.score_text(measured).perplexity, rel=1e-12)
    assert row.measured_on == "test"
    assert found.unseen[1] == unseen_share(counts, measured)
    assert found.tokens[2] == (measured.ids != 1).sum()
    assert found.oov == (measured.ids == 0).sum()


def test_the_curve_has_the_whole_model_and_both_ways_of_pruning(found, parts):
    train, measured = parts
    assert [(point.pruning, point.threshold) for point in found.curve] == [
        ("none", 0), *(("count", t) for t in THRESHOLDS), *(("entropy", c) for c in CUTOFFS)
    ]  # fmt: skip
    for pruning in ("count", "entropy"):
        sizes = [point.ngrams for point in found.curve if point.pruning in ("none", pruning)]
        assert sizes == sorted(sizes, reverse=True)
        assert len({point.bytes for point in found.curve if point.pruning == pruning}) > 1
    counts = count_ngrams(train, 3, len(train.words), GIVEN_OF_LINES)
    tables = fit_tables(counts, NGramSpec(order=3), (0, 0, 2)).tables
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


def test_a_method_left_out_leaves_the_amounts_and_the_curve_as_they_are(texts, found):
    other = compare_texts(*texts, orders=(2, 3), methods=["witten_bell"], every=(4,))
    wanted = {(row.order, row.every): row.perplexity for row in found.amounts if row.order > 1}
    assert {(row.order, row.every): row.perplexity for row in other.amounts} == wanted
    assert other.curve == found.curve


def test_texts_without_lines_and_orders_that_do_not_exist_are_refused(texts, tmp_path):
    (tmp_path / "one").write_text("one line\n")
    with pytest.raises(ModelError, match="2 are needed"):
        compare_texts(texts[0], tmp_path / "one")
    with pytest.raises(ModelError, match="order is 9"):
        compare_texts(*texts, orders=(9,))
    assert np.isfinite([point.perplexity for point in compare_texts(*texts, (2,), [BEST], (1,)).curve]).all()
