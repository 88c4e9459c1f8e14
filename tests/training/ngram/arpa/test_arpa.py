"""ARPA files that we write: others read them, they score as the model does, and a round trip changes nothing."""

from __future__ import annotations

import errno
import gzip
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.base import ModelError
from models.ngram.tables import Tables
from models.specs import NGramSpec
from models.tokens.special import CONTEXT_IDS
from tests.examples import examples
from training.ngram.arpa.reader import read_arpa
from training.ngram.arpa.writer import LN10, log10_float32, write_arpa
from training.ngram.counting.counts import count_ngrams
from training.ngram.fit import estimate_ngrams
from training.ngram.lines.line_lm import LineLM
from training.ngram.lines.text_corpus import LineCorpus
from training.ngram.lines.text_files import fit_lines

LINES = ["a b", "a b c", "b", "", "c a b"]


def small(order: int = 3) -> LineLM:
    return fit_lines(LineCorpus.read(LINES), NGramSpec(order=order))[0]


def equal(one: Tables, two: Tables) -> bool:
    names = one.arrays().keys()
    same = all(np.array_equal(one.arrays()[name], two.arrays()[name]) for name in names)
    return same and names == two.arrays().keys() and one.given == two.given


@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("name", ["model.arpa", "model.arpa.gz"])
def test_a_written_model_comes_back_with_float32_values_and_is_then_the_same_for_ever(name, order, tmp_path):
    model = small(order)
    model.to_arpa(tmp_path / name)
    assert (tmp_path / name).read_bytes()[:2] == (b"\x1f\x8b" if name.endswith("gz") else b"\\d")
    back = LineLM.from_arpa(tmp_path / name)
    assert back.words == model.words
    for key, array in model.tables.arrays().items():
        if key.startswith(("words", "first")):
            assert np.array_equal(back.tables.arrays()[key], array)
        else:
            assert np.array_equal(log10_float32(back.tables.arrays()[key]), log10_float32(array))
    back.to_arpa(tmp_path / "again.arpa")
    again = LineLM.from_arpa(tmp_path / "again.arpa")
    assert equal(again.tables, back.tables)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({name, "again.arpa"})


@examples(200)
@given(values=st.lists(st.floats(-99, 0, width=32), min_size=2, max_size=2))
def test_any_float32_is_written_so_that_it_comes_back_exactly(values, tmp_path_factory):
    p, weight = np.array(values, np.float32).astype(np.float64) * LN10
    tables = Tables.from_keys([np.array([3 * 4 + 3])], (np.array([-1.0, -np.inf, -1, p]), np.array([p])),
                    (np.array([0.0, 0, 0, weight]),), 4, (1,))  # fmt: skip
    path = tmp_path_factory.getbasetemp() / "float.arpa"
    write_arpa(path, tables, ["<unk>", "<s>", "</s>", "a"])
    back, _ = read_arpa(path)
    assert (back.logp[1][0], back.backoff[0][3]) == (p, weight)


def test_the_file_is_what_lmplz_writes_but_for_the_order_of_its_lines(golden_text, golden_folder, tmp_path):
    fit_lines(golden_text("train"), NGramSpec(order=3))[0].to_arpa(tmp_path / "model.arpa")
    ours = (tmp_path / "model.arpa").read_text().splitlines()
    theirs = gzip.decompress((golden_folder / "train.3.arpa.gz").read_bytes()).decode().splitlines()
    assert [re.sub(r"^[-.e\d]+|[-.e\d]+$", "", line) for line in sorted(ours, key=ngram_of)] == [
        re.sub(r"^[-.e\d]+|[-.e\d]+$", "", line) for line in sorted(theirs, key=ngram_of)
    ]


def ngram_of(line: str) -> str:
    return line if "\t" not in line else line.split("\t")[1]


def test_log_zero_is_written_as_minus_99_and_what_is_given_as_0(tmp_path):
    tables = Tables((), (np.array([-np.inf, -np.inf, np.log(0.5), np.log(0.5)]),), (), 4, (1,))
    write_arpa(tmp_path / "model.arpa", tables, ["<unk>", "<s>", "</s>", "a"])
    lines = (tmp_path / "model.arpa").read_text().splitlines()
    assert lines[4:8] == ["-99.0\t<unk>", "0.0\t<s>", "-0.30103\t</s>", "-0.30103\ta"]


@pytest.mark.parametrize("words", [["<unk>", "<s>", "</s>", "a b"], ["<unk>", "<s>", "</s>", ""], ["<unk>", "<s>", "a"],
                                   ["<unk>", "<s>", "</s>", "</s>"], ["<unk>", "<s>", "</s>"]])  # fmt: skip
def test_words_that_an_arpa_file_cannot_hold_are_refused_and_nothing_is_left_behind(words, tmp_path):
    tables = Tables((), (np.log(np.full(4, 0.25)),), (), 4, (1,))
    with pytest.raises(ModelError):
        write_arpa(tmp_path / "model.arpa", tables, words)
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_is_written_into_and_stays_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(pipe.read_bytes)
        small().to_arpa(pipe)
        text = read.result(10)
    small().to_arpa(tmp_path / "file")
    assert text == (tmp_path / "file").read_bytes()
    assert pipe.is_fifo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "pipe"]


def test_a_link_stays_a_link_and_what_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "old").write_text("old")
    for name, target in (("link", "far/old"), ("dangling", "far/new")):
        (tmp_path / name).symlink_to(target)
        small().to_arpa(tmp_path / name)
        assert (tmp_path / name).is_symlink()
        assert LineLM.from_arpa(tmp_path / target).words == small().words
    assert sorted(path.name for path in (tmp_path / "far").iterdir()) == ["new", "old"]


def test_many_may_write_one_file_and_it_is_whole(tmp_path):
    models = [small(order) for order in (1, 2, 3, 4)]
    expected = set()
    for order, model in enumerate(models):
        model.to_arpa(tmp_path / f"model.{order}")
        expected.add((tmp_path / f"model.{order}").read_bytes())
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda model: model.to_arpa(tmp_path / "one.arpa"), models * 10))
    assert (tmp_path / "one.arpa").read_bytes() in expected
    assert len(list(tmp_path.iterdir())) == 5


def test_the_same_model_gives_the_same_bytes_packed_too(tmp_path):
    for name in ("a.gz", "b.gz"):
        small().to_arpa(tmp_path / name)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


@pytest.mark.slow
@pytest.mark.drill("disk full", "no space while an ARPA file is written", "one error; the old file is whole")
@pytest.mark.parametrize("name", ["model.arpa", "model.arpa.gz"])
def test_a_full_disk_is_one_error_and_leaves_what_was_there(name, tmp_path):
    (tmp_path / name).write_text("old")
    code = (
        "import resource, signal, sys; from pathlib import Path; from models.base import ModelError; "
        "from training.ngram.lines.line_lm import LineLM; model = LineLM.from_arpa(Path(sys.argv[1])); "
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: model.to_arpa(Path(sys.argv[2]))\n"
        "except ModelError as error: print(error.kind, error.__cause__.errno)"
    )
    source = Path(__file__).parents[1] / "data" / "train.3.arpa.gz"
    done = subprocess.run([sys.executable, "-c", code, source, tmp_path / name], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == (f"disk {errno.EFBIG}", "")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "old"


def test_a_model_of_reviews_is_written_with_its_star_tokens_and_scores_the_same(stream_of, reviews_of, tmp_path):
    documents = reviews_of(60, 30, 5)
    words = ("<unk>", "<s>", "</s>", *(f"<stars_{k}>" for k in range(6)), *(f"w{n}" for n in range(9, 31)))
    model = estimate_ngrams(count_ngrams(stream_of(documents), 3, 31, CONTEXT_IDS))
    write_arpa(tmp_path / "reviews.arpa", model.tables, words)
    assert (tmp_path / "reviews.arpa").read_text().startswith("# given: <stars_0> <stars_1>")
    back = LineLM.from_arpa(tmp_path / "reviews.arpa")
    assert set(back.tables.given) == CONTEXT_IDS
    for document in documents[:20]:
        line = " ".join(words[token] for token in document[1:-1])
        expected, _ = model.score(np.array([document]), model.start(1))
        assert back.score_text(back.read_lines([line])).nats == pytest.approx(expected.sum(), rel=1e-6)


def test_words_may_hold_any_sign_but_a_blank(tmp_path):
    odd = ['"', '"a', "a\x0bb", "\\", "\\data\\", "é", "\u00a0", "\x01", "#", "-1.5", "null", "\ufeff", ","]
    model = fit_lines(LineCorpus.read([" ".join(odd), " ".join(reversed(odd))]), NGramSpec(order=2))[0]
    model.to_arpa(tmp_path / "odd.arpa")
    back = LineLM.from_arpa(tmp_path / "odd.arpa")
    assert back.words == ("<unk>", "<s>", "</s>", *odd)
    assert np.array_equal(back.tables.keys[0], model.tables.keys[0])
