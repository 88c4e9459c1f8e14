"""ARPA files that we write: others read them, they score as the model does, and a round trip changes nothing."""

from __future__ import annotations

import errno
import gzip
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.models.ngram.lookup import Followers
from reviewlm.models.ngram.tables import Tables
from reviewlm.training.ngram.arpa_reader import read_arpa
from reviewlm.training.ngram.arpa_writer import LN10, log10_float32, write_arpa
from reviewlm.training.ngram.lines.line_lm import LineLM
from reviewlm.training.ngram.lines.text_corpus import LineCorpus
from reviewlm.training.ngram.lines.text_files import LineSpec, fit_lines
from tests.examples import examples
from tests.programs import command

LINES = ["a b", "a b c", "b", "", "c a b"]


def small(order: int = 3) -> LineLM:
    return fit_lines(LineCorpus.read(LINES), LineSpec(order=order))[0]


def equal(one: Tables, two: Tables) -> bool:
    names = one.arrays().keys()
    same = all(np.array_equal(one.arrays()[name], two.arrays()[name]) for name in names)
    return same and names == two.arrays().keys() and one.given == two.given


WRITTEN = pytest.mark.parametrize(
    ("name", "order"),
    [(name, order) for name in ("model.arpa", "model.arpa.gz") for order in (1, 2, 4)],
)


@WRITTEN
def test_a_written_model_comes_back_with_float32_values(
    name,
    order,
    tmp_path,
):
    model = small(order)
    model.to_arpa(tmp_path / name)
    back = LineLM.from_arpa(tmp_path / name)
    assert back.words == model.words
    for key, array in model.tables.arrays().items():
        if key.startswith(("words", "first")):
            assert np.array_equal(back.tables.arrays()[key], array)
        else:
            assert np.array_equal(log10_float32(back.tables.arrays()[key]), log10_float32(array))


@WRITTEN
def test_a_model_that_is_written_again_stays_the_same(
    name,
    order,
    tmp_path,
):
    small(order).to_arpa(tmp_path / name)
    back = LineLM.from_arpa(tmp_path / name)
    back.to_arpa(tmp_path / "again.arpa")
    assert equal(LineLM.from_arpa(tmp_path / "again.arpa").tables, back.tables)


@WRITTEN
def test_a_model_is_written_as_the_one_file_of_that_name(
    name,
    order,
    tmp_path,
):
    small(order).to_arpa(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    begin = (tmp_path / name).read_bytes()[:2]
    assert begin == (b"\x1f\x8b" if name.endswith("gz") else b"\\d")


@examples(200)
@given(values=st.lists(st.floats(-99, 0, width=32), min_size=2, max_size=2))
def test_any_float32_is_written_so_that_it_comes_back_exactly(values, tmp_path_factory):
    p, weight = np.array(values, np.float32).astype(np.float64) * LN10
    followers, logp = (
        Followers.from_keys(np.array([3 * 4 + 3]), 4, 4),
        np.array([-1.0, -np.inf, -1, p]),
    )
    tables = Tables(
        (followers,),
        (logp, np.array([p])),
        (np.array([0.0, 0, 0, weight]),),
        4,
        (1,),
    )
    path = tmp_path_factory.getbasetemp() / "float.arpa"
    write_arpa(path, tables, ["<unk>", "<s>", "</s>", "a"])
    back, _ = read_arpa(path)
    assert (back.logp[1][0], back.backoff[0][3]) == (p, weight)


def test_the_file_is_what_lmplz_writes_but_for_the_order_of_its_lines(
    golden_text,
    golden_folder,
    tmp_path,
):
    fit_lines(golden_text("train"), LineSpec(order=3))[0].to_arpa(tmp_path / "model.arpa")
    ours = (tmp_path / "model.arpa").read_text().splitlines()
    theirs = gzip.decompress((golden_folder / "train.3.arpa.gz").read_bytes()).decode().splitlines()
    assert [re.sub(r"^[-.e\d]+|[-.e\d]+$", "", line) for line in sorted(ours, key=ngram_of)] == [
        re.sub(r"^[-.e\d]+|[-.e\d]+$", "", line) for line in sorted(theirs, key=ngram_of)
    ]


def ngram_of(line: str) -> str:
    return line if "\t" not in line else line.split("\t")[1]


@pytest.mark.slow
@pytest.mark.drill(
    "disk full", "no space while an ARPA file is written", "one error; the old file is whole"
)
@pytest.mark.parametrize("name", ["model.arpa", "model.arpa.gz"])
def test_a_full_disk_leaves_what_was_there(name, tmp_path):
    (tmp_path / name).write_text("old")
    source = Path(__file__).parent / "data" / "train.3.arpa.gz"
    done = subprocess.run(
        command("write_arpa_in_little_space", source, tmp_path / name),
        capture_output=True,
        text=True,
    )
    assert (done.stdout.strip(), done.stderr) == (f"disk {errno.EFBIG}", "")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "old"
