"""ARPA files of other toolkits are read as they are meant, and what is damaged is named with its line."""

from __future__ import annotations

import gzip
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.models.base import ModelError
from reviewlm.models.ngram.tables import Tables
from reviewlm.training.ngram.arpa_reader import read_arpa
from reviewlm.training.ngram.arpa_writer import LN10
from reviewlm.training.ngram.lines.line_lm import LineLM
from reviewlm.training.ngram.lines.text_corpus import BEGIN
from tests.examples import examples

SRILM = """
\\data\\
ngram 1=6
ngram 2=4
ngram 3=3
ngram 4=1

\\1-grams:
-1.5\t<unk>
-99\t<s>\t-0.4
-0.9\t</s>
-0.7\ta\t-0.3
-0.8\tb\t-0.2
-0.6\tc\t-0.25

\\2-grams:
-0.5\t<s> a\t-0.1
-0.4\ta b\t-0.35
-0.45\tb c\t-0.15
-0.55\tc </s>

\\3-grams:
-0.2\t<s> a b\t-0.05
-0.3\ta b a
-0.33\tb c b

\\4-grams:
-0.1\t<s> a b c

\\end\\
"""


def written(
    folder,
    text: str | bytes,
    name: str = "model.arpa",
):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def decades(model: LineLM, lines: list[str]) -> list[float]:
    text = model.read_lines(lines)
    return (-model.token_nats(text)[text.ids != BEGIN] / LN10).tolist()


def equal(one: Tables, two: Tables) -> bool:
    names = one.arrays().keys()
    same = all(np.array_equal(one.arrays()[name], two.arrays()[name]) for name in names)
    return same and names == two.arrays().keys() and one.given == two.given


# log10 p as KenLM gives them: build_binary -p 6 probing model.arpa model.bin && query -v word model.bin < lines.txt
PRUNED_LINES = ["a b c", "a b a", "b c b", "a b zz c", "c b a b c a", ""]
PRUNED_SCORES = [
    -0.5,
    -0.2,
    -0.1,
    -0.7,
    -0.5,
    -0.2,
    -0.35,
    -1.2,
    -1.2,
    -0.45,
    -0.33,
    -1.1,
    -0.5,
    -0.2,
    -2.1,
    -0.6,
    -0.55,
    -1.0,
    -1.05,
    -0.9,
    -0.4,
    -0.8,
    -1.1,
    -1.2,
    -1.3,
]


def test_endings_of_ngrams_that_srilm_pruned_away_score_as_in_kenlm(tmp_path):
    model = LineLM.from_arpa(written(tmp_path, SRILM))
    assert decades(model, PRUNED_LINES) == pytest.approx(PRUNED_SCORES, abs=1e-6)
    model.to_arpa(tmp_path / "closed.arpa")
    assert decades(LineLM.from_arpa(tmp_path / "closed.arpa"), PRUNED_LINES) == pytest.approx(
        PRUNED_SCORES, abs=1e-6
    )


DIALECTS = {
    "text before it": "made by a toolkit\n\n1-grams are few\n" + SRILM.lstrip(),
    "blanks for tabs": SRILM.replace("\t", " "),
    "many blanks": re.sub(r"[\t ](?=[-\w<])", "  \t", SRILM.replace("ngram ", "ngram_")).replace(
        "ngram_", "ngram  "
    ),
    "blanks around": re.sub(r"^(-.*)$", r"  \1 \t", SRILM, flags=re.MULTILINE),
    "blanks in counts": re.sub(r"ngram (\d)=", r"ngram  \1=   ", SRILM),
    "carriage returns": SRILM.replace("\n", "\r\n"),
    "empty lines": SRILM.replace("\n-0.", "\n\n-0."),
    "no last newline": SRILM.rstrip("\n"),
    "all weights": re.sub(
        r"^(-[\d.]+\t(?:\S+|\S+ \S+|\S+ \S+ \S+))$", r"\1\t0", SRILM, flags=re.MULTILINE
    ),
    "more digits": SRILM.replace("-0.33\t", "-3.3e-1\t").replace("\t-0.4\n", "\t-0.40000\n"),
    "byte-order mark": "\ufeff" + SRILM.lstrip(),
    "capital unk": SRILM.replace("<unk>", "<UNK>"),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_dialects_of_other_toolkits_mean_the_same(dialect, tmp_path):
    expected, words = read_arpa(written(tmp_path, SRILM))
    text = DIALECTS[dialect]
    assert text != SRILM
    for found, found_words in (
        read_arpa(written(tmp_path, text, "dialect")),
        read_arpa(written(tmp_path, gzip.compress(text.encode()), "packed")),
    ):
        assert found_words == words
        assert equal(found, expected)


def test_a_file_without_unknown_words_gives_them_the_probability_that_kenlm_does(tmp_path, caplog):
    text = SRILM.replace("-1.5\t<unk>\n", "").replace("1=6", "1=5")
    model = LineLM.from_arpa(written(tmp_path, text))
    assert decades(model, ["zz"])[0] == pytest.approx(-100.4)  # -0.4 is the weight of `<s>`
    assert "no <unk>" in caplog.text


@pytest.mark.parametrize("packing", [bytes, gzip.compress])
def test_a_pipe_is_read_as_a_file_is(
    packing,
    pipe_of,
    golden_folder,
):
    text = gzip.decompress((golden_folder / "train.3.arpa.gz").read_bytes())
    assert len(text) > 20_000
    tables, words = read_arpa(pipe_of(packing(text)))
    expected, same_words = read_arpa(golden_folder / "train.3.arpa.gz")
    assert equal(tables, expected)
    assert words == same_words


def with_line(number: int, text: str) -> str:
    lines = SRILM.split("\n")
    return "\n".join([*lines[: number - 1], text, *lines[number:]])


DAMAGE = [
    (SRILM.replace("\\data\\", "data"), 31, "expected \\data\\, found the end"),
    (with_line(3, "ngram two=3"), 3, "expected ngram 1=…, found 'ngram two=3'"),
    (with_line(4, "ngram 3=3"), 4, "expected ngram 2=…"),
    (with_line(8, "\\2-grams:"), 8, "expected \\1-grams:, found '\\\\2-grams:'"),
    (with_line(12, "-0.x\ta\t-0.3"), 12, "expected log10 p, 1 word, back-off weight or none"),
    (with_line(12, "nan\ta\t-0.3"), 12, "expected log10 p"),
    (with_line(12, "-0.7"), 12, "expected log10 p"),
    (with_line(12, "-0.7\ta b\t-0.3"), 12, "expected log10 p, 1 word"),
    (with_line(13, "-0.8\ta\t-0.2"), 13, "expected each n-gram once, found '-0.8\\ta\\t-0.2'"),
    (with_line(10, "-0.9\t</t>"), 16, "expected the word <s> among the 1-grams"),
    (with_line(17, "-0.5\t<s> a b\t-0.1"), 17, "expected log10 p, 2 words"),
    (
        with_line(18, "-0.4\ta zz\t-0.35"),
        18,
        "expected log10 p, 2 words of the 1-grams, back-off weight or none",
    ),
    (with_line(19, "-0.45\tb c\tx"), 19, "expected log10 p, 2 words of the 1-grams"),
    (with_line(20, "-0.4\ta b\t-0.35"), 20, "expected each n-gram once"),
    (with_line(25, ""), 27, "expected 3 3-grams above, as \\data\\ says, found 2"),
    (with_line(28, "-0.1\t<s> a b c\t-0.2"), 28, "4 words of the 1-grams, no back-off weight"),
    (SRILM.split("\\4-grams:")[0], 27, "expected \\4-grams:, found the end of the file"),
    (SRILM.split("\\end\\")[0], 30, "expected \\end\\, found the end of the file"),
    (with_line(18, "-0.4\ta \udcff\t-0.35"), 18, "all in UTF-8, found '-0.4\\ta \\\\xff"),
]


@pytest.mark.parametrize(("text", "line", "expected"), DAMAGE)
def test_a_damaged_file_is_refused_at_its_line(
    text,
    line,
    expected,
    tmp_path,
):
    path = written(tmp_path, text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelError) as caught:
        read_arpa(path)
    assert expected in str(caught.value)
    assert f"{path}, line {line}:" in str(caught.value)
    assert caught.value.kind == "input"


@examples(60)
@given(cut=st.integers(0, len(SRILM) - 6))
def test_a_file_that_ends_early_is_never_read_as_whole(cut, tmp_path_factory):
    with pytest.raises(ModelError, match="line"):
        read_arpa(written(tmp_path_factory.getbasetemp(), SRILM[:cut], "early.arpa"))


@examples(200)
@given(
    at=st.integers(0, len(SRILM) - 1),
    put=st.sampled_from(["", "\t", "\n", "x", "-", "9", "\\", " ", "\x00", "é"]),
)
def test_a_file_with_one_wrong_sign_is_read_or_refused_never_anything_else(
    at,
    put,
    tmp_path_factory,
):
    path = written(tmp_path_factory.getbasetemp(), SRILM[:at] + put + SRILM[at + 1 :], "wrong.arpa")
    try:
        tables, words = read_arpa(path)
    except ModelError as error:
        refused = str(error)
    else:
        refused = f"line 0: expected {tables.order}"
        assert len(words) == tables.vocabulary_size in (6, 7)  # 7: the word `<unk>` itself was hit
    assert re.search("line [0-9]+: expected ", refused)


@pytest.mark.parametrize("number", ["0.9", "0.3", "1", "7"])
def test_numbers_that_are_no_logarithms_are_refused_with_their_line(number, tmp_path):
    lines = SRILM.split("\n")
    place = next(place for place, line in enumerate(lines) if line.startswith("\\2-grams")) + 1
    lines[place] = f"{number}\t" + lines[place].partition("\t")[2]
    with pytest.raises(ModelError, match=rf"line {place + 1}: expected log10 p, .* at most 0"):
        read_arpa(written(tmp_path, "\n".join(lines)))


def test_slightly_positive_logarithms_are_read_as_zero(tmp_path, caplog):
    lines = SRILM.split("\n")
    place = next(place for place, line in enumerate(lines) if line.startswith("\\2-grams")) + 1
    words = lines[place].partition("\t")[2]
    texts = [
        "\n".join([*lines[:place], f"{number}\t{words}", *lines[place + 1 :]])
        for number in ("0", "1.2e-06")
    ]
    tables = [read_arpa(written(tmp_path, text))[0] for text in texts]
    assert equal(*tables)
    assert "log p above 0" in caplog.text
