"""The benchmark's rows of saved n-gram models: sizes of the files, and sides that must agree."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.models.ngram_sizes import ours_in_double, size, sizes
from models.ngram.lines.text_files import fit_text

DATA = Path(__file__).parents[2] / "models/ngram/data"


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    fit_text(DATA / "train.txt", 3, binary=folder / "3")
    return folder / "3"


@pytest.mark.long
def test_a_row_has_size_opening_time_and_cost_of_a_token(single: Path) -> None:
    double = ours_in_double(single)
    rows = sizes({"single": single, "double": double}, DATA / "held_out.txt", None, 1, 1)
    assert size(single) == sum(file.stat().st_size for file in single.iterdir()) < size(double)
    for row, folder in zip(rows.values(), (single, double), strict=True):
        assert row["MiB"] == round(size(folder) / 2**20, 1)
        assert 0 < row["open_s"] < 10
        assert row["us_per_token"] > 0


@pytest.mark.long
def test_models_that_disagree_end_the_benchmark(single: Path, tmp_path: Path) -> None:
    fit_text(DATA / "train.txt", 1, binary=tmp_path / "other")
    with pytest.raises(SystemExit, match="held-out"):
        sizes({"one": single, "other": tmp_path / "other"}, DATA / "held_out.txt", None, 1, 1)
