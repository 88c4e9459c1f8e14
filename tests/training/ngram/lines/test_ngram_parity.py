"""The numbers are those of KenLM's lmplz and query (golden files; how they were made: data/README.md)."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from reviewlm.course.words.maximum_likelihood import count_of
from reviewlm.training.ngram.counting.counts import count_ngrams
from reviewlm.training.ngram.lines.line_lm import LineLM
from reviewlm.training.ngram.lines.text_corpus import BEGIN, END, GIVEN_OF_LINES, LineCorpus
from reviewlm.training.ngram.lines.text_files import LineSpec, fit_lines
from reviewlm.training.ngram.measure import total

LN10 = np.log(10)
THRESHOLDS = {
    "001": (0, 0, 1),
    "012": (0, 1, 2),
    "112": (1, 1, 2),
}
MODELS = [("train", n) for n in (1, 2, 3, 4, 5)] + [
    ("quirk", 3),
    ("quirk", 5),
    ("tiny", 3),
    ("short", 5),
]
PRUNED = [(f"train_{name}", n) for n in (2, 3, 4, 5) for name in THRESHOLDS]
PRUNED += [(f"quirk_{name}", n) for n in (3, 5) for name in ("001", "112")] + [("tiny_112", 3)]
LIMITED = [
    ("train_limited", 2),
    ("train_limited", 3),
    ("train_limited", 5),
    ("train_limited_001", 3),
]
OTHERS = [("train_padded", 3), *LIMITED]
OPTIONS = {"train_padded": {"padded_vocabulary": 5000}}


def read_arpa(path) -> dict[tuple[str, ...], tuple[float, float]]:
    """Return {n-gram: (log10 p, log10 back-off)} of an ARPA file; independent of the code under test."""
    entries, inside = {}, False
    for line in gzip.decompress(path.read_bytes()).decode("utf-8").splitlines(keepends=True):
        fields = line.rstrip("\n").split("\t")
        inside = line.endswith("-grams:\n") or (inside and not line.startswith("\\"))
        if inside and len(fields) >= 2:
            entries[tuple(fields[1].split(" "))] = (
                float(fields[0]),
                float(fields[2]) if len(fields) > 2 else 0.0,
            )
    return entries


def as_arpa(model: LineLM) -> dict[tuple[str, ...], tuple[float, float]]:
    entries, ngrams = {}, [(token,) for token in range(model.vocabulary_size)]
    for order in range(1, model.order + 1):
        if order > 1:
            keys = model.tables.followers[order - 2].keys(model.vocabulary_size).tolist()
            ngrams = [
                (*ngrams[key // model.vocabulary_size], key % model.vocabulary_size) for key in keys
            ]
        logp = model.tables.logp[order - 1] / LN10
        backoff = (
            model.tables.backoff[order - 1] / LN10 if order < model.order else np.zeros(len(logp))
        )
        for ngram, p, weight in zip(ngrams, logp, backoff, strict=True):
            entries[tuple(model.words[word] for word in ngram)] = (float(p), float(weight))
    assert entries[("<s>",)][0] == -np.inf
    entries[("<s>",)] = (
        0.0,
        entries[("<s>",)][1],
    )  # lmplz writes log10 1 for what is never predicted
    return entries


def fitted(
    text,
    order: int,
    prune: tuple[int, ...] = (),
    **options,
) -> LineLM:
    return fit_lines(
        text,
        LineSpec(
            order=order,
            prune=prune[:order],
            **options,
        ),
    )[0]


@pytest.fixture(scope="module")
def fitted_as(golden_text, golden_folder):
    """Return the model of a golden file by its name: TEXT[_THRESHOLDS]."""

    def fit(name: str, order: int) -> LineLM:
        text, _, rest = name.partition("_")
        listed = golden_folder / "limited.txt" if "limited" in rest else None
        options = {"limit_vocabulary": listed, **OPTIONS.get(name, {})}
        return fitted(golden_text(text), order, THRESHOLDS.get(rest[-3:], ()), **options)

    return fit


@pytest.mark.parametrize(("name", "order"), MODELS + PRUNED + OTHERS)
def test_every_entry_is_lmplz_s_within_1e_6(
    name,
    order,
    fitted_as,
    golden_folder,
):
    ours, theirs = (
        as_arpa(fitted_as(name, order)),
        read_arpa(golden_folder / f"{name}.{order}.arpa.gz"),
    )
    assert ours.keys() == theirs.keys()
    difference = np.array([ours[ngram] for ngram in theirs]) - np.array(list(theirs.values()))
    assert np.abs(difference).max() < 1e-6


def by_query(
    golden_folder,
    name: str,
    order: int,
) -> dict[str, float]:
    lines = [line.split("\t") for line in (golden_folder / "query.tsv").read_text().splitlines()]
    return {
        label.rstrip(":"): float(value)
        for model, label, value in lines
        if model == f"{name} {order}"
    }


@pytest.mark.parametrize(
    ("name", "order"), [entry for entry in MODELS + PRUNED + OTHERS if entry[1] > 1]
)
@pytest.mark.parametrize("source", ["fitted by us", "read from lmplz's ARPA"])
def test_held_out_scores_are_those_of_query(
    source,
    name,
    order,
    fitted_as,
    golden_folder,
    golden_text,
):
    theirs = by_query(golden_folder, name, order)
    arpa = golden_folder / f"{name}.{order}.arpa.gz"
    model = fitted_as(name, order) if source == "fitted by us" else LineLM.from_arpa(arpa)
    scores = model.score_text(golden_text("held_out", model.words))
    assert (scores.oov, scores.tokens) == (theirs["OOVs"], theirs["Tokens"])
    assert scores.perplexity == pytest.approx(theirs["Perplexity including OOVs"], rel=1e-6)
    # query adds in float32, which shows where most words are unknown and taken away again
    tolerance = 1e-6 if name.startswith("train") else 2e-6
    assert scores.perplexity_without_oov == pytest.approx(
        theirs["Perplexity excluding OOVs"], rel=tolerance
    )


@pytest.mark.parametrize(("name", "order"), [("train", 3), ("train_112", 3), ("quirk", 5)])
def test_every_word_costs_what_query_says(
    name,
    order,
    golden_folder,
    golden_text,
):
    lines = (
        gzip.decompress((golden_folder / f"{name}.{order}.words.gz").read_bytes())
        .decode()
        .splitlines()
    )
    theirs = np.array([float(line.split(" ")[1]) for line in lines])
    model = LineLM.from_arpa(golden_folder / f"{name}.{order}.arpa.gz")
    held_out = golden_text("held_out", model.words)
    ours = -model.token_nats(held_out)[held_out.ids != BEGIN] / LN10
    assert (held_out.ids == 0).any()
    assert np.abs(ours - theirs).max() < 2e-6


@pytest.mark.real_data
@pytest.mark.parametrize("order", [2, 3, 4, 5])
def test_models_of_real_sentences_are_those_of_kenlm_whatever_is_pruned(
    order,
    real_sentences,
    golden_folder,
):
    train, held_out = real_sentences
    corpus = LineCorpus.read(train)
    rows = [line.split("\t") for line in (golden_folder / "real_text.tsv").read_text().splitlines()]
    for prune in sorted({row[1] for row in rows if row[0] == str(order)}):
        theirs = {
            label.rstrip(":"): float(value)
            for n, t, label, value in rows
            if (n, t) == (str(order), prune)
        }
        model, report = fit_lines(
            corpus, LineSpec(order=order, prune=tuple(map(int, prune.split())))
        )
        scores = model.score_text(model.read_lines(held_out))
        assert report["ngrams"] == [theirs[f"ngrams {k}"] for k in range(1, order + 1)]
        assert (scores.oov, scores.tokens) == (theirs["OOVs"], theirs["Tokens"])
        assert scores.perplexity == pytest.approx(theirs["Perplexity including OOVs"], rel=1e-6)
        assert scores.perplexity_without_oov == pytest.approx(
            theirs["Perplexity excluding OOVs"], rel=1e-6
        )


@pytest.fixture(scope="module")
def real_sentences() -> tuple[list[str], list[str]]:
    folder = Path(os.environ.get("REVIEWLM_REAL_DATA", "")) / "shen2017_sentences"
    if not folder.is_dir():
        pytest.skip("REVIEWLM_REAL_DATA has no shen2017_sentences")
    parts = [
        gzip.decompress(path.read_bytes()).decode() for path in sorted(folder.glob("*.txt.gz"))
    ]
    lines = "".join(parts).removesuffix("\n").split("\n")
    return [line for at, line in enumerate(lines, 1) if at % 10], lines[9::10]


def test_texts_are_read_as_the_table_of_differences_in_the_documentation_says(tmp_path):
    path = tmp_path / "odd.txt"
    path.write_bytes(b"a\x0bb a\x0cb\na\x00b \xff\xfe b\xff\nb\xfe a")
    corpus = LineCorpus.read_file(path)
    assert corpus.words[3:] == ("a\x0bb", "a\x0cb", "a", "b", "\ufffd\ufffd", "b\ufffd")
    assert (len(corpus), (corpus.ids == END).sum()) == (3, 3)  # lmplz counts two
    counts = count_ngrams(corpus, 2, len(corpus.words), GIVEN_OF_LINES)
    assert count_of(counts, (corpus.words.index("a"), END)) == 1
    table = (Path(__file__).parents[4] / "docs/concepts/models/ngram.md").read_text(
        encoding="utf-8"
    )
    assert all(
        f"| {row} |" in table
        for row in ("a last line without its newline", "`\\v` and `\\f`", "NUL")
    )


@pytest.fixture
def priced_lines() -> tuple[np.ndarray, np.ndarray]:
    """The ids of two lines with two unknown words, and nats that are finite."""
    ids_T = np.array([1, 0, 5, 6, 2, 1, 0, 2])
    return ids_T, np.array([0, 2.0, 1, 0.5, 1, 0, 1, 3])


def test_the_nats_of_a_text_are_added_up(priced_lines):
    ids_T, nats_T = priced_lines
    scores = total(ids_T, [nats_T[:2], nats_T[2:]], GIVEN_OF_LINES, unknown=0)
    assert (scores.nats, scores.impossible) == (8.5, 0)
    assert scores.perplexity == pytest.approx(np.exp(8.5 / 6))
    assert total(ids_T, [nats_T], GIVEN_OF_LINES).nats == 8.5


def test_unknown_words_are_counted_beside_the_others(priced_lines):
    ids_T, nats_T = priced_lines
    scores = total(ids_T, [nats_T], GIVEN_OF_LINES, unknown=0)
    assert (scores.tokens, scores.oov, scores.oov_nats) == (6, 2, 3.0)
    assert scores.perplexity_without_oov == pytest.approx(np.exp(5.5 / 4))


def test_impossible_words_are_counted(priced_lines):
    ids_T, nats_T = priced_lines
    nats_T[[2, 6]] = np.inf
    scores = total(ids_T, [nats_T[:3], nats_T[3:]], GIVEN_OF_LINES, unknown=0)
    assert (scores.tokens, scores.oov, scores.impossible) == (6, 2, 2)
    assert scores.known_nats == scores.oov_nats == scores.nats == np.inf


def test_no_text_has_no_perplexity(priced_lines):
    ids_T, _ = priced_lines
    assert np.isnan(total(ids_T[:0], [], GIVEN_OF_LINES, unknown=0).perplexity)
