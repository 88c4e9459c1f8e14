"""ARPA files: what we write others read, what others write we read, and what is damaged is named with its line."""

from __future__ import annotations

import gzip
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.base import ModelError
from models.ngram.arpa import LN10, arpa_words, log10_float32, write_arpa
from models.ngram.arpa_reader import read_arpa
from models.ngram.counts import count_ngrams
from models.ngram.line_lm import LineLM
from models.ngram.lm import NGramLM
from models.ngram.tables import Tables
from models.ngram.text_corpus import BEGIN, UNK, LineCorpus
from models.ngram.text_files import fit_lines
from models.specs import NGramSpec
from models.vocabulary import GIVEN

LINES = ["a b", "a b c", "b", "", "c a b"]
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


def small(order: int = 3) -> LineLM:
    return fit_lines(LineCorpus.read(LINES), NGramSpec(order=order))[0]


def written(folder, text: str | bytes, name: str = "model.arpa"):
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


@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("name", ["model.arpa", "model.arpa.gz"])
def test_a_written_model_comes_back_with_float32_values_and_is_then_the_same_for_ever(name, order, tmp_path):
    model = small(order)
    model.to_arpa(tmp_path / name)
    assert (tmp_path / name).read_bytes()[:2] == (b"\x1f\x8b" if name.endswith("gz") else b"\\d")
    back = LineLM.from_arpa(tmp_path / name)
    assert back.words == model.words
    for key, array in model.tables.arrays().items():
        if key.startswith("keys"):
            assert np.array_equal(back.tables.arrays()[key], array)
        else:
            assert np.array_equal(log10_float32(back.tables.arrays()[key]), log10_float32(array))
    back.to_arpa(tmp_path / "again.arpa")
    again = LineLM.from_arpa(tmp_path / "again.arpa")
    assert equal(again.tables, back.tables)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({name, "again.arpa"})


@settings(max_examples=200, deadline=None)
@given(values=st.lists(st.floats(-99, 0, width=32), min_size=2, max_size=2))
def test_any_float32_is_written_so_that_it_comes_back_exactly(values, tmp_path_factory):
    p, weight = np.array(values, np.float32).astype(np.float64) * LN10
    tables = Tables((np.array([3 * 4 + 3]),), (np.array([-1.0, -np.inf, -1, p]), np.array([p])),
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


def test_a_model_of_reviews_is_written_with_its_star_tokens_and_scores_the_same(stream_of, reviews_of, tmp_path):
    documents = reviews_of(60, 30, 5)
    names = [*"0123456789"[:9], "two words", *(f"w{n}" for n in range(10, 29)), "w10", "line\nbreak"]

    class Named:
        size = 31

        def token(self, token: int) -> str:
            return f"<stars_{token - 3}>" if 3 <= token < 9 else names[token]

    model = NGramLM.from_counts(count_ngrams(stream_of(documents), 3, 31, GIVEN))
    words = arpa_words(Named())
    assert words[9] == "two\\swords"
    assert words[29:] == ("w10\\29", "line\\nbreak")
    write_arpa(tmp_path / "reviews.arpa", model.tables, words)
    assert (tmp_path / "reviews.arpa").read_text().startswith("# given: <stars_0> <stars_1>")
    back = LineLM.from_arpa(tmp_path / "reviews.arpa")
    assert set(back.tables.given) == GIVEN
    for document in documents[:20]:
        line = " ".join(words[token] for token in document[1:-1])
        expected, _ = model.score(np.array([document]), model.start(1))
        assert back.score_text(back.read_lines([line])).nats == pytest.approx(expected.sum(), rel=1e-6)


# log10 p as KenLM gives them: build_binary -p 6 probing model.arpa model.bin && query -v word model.bin < lines.txt
PRUNED_LINES = ["a b c", "a b a", "b c b", "a b zz c", "c b a b c a", ""]
PRUNED_SCORES = [
    -0.5, -0.2, -0.1, -0.7, -0.5, -0.2, -0.35, -1.2, -1.2, -0.45, -0.33, -1.1, -0.5, -0.2, -2.1, -0.6, -0.55,
    -1.0, -1.05, -0.9, -0.4, -0.8, -1.1, -1.2, -1.3,
]  # fmt: skip


def test_endings_of_ngrams_that_srilm_pruned_away_score_as_in_kenlm(tmp_path):
    model = LineLM.from_arpa(written(tmp_path, SRILM))
    assert decades(model, PRUNED_LINES) == pytest.approx(PRUNED_SCORES, abs=1e-6)
    model.to_arpa(tmp_path / "closed.arpa")
    assert decades(LineLM.from_arpa(tmp_path / "closed.arpa"), PRUNED_LINES) == pytest.approx(PRUNED_SCORES, abs=1e-6)


def test_beginnings_that_were_pruned_away_come_back_too(tmp_path):
    text = SRILM.replace("-0.2\t<s> a b\t-0.05\n", "").replace("-0.4\ta b\t-0.35\n", "")
    model = LineLM.from_arpa(written(tmp_path, text.replace("2=4", "2=3").replace("3=3", "3=2")))
    # b after `<s> a`: -0.1 (its weight) - 0.3 (of `a`) - 0.8; the 4-gram `<s> a b c` is still found
    assert decades(model, ["a b c"]) == pytest.approx([-0.5, -1.2, -0.1, -0.7], abs=1e-6)


DIALECTS = {
    "text before it": "made by a toolkit\n\n1-grams are few\n" + SRILM.lstrip(),
    "blanks for tabs": SRILM.replace("\t", " "),
    "many blanks": re.sub(r"[\t ](?=[-\w<])", "  \t", SRILM.replace("ngram ", "ngram_")).replace("ngram_", "ngram  "),
    "blanks around": re.sub(r"^(-.*)$", r"  \1 \t", SRILM, flags=re.MULTILINE),
    "blanks in counts": re.sub(r"ngram (\d)=", r"ngram  \1=   ", SRILM),
    "carriage returns": SRILM.replace("\n", "\r\n"),
    "empty lines": SRILM.replace("\n-0.", "\n\n-0."),
    "no last newline": SRILM.rstrip("\n"),
    "all weights": re.sub(r"^(-[\d.]+\t(?:\S+|\S+ \S+|\S+ \S+ \S+))$", r"\1\t0", SRILM, flags=re.MULTILINE),
    "more digits": SRILM.replace("-0.33\t", "-3.3e-1\t").replace("\t-0.4\n", "\t-0.40000\n"),
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


def test_probabilities_above_1_are_taken_as_1_and_reported(tmp_path, caplog):
    model = LineLM.from_arpa(written(tmp_path, SRILM.replace("-0.1\t<s> a b c", "0.0001\t<s> a b c")))
    assert decades(model, ["a b c"])[2] == 0
    assert "above 0 in 1 entries" in caplog.text


def test_words_may_hold_any_sign_but_a_blank(tmp_path):
    odd = ['"', '"a', "a\x0bb", "\\", "\\data\\", "é", "\u00a0", "\x01", "#", "-1.5", "null", "\ufeff", ","]
    model = fit_lines(LineCorpus.read([" ".join(odd), " ".join(reversed(odd))]), NGramSpec(order=2))[0]
    model.to_arpa(tmp_path / "odd.arpa")
    back = LineLM.from_arpa(tmp_path / "odd.arpa")
    assert back.words == ("<unk>", "<s>", "</s>", *odd)
    assert np.array_equal(back.tables.keys[0], model.tables.keys[0])


def with_line(number: int, text: str) -> str:
    lines = SRILM.split("\n")
    return "\n".join([*lines[: number - 1], text, *lines[number:]])


DAMAGE = [
    (SRILM.replace("\\data\\", "data"), 31, "expected \\data\\, found the end"),
    (with_line(3, "ngram two=3"), 3, "expected ngram 1=…, found 'ngram two=3'"),
    (with_line(4, "ngram 3=3"), 4, "expected ngram 2=…"),
    (with_line(8, "\\2-grams:"), 8, "expected \\1-grams:, found '\\\\2-grams:'"),
    (with_line(12, "-0.x\ta\t-0.3"), 12, "expected log10 p, 1 word, back-off weight or none, found '-0.x"),
    (with_line(12, "nan\ta\t-0.3"), 12, "expected log10 p"),
    (with_line(12, "-0.7"), 12, "expected log10 p"),
    (with_line(12, "-0.7\ta b\t-0.3"), 12, "expected log10 p, 1 word"),
    (with_line(13, "-0.8\ta\t-0.2"), 13, "expected each n-gram once, found '-0.8\\ta\\t-0.2'"),
    (with_line(10, "-0.9\t</t>"), 16, "expected the word <s> among the 1-grams"),
    (with_line(17, "-0.5\t<s> a b\t-0.1"), 17, "expected log10 p, 2 words"),
    (with_line(18, "-0.4\ta zz\t-0.35"), 18, "'zz' is not among the 1-grams"),
    (with_line(19, "-0.45\tb c\tx"), 19, "expected log10 p, 2 words, back-off weight or none"),
    (with_line(20, "-0.4\ta b\t-0.35"), 20, "expected each n-gram once"),
    (with_line(25, ""), 27, "expected 3 3-grams above, as \\data\\ says, found 2"),
    (with_line(28, "-0.1\t<s> a b c\t-0.2"), 28, "the highest order have no back-off weight"),
    (SRILM.split("\\4-grams:")[0], 27, "expected \\4-grams:, found the end of the file"),
    (SRILM.split("\\end\\")[0], 30, "expected \\end\\, found the end of the file"),
    (with_line(18, "-0.4\ta \udcff\t-0.35"), 18, "expected UTF-8"),
]


@pytest.mark.parametrize(("text", "line", "expected"), DAMAGE)
def test_a_damaged_file_is_refused_with_its_line_and_what_was_expected(text, line, expected, tmp_path):
    path = written(tmp_path, text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelError) as caught:
        read_arpa(path)
    assert expected in str(caught.value)
    assert f"{path}, line {line}:" in str(caught.value)
    assert caught.value.kind == "input"


@pytest.mark.parametrize("start", [b"mmap lm http://kheafield.com/code version 5\n\x00", b"iARPA\n", b"blmt 3\n"])
def test_binary_files_of_other_toolkits_are_called_by_name(start, tmp_path):
    with pytest.raises(ModelError, match=r"line 1: expected ARPA text, found an? .* of (KenLM|IRSTLM)"):
        read_arpa(written(tmp_path, start))


def test_a_missing_or_cut_off_file_is_an_error_with_its_name(tmp_path):
    with pytest.raises(ModelError, match=r"absent.arpa cannot be read"):
        read_arpa(tmp_path / "absent.arpa")
    packed = gzip.compress(SRILM.encode())
    with pytest.raises(ModelError, match=r"cut.gz, line 1: expected more of the file"):
        read_arpa(written(tmp_path, packed[: len(packed) // 2], "cut.gz"))


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, len(SRILM) - 6))
def test_a_file_that_ends_early_is_never_read_as_whole(cut, tmp_path_factory):
    with pytest.raises(ModelError, match="line"):
        read_arpa(written(tmp_path_factory.getbasetemp(), SRILM[:cut], "early.arpa"))


def test_files_are_read_the_same_in_blocks_of_any_size(monkeypatch, golden_folder):
    path = golden_folder / "train.3.arpa.gz"
    whole, words = read_arpa(path)
    for size in (7, 100, 4096):
        monkeypatch.setattr("models.ngram.text_source.BLOCK", size)
        pieces, same_words = read_arpa(path)
        assert equal(pieces, whole)
        assert same_words == words


@pytest.mark.parametrize(("name", "prune"), [("train", ()), ("train", (1, 1, 2)), ("quirk", (0, 1))])
def test_the_kenlm_module_reads_our_file_and_scores_every_word_as_we_do(name, prune, golden_text, tmp_path):
    kenlm = pytest.importorskip("kenlm")
    model = fit_lines(golden_text(name), NGramSpec(order=3), prune)[0]
    model.to_arpa(tmp_path / "model.arpa")
    theirs = kenlm.Model(str(tmp_path / "model.arpa"))
    held_out = golden_text("held_out", model.words)
    lines = golden_text("held_out")
    for begin, end in zip(held_out.offsets[:-1], held_out.offsets[1:], strict=True):
        line = " ".join(lines.words[token] for token in lines.ids[begin + 1 : end - 1])
        scored = list(theirs.full_scores(line))
        part = LineCorpus(held_out.ids[begin:end], np.array([0, end - begin]), model.words)
        ours = -model.token_nats(part)[1:] / LN10
        assert [score for score, _, _ in scored] == pytest.approx(ours.tolist(), abs=2e-6)
        assert [oov for _, _, oov in scored] == (part.ids[1:] == UNK).tolist()


def test_the_kenlm_module_scores_a_review_written_with_its_star_token_as_we_do(stream_of, reviews_of, tmp_path):
    kenlm = pytest.importorskip("kenlm")
    documents = reviews_of(60, 30, 5)
    words = ["<unk>", "<s>", "</s>", *(f"<stars_{k}>" for k in range(6)), *(f"w{n}" for n in range(9, 30))]
    model = NGramLM.from_counts(count_ngrams(stream_of(documents), 3, 30, GIVEN))
    write_arpa(tmp_path / "reviews.arpa", model.tables, words)
    theirs = kenlm.Model(str(tmp_path / "reviews.arpa"))
    for document in documents[:20]:
        line = " ".join(words[token] for token in document[1:-1])
        nats, _ = model.score(np.array([document]), model.start(1))
        assert theirs.score(line, bos=True, eos=True) == pytest.approx(-nats.sum() / LN10, rel=1e-5)
