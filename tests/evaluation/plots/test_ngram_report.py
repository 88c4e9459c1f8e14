"""Tables and pictures of a comparison of n-gram models: every method is in them, also those without a number."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest

from evaluation.plots.ngram import all_figures
from evaluation.reports.ngram_report import amount_table, as_json, curve_table, method_table, write
from models.ngram.lines.text_comparison import TextComparison, compare_texts

GOLDEN = Path(__file__).parents[2] / "models" / "ngram" / "data"


@pytest.fixture(scope="module")
def found() -> TextComparison:
    return compare_texts(GOLDEN / "train.txt", GOLDEN / "held_out.txt", orders=(1, 2, 3), every=(4, 1))


def test_tables_have_a_row_per_method_amount_and_pruned_model(found: TextComparison) -> None:
    methods = {row["method"]: row for row in method_table(found.methods)}
    assert len(methods) == 9
    assert methods["maximum_likelihood"]["order 3"] == math.inf
    assert methods["maximum_likelihood"]["probability 0, order 3"] > 0
    assert [name for name in methods["katz"] if "order 3" in name] == [
        "order 3", "probability 0, order 3", "seconds, order 3",
    ]  # fmt: skip
    assert methods["stupid_backoff"]["order 3"] is None
    assert methods["stupid_backoff"]["probability 0, order 3"] is None
    assert methods["modified_kneser_ney"]["order 3"] < methods["add_k"]["order 3"]
    assert [row["text"] for row in amount_table(found.amounts)] == ["1/4", "all"]
    assert len(curve_table(found.curve)) == len(found.curve)


def test_files_hold_every_model_and_nothing_that_is_no_json(found: TextComparison, tmp_path: Path) -> None:
    files = write(found, tmp_path / "out")
    assert all(path.stat().st_size for path in files)
    rows = list(csv.DictReader((tmp_path / "out" / "models.csv").open()))
    assert len(rows) == len(found.rows)
    text = (tmp_path / "out" / "comparison.json").read_text()
    loaded = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert loaded == json.loads(json.dumps(as_json(found)))
    first = next(row for row in loaded["methods"] if (row["method"], row["order"]) == ("modified_kneser_ney", 3))
    assert {"discount/3/1", "counts_of_counts/3/1", "ngrams/3"} <= first["figures"].keys()


def test_pictures_name_what_has_no_finite_perplexity(found: TextComparison, recwarn: pytest.WarningsRecorder) -> None:
    drawn = all_figures(found)
    assert set(drawn) == {"by_order", "by_method", "by_amount", "by_size", "unseen"}
    legend = [text.get_text() for text in drawn["by_order"].axes[0].get_legend().get_texts()]
    assert {"maximum likelihood: infinite", "stupid back-off: scores, no perplexity"} <= set(legend)
    said = " ".join(text.get_text() for text in drawn["by_method"].axes[0].texts)
    assert "have probability 0" in said
    assert "no perplexity" in said
    assert not [one for one in recwarn if "matplotlib" in str(one.filename)]


def test_what_was_not_compared_is_not_drawn() -> None:
    few = compare_texts(GOLDEN / "train.txt", GOLDEN / "held_out.txt", (1,), ["witten_bell"], (1,))
    assert set(all_figures(few)) == {"by_order", "by_method", "unseen"}
