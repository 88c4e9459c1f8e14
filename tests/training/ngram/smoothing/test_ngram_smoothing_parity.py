"""Trigram perplexities on real text, equal to those of another implementation of the same definitions.

The text: the four test and dev files of Shen et al. (2017), joined in the order below, shuffled, the first 10,000
sentences held out. Only the dev files are part of the usual test data; the test skips where the others are absent.
"""

from __future__ import annotations

import gzip
import os
import random
from pathlib import Path

import numpy as np
import pytest

from models.ngram.lm import NGramLM
from models.ngram.measure import score_chunks
from training.ngram.counting.counts import count_ngrams
from training.ngram.fitting import packed_tables
from training.ngram.lines.text_corpus import BEGIN, GIVEN_OF_LINES, UNK, LineCorpus
from training.ngram.smoothing import absolute, add_k, jelinek_mercer, kneser_ney, witten_bell
from training.ngram.smoothing.by_context import Estimate

pytestmark = pytest.mark.real_data
PARTS = ("test.0", "test.1", "dev.0", "dev.1")


@pytest.fixture(scope="module")
def split() -> tuple[list[str], list[str]]:
    folder = Path(os.environ.get("REVIEWLM_REAL_DATA", "absent")) / "shen2017_sentences"
    paths = [folder / f"sentiment.{part}.txt.gz" for part in PARTS]
    if missing := [path.name for path in paths if not path.is_file()]:
        pytest.skip(f"REVIEWLM_REAL_DATA lacks {', '.join(missing)}")
    lines = "".join(gzip.decompress(path.read_bytes()).decode("utf-8") for path in paths).splitlines()
    random.Random(0).shuffle(lines)
    return lines[10_000:], lines[:10_000]


def test_trigram_perplexities_are_those_of_the_prototype(split):
    train = LineCorpus.read(split[0])
    held_out = LineCorpus.read(split[1], train.words)
    counts = count_ngrams(train, 3, len(train.words), GIVEN_OF_LINES)
    scored_T = held_out.ids != BEGIN
    assert [len(entry) for entry in counts.orders] == [9370, 235946, 652095]
    assert (scored_T.sum(), (held_out.ids == UNK).sum()) == (98886, 13)
    first_T = np.append(False, held_out.ids[:-1] == BEGIN)[scored_T]
    half = scored_T.sum() // 2  # the other half had been used to choose k and the weights

    def nats(made: Estimate) -> np.ndarray:
        model = NGramLM(packed_tables(counts, made))
        return np.concatenate(list(score_chunks(model, held_out.ids)))[scored_T]

    found = {
        "modified_kneser_ney": nats(kneser_ney.estimate(counts)),
        "jelinek_mercer": nats(jelinek_mercer.estimate(counts, (0.99, 0.8, 0.5))),
        "witten_bell": nats(witten_bell.estimate(counts)),
        "absolute_discounting": nats(absolute.estimate(counts)),
        # The prototype had no window for the first word of a sentence and gave it 1 / V.
        "add_k": np.where(first_T, np.log(counts.predictable), nats(add_k.estimate(counts, 0.001))),
    }
    perplexities = {method: float(np.exp(nats_T[half:].mean())) for method, nats_T in found.items()}
    theirs = {
        "modified_kneser_ney": 40.2315, "jelinek_mercer": 47.3175, "witten_bell": 46.0407,
        "absolute_discounting": 44.8970, "add_k": 183.553,
    }  # fmt: skip
    assert perplexities == pytest.approx(theirs, rel=3e-6)
