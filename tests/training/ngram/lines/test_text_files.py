"""Text files in, model files and scores out."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections import Counter
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.core.errors import Unreadable
from reviewlm.corpus.reading.formats import format_of
from reviewlm.corpus.schema import ReadingOptions
from reviewlm.models.base import ModelError
from reviewlm.models.text.foreign_files import FOREIGN_FILES
from reviewlm.training.ngram.lines import text_corpus
from reviewlm.training.ngram.lines.line_lm import LineLM
from reviewlm.training.ngram.lines.text_corpus import MARKS, LineCorpus
from reviewlm.training.ngram.lines.text_files import LineSpec, fit_text, score_text
from reviewlm.training.vectors.files import read_vectors
from tests.examples import examples

TEXT = "the lamp shines\n\n the\tlamp  leaks\r\nnobody thinks \x00 so\n"
PACKED = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda text: pyarrow.Codec("zstd").compress(text, asbytes=True),
}
GARBLED = st.text(st.sampled_from("ab \t\r\n\x00é\x0b\"'\ufeff"), max_size=40)


def by_hand(text: str) -> tuple[list[int], list[str]]:
    """Return ids and words as `lmplz` numbers them."""
    words, ids = list(MARKS), []
    text = text.removeprefix("\ufeff")
    for line in text.removesuffix("\n").split("\n") if text else []:
        for blank in "\t\r\x00":
            line = line.replace(blank, " ")
        found = [word for word in line.split(" ") if word]
        words += dict.fromkeys(word for word in found if word not in words)
        ids += [1, *map(words.index, found), 2]
    return ids, words


@pytest.mark.parametrize("packing", PACKED)
def test_a_file_is_read_as_sentences_of_words_between_blanks_packed_or_not(packing, tmp_path):
    (tmp_path / "text").write_bytes(PACKED[packing](TEXT.encode()))
    corpus = LineCorpus.read_file(tmp_path / "text")
    assert corpus.words == (*MARKS, "the", "lamp", "shines", "leaks", "nobody", "thinks", "so")
    assert corpus.ids.tolist() == [1, 3, 4, 5, 2, 1, 2, 1, 3, 4, 6, 2, 1, 7, 8, 9, 2]
    assert corpus.offsets.tolist() == [0, 5, 7, 12, 17]
    assert len(corpus) == 4


@examples(150)
@given(text=GARBLED, block=st.sampled_from([1, 3, 1000]))
def test_any_text_is_read_as_by_hand_in_blocks_of_any_size(
    text,
    block,
    tmp_path_factory,
):
    path = tmp_path_factory.getbasetemp() / "garbled"
    path.write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_corpus, "_BLOCK", block)
        corpus = LineCorpus.read_file(path)
    assert (corpus.ids.tolist(), list(corpus.words)) == by_hand(text)
    text = text.removeprefix("\ufeff")  # of a file
    lines = LineCorpus.read(text.removesuffix("\n").split("\n") if text else [])
    assert (lines.ids.tolist(), lines.offsets.tolist()) == (
        corpus.ids.tolist(),
        corpus.offsets.tolist(),
    )


@pytest.mark.parametrize("packing", PACKED)
def test_the_mark_of_utf8_is_no_word(
    packing,
    tmp_path,
    pipe_of,
):
    marked = PACKED[packing](b"\xef\xbb\xbf" + TEXT.encode())
    (tmp_path / "text").write_bytes(marked)

    for path in (tmp_path / "text", pipe_of(marked)):
        assert LineCorpus.read_file(path).words[3:5] == ("the", "lamp")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("packing", PACKED)
def test_a_text_with_the_mark_of_another_encoding_is_refused(
    packing,
    encoding,
    tmp_path,
):
    mark = "\ufeff" if encoding == "utf-16-le" else ""  # the other two write theirs
    (tmp_path / "text").write_bytes(PACKED[packing]((mark + TEXT).encode(encoding)))

    with pytest.raises(ModelError, match="UTF-16") as caught:
        LineCorpus.read_file(tmp_path / "text")

    assert caught.value.kind == "input"


def test_unk_in_a_training_text_can_be_counted_as_the_unknown_word(tmp_path):
    """Against the formula of Kneser-Ney with the discounts of the fit."""
    lines = [
        "the <unk> was cold",
        "we had N <unk> tacos",
        "the soup was cold",
        "the tacos were <unk> and cold",
    ] * 4
    (tmp_path / "text").write_text("\n".join([*lines, "<unk> was fine"]))
    report = fit_text(
        tmp_path / "text", LineSpec(order=2, marks="unknown"), binary=tmp_path / "model"
    )
    ones, twos = ([0, *discounts] for discounts in report["discounts"])
    model = LineLM.open(tmp_path / "model")
    sentences = [["<s>", *line.split(), "</s>"] for line in (*lines, "<unk> was fine")]
    bigrams = Counter(pair for words in sentences for pair in pairwise(words))
    before = Counter(word for _, word in bigrams)
    size = len(model.words) - 1  # all but <s>

    def p(word, context):
        left = sum(ones[min(n, 3)] for n in before.values()) / before.total()
        of_one = max(before[word] - ones[min(before[word], 3)], 0) / before.total() + left / size
        after = {pair: n for pair, n in bigrams.items() if pair[0] == context}
        left = sum(twos[min(n, 3)] for n in after.values()) / sum(after.values())
        seen = after.get((context, word), 0)
        return max(seen - twos[min(seen, 3)], 0) / sum(after.values()) + left * of_one

    state = model.read(np.array([[1, model.words.index("the")]]), model.start(1))
    found = dict(zip(model.words, np.exp(model.distribution(state))[0], strict=True))
    assert found.pop("<s>") == 0
    assert found == {word: pytest.approx(p(word, "the"), rel=1e-5) for word in found}
    likely = sorted(found, key=found.__getitem__, reverse=True)[:3]
    assert set(likely) == {"<unk>", "soup", "tacos"}, (
        "`was` never follows `the`: <unk> is between them"
    )


@pytest.mark.slow
@pytest.mark.real_data
def test_a_model_of_the_penn_treebank_has_the_published_perplexity(real_data, tmp_path):
    """Kneser-Ney of order 5: 141.2 (T. Mikolov et al. (2011), "Empirical evaluation and combination of advanced …")."""
    texts = real_data / "ptb_lm_benchmark"
    fit_text(texts / "train.txt.gz", LineSpec(order=5, marks="unknown"), binary=tmp_path / "model")
    assert score_text(tmp_path / "model", texts / "test.txt.gz")["perplexity"] == pytest.approx(
        141.2, abs=0.05
    )


@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_in_the_text_is_refused_with_its_line_or_skipped(
    mark,
    tmp_path,
    monkeypatch,
):
    (tmp_path / "text").write_text(f"one two\n\nthree {mark} four\n")
    for block in (4, 1000):
        monkeypatch.setattr(text_corpus, "_BLOCK", block)
        with pytest.raises(
            ModelError, match=rf"text, line 3: the word '{mark}' is a mark"
        ) as caught:
            LineCorpus.read_file(tmp_path / "text")
        assert caught.value.kind == "input"
    skipped = LineCorpus.read_file(tmp_path / "text", marks="skip")
    assert skipped.ids.tolist() == [1, 3, 4, 2, 1, 2, 1, 5, 6, 2]


@pytest.fixture(
    scope="module",
    params=[(), (1, 1, 2)],
    ids=["whole", "pruned"],
)
def fitted_files(
    request,
    golden_folder,
    tmp_path_factory,
):
    """The report of a fit of one text, its ARPA file, its folder, and whether it is pruned."""
    folder = tmp_path_factory.mktemp("fitted")
    arpa, binary = folder / "model.arpa.gz", folder / "model"
    spec = LineSpec(order=3, prune=request.param)
    report = fit_text(golden_folder / "train.txt", spec, arpa=arpa, binary=binary)
    return SimpleNamespace(
        report=report,
        arpa=arpa,
        folder=binary,
        pruned=bool(request.param),
    )


def test_the_report_of_a_fit_counts_what_was_fitted(fitted_files):
    report = fitted_files.report
    assert report["ngrams"] == ([82, 212, 194] if fitted_files.pruned else [121, 413, 842])
    assert (report["tokens"], report["types"], report["fallback_orders"]) == (2792, 121, [])
    assert report["discounts"][2] == pytest.approx([0.716556, 1.156205, 1.362157], abs=1e-6)
    assert report["seconds"] > 0 < report["peak_mib"]


def test_the_arpa_file_of_a_fit_scores_as_its_folder(fitted_files, golden_folder):
    by_arpa = score_text(fitted_files.arpa, golden_folder / "held_out.txt")
    by_folder = score_text(fitted_files.folder, golden_folder / "held_out.txt")
    assert (by_arpa["tokens"], by_arpa["oov"]) == (733, 22 if fitted_files.pruned else 12)
    for name in ("tokens", "oov", "perplexity", "perplexity_without_oov"):
        assert by_arpa[name] == pytest.approx(by_folder[name], rel=1e-6)


def test_a_folder_that_is_damaged_is_refused(golden_folder, tmp_path):
    fit_text(golden_folder / "tiny.txt", LineSpec(order=2), binary=tmp_path / "model")
    (tmp_path / "model" / "words.txt").write_text("<unk>\n<s>\n")
    with pytest.raises(ModelError, match="2 words") as caught:
        LineLM.open(tmp_path / "model")
    (tmp_path / "model" / "lines.json").unlink()
    with pytest.raises(ModelError, match="not a model of lines"):
        LineLM.open(tmp_path / "model")
    assert caught.value.kind == "bundle"


def test_a_limited_vocabulary_leaves_out_what_is_not_on_the_list(tmp_path, caplog):
    text, listed = tmp_path / "train.txt", tmp_path / "words.txt"
    text.write_text("the lamp shines\nthe lamp leaks\n")
    listed.write_text("the lamp\nnowhere\n")
    report = fit_text(text, LineSpec(order=2, limit_vocabulary=listed), binary=tmp_path / "model")
    model = LineLM.open(tmp_path / "model")
    assert model.words == ("<unk>", "<s>", "</s>", "the", "lamp")
    assert report["ngrams"] == [5, 2], "<s> the, the lamp"
    total = np.exp(model.distribution(model.read(np.array([[1, 3]]), model.start(1)))).sum()
    assert total == pytest.approx(1)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b" \n", {}, "has no word"),
        (b"\xff", {}, "is not UTF-8"),
        (None, {}, "cannot be read"),
        (b"the", {"smoothing": "katz"}, "only Kneser.Ney can limit its vocabulary"),
    ],
)
def test_a_list_of_words_that_cannot_be_used_is_refused(
    content,
    options,
    message,
    tmp_path,
):
    text, listed = tmp_path / "train.txt", tmp_path / "words.txt"
    text.write_text(TEXT)
    if content is not None:
        listed.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        fit_text(
            text,
            LineSpec(
                order=2,
                limit_vocabulary=listed,
                **options,
            ),
            binary=tmp_path / "model",
        )


@pytest.mark.parametrize("packing", ["bzip2", "gzip", "xz"])
def test_a_packed_file_that_is_cut_is_an_error_of_the_input(packing, tmp_path):
    (tmp_path / "text").write_bytes(PACKED[packing](TEXT.encode() * 50)[:-9])
    with pytest.raises(ModelError) as caught:
        LineCorpus.read_file(tmp_path / "text")
    assert caught.value.kind == "input"


@pytest.mark.parametrize(
    ("begin", "what"),
    [
        (b"PK\x03\x04\x14\0", "zip"),
        (b"7z\xbc\xaf\x27\x1c\0", "7-Zip"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "Git LFS"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\x93NUMPY\x01\0", "NumPy"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("read", [LineCorpus.read_file, LineLM.from_arpa, read_vectors])
def test_a_file_that_is_certainly_no_text_is_said_to_be_what_it_is(
    read,
    begin,
    what,
    tmp_path,
):
    (tmp_path / "file").write_bytes(begin + b"x" * 20)
    with pytest.raises(ModelError, match=what) as caught:
        read(tmp_path / "file")
    assert caught.value.kind == "input"


@pytest.mark.parametrize(
    "kind", [one for one in FOREIGN_FILES if one.begin], ids=lambda one: one.what
)
def test_a_file_that_is_no_text_is_said_to_be_what_it_is(kind, tmp_path):
    (tmp_path / "text").write_bytes(kind.begin.ljust(600, b"\0"))
    with pytest.raises(ModelError) as caught:
        LineCorpus.read_file(tmp_path / "text")
    assert caught.value.kind == "input"
    assert kind.what in str(caught.value)
    with pytest.raises(Unreadable) as refused:
        format_of(kind.begin.ljust(600, b"\0"), "text", ReadingOptions())
    assert kind.what in refused.value.what
