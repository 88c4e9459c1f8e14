"""The numbers are those of KenLM's lmplz and query (golden files; how they were made: data/README.md)."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from models.ngram.counts import count_ngrams
from models.ngram.kneser_ney import counts_of_counts, estimate
from models.ngram.lm import NGramLM, score_chunks
from models.ngram.text_corpus import BEGIN, GIVEN_OF_LINES, UNK

LN10 = np.log(10)
MODELS = [("train", n) for n in (1, 2, 3, 4, 5)] + [("quirk", 3), ("quirk", 5), ("tiny", 3), ("short", 5)]


def read_arpa(path) -> dict[tuple[str, ...], tuple[float, float]]:
    """Return {n-gram: (log10 p, log10 back-off)} of an ARPA file; independent of the code under test."""
    entries, inside = {}, False
    for line in gzip.decompress(path.read_bytes()).decode("utf-8").splitlines(keepends=True):
        fields = line.rstrip("\n").split("\t")
        inside = line.endswith("-grams:\n") or (inside and not line.startswith("\\"))
        if inside and len(fields) >= 2:
            entries[tuple(fields[1].split(" "))] = (float(fields[0]), float(fields[2]) if len(fields) > 2 else 0.0)
    return entries


def as_arpa(model: NGramLM, counts, words) -> dict[tuple[str, ...], tuple[float, float]]:
    entries = {}
    for order in range(1, model.order + 1):
        logp = model.tables.logp[order - 1] / LN10
        backoff = model.tables.backoff[order - 1] / LN10 if order < model.order else np.zeros(len(logp))
        for ngram, p, weight in zip(counts.words(order), logp, backoff, strict=True):
            entries[tuple(words[word] for word in ngram)] = (float(p), float(weight))
    assert entries[("<s>",)][0] == -np.inf
    entries[("<s>",)] = (0.0, entries[("<s>",)][1])  # lmplz writes log10 1 for what is never predicted
    return entries


def fitted(text, order: int, **options):
    counts = count_ngrams(text, order, len(text.words), GIVEN_OF_LINES)
    return counts, NGramLM.from_counts(counts, **options)


@pytest.mark.parametrize(("name", "order"), MODELS)
def test_every_probability_and_backoff_weight_is_lmplz_s_within_1e_6(name, order, golden_text, golden_folder):
    text = golden_text(name)
    counts, model = fitted(text, order)
    ours, theirs = as_arpa(model, counts, text.words), read_arpa(golden_folder / f"{name}.{order}.arpa.gz")
    assert ours.keys() == theirs.keys()
    difference = np.array([ours[ngram] for ngram in theirs]) - np.array(list(theirs.values()))
    assert np.abs(difference).max() < 1e-6


def perplexities(model: NGramLM, held_out) -> tuple[float, float]:
    nats = np.concatenate(list(score_chunks(model, held_out.ids, chunk=100)))
    scored, oov = held_out.ids != BEGIN, held_out.ids == UNK
    return np.exp(nats[scored].mean()), np.exp(nats[scored & ~oov].mean())


@pytest.mark.parametrize(("name", "order"), [entry for entry in MODELS if entry[1] > 1])
def test_held_out_perplexity_is_query_s_with_and_without_unknown_words(name, order, golden_text, golden_folder):
    lines = [line.split("\t") for line in (golden_folder / "query.tsv").read_text().splitlines()]
    theirs = {label: float(value) for model, label, value in lines if model == f"{name} {order}"}
    text = golden_text(name)
    held_out = golden_text("held_out", text.words)
    assert theirs["OOVs:"] == (held_out.ids == UNK).sum()
    assert theirs["Tokens:"] == (held_out.ids != BEGIN).sum()
    including, excluding = perplexities(fitted(text, order)[1], held_out)
    assert including == pytest.approx(theirs["Perplexity including OOVs:"], rel=1e-6)
    # query adds in float32, which shows where most words are unknown and taken away again
    assert excluding == pytest.approx(theirs["Perplexity excluding OOVs:"], rel=1e-6 if name == "train" else 2e-6)


def test_the_textbook_variant_differs_where_the_last_word_of_the_text_is_new_and_frequent(golden_text):
    counts, _ = fitted(golden_text("quirk"), 5)
    adjusted = np.bincount(counts.orders[2].suffix_M, minlength=len(counts.orders[1]))
    adjusted = np.where(counts.orders[1].begins_M, counts.orders[1].raw_M, adjusted)
    textbook, lmplz_s = (counts_of_counts(counts, 2, adjusted, kenlm_exact=exact) for exact in (False, True))
    assert textbook != lmplz_s
    assert textbook == tuple(int((adjusted == j).sum()) for j in (1, 2, 3, 4))


def test_orders_that_determine_no_discounts_take_the_fallback_and_say_so(golden_text, caplog):
    counts, _ = fitted(golden_text("short"), 5)
    caplog.clear()
    made = estimate(counts, fallback=(0.4, 0.9, 1.4))
    assert [found.fallback for found in made.discounts] == [True] * 5
    assert [found.values for found in made.discounts] == [(0, 0.4, 0.9, 1.4)] * 5
    assert sum("do not determine" in record.message for record in caplog.records) == 5
    assert [len(entry) for entry in counts.orders] == [6, 7, 3, 0, 0]
