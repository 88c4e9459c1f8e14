"""A watermark changes no distribution, is recognised by its key alone, and says nothing about other texts."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import pytest
from scipy.stats import gamma, kstest

from reviewlm.corpus.synthetic.synth import write_reviews
from reviewlm.models.base import ModelError
from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.sampling import generate
from reviewlm.models.sampling.watermark import (
    WatermarkEvidence,
    evidence_of,
    hash_key,
    numbers,
)
from reviewlm.models.specs import NGramSpec, VocabularySpec
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.special import CONTEXT_IDS
from reviewlm.training.ngram.counting.counts import count_ngrams
from reviewlm.training.vocabularies.learn import learn_vocabulary
from tests.estimated_ngrams import estimate_ngrams


def test_numbers_are_those_of_the_published_generator() -> None:
    """SplitMix64 (Steele et al. 2014) in Python's whole numbers, from a keyed BLAKE2b of the context."""
    key, context, most = hash_key("secret"), (5, 300, 2, 11), 2**64
    seed = int.from_bytes(
        blake2b(
            b"".join(each.to_bytes(8, "little") for each in context), key=key, digest_size=8
        ).digest(),
        "little",
    )
    for token, found in zip(
        (0, 7, 40_000), numbers(key, context, np.array([0, 7, 40_000])), strict=True
    ):
        x = (seed + (token + 1) * 0x9E3779B97F4A7C15) % most
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % most
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % most
        assert found == ((x ^ (x >> 31)) // 2**11 + 0.5) / 2**53


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A trigram model of synthetic reviews."""
    import polars as pl

    file = tmp_path_factory.mktemp("reviews") / "reviews.jsonl"
    write_reviews(file, 600, seed=1)
    texts = pl.read_ndjson(file)["text"].to_list()
    vocabulary = learn_vocabulary(texts, VocabularySpec(unit="bpe", size=900), NormalForm())
    counts = count_ngrams(
        vocabulary.encode_documents(texts, [3] * len(texts)), 3, vocabulary.size, CONTEXT_IDS
    )
    shares = (0.0, 0.0, 0.0, 1.0, 0.0, 0.0)
    return Bundle(NGramSpec(order=3), vocabulary, estimate_ngrams(counts), stars_prior=shares)


@pytest.fixture(scope="module")
def evidence(bundle: Bundle) -> list[WatermarkEvidence]:
    """The evidence of 25 keys in 20 texts that were written without any of them."""
    texts = generate(bundle, 20, max_tokens=120, seed=5)
    found = []
    for number in range(25):
        found += [evidence_of(bundle.vocabulary, text, f"key {number}") for text in texts]
    return found


def test_z_of_texts_without_the_key_is_standardised(evidence: list[WatermarkEvidence]) -> None:
    z = np.array([each.z for each in evidence])
    assert abs(z.mean()) < 3.5 / np.sqrt(len(z))
    assert abs(z.var() - 1) < 0.3


def test_p_of_texts_without_the_key_is_uniform(evidence: list[WatermarkEvidence]) -> None:
    assert kstest([each.p_value for each in evidence], "uniform").pvalue > 0.001


def test_p_is_the_tail_of_a_gamma_distribution(evidence: list[WatermarkEvidence]) -> None:
    for each in evidence[:50]:
        total = each.tokens + each.z * each.tokens**0.5
        assert each.p_value == pytest.approx(gamma.sf(total, each.tokens), rel=1e-6)


def test_a_text_that_is_too_short_is_no_evidence(bundle: Bundle) -> None:
    assert evidence_of(bundle.vocabulary, "So", "key") == (0, 0.0, 1.0)


def test_texts_of_200_tokens_are_recognised_by_their_key_alone(bundle: Bundle) -> None:
    """No text is that long here: reviews are joined until they are."""
    marked = generate(
        bundle,
        160,
        max_tokens=200,
        seed=6,
        watermark="secret",
    )
    joined, text = [], ""
    for each in marked:
        text = f"{text} {each}".strip()
        if len(bundle.vocabulary.encode(text)) >= 200:
            joined.append(text)
            text = ""
    assert len(joined) >= 20
    own = [evidence_of(bundle.vocabulary, text, "secret").p_value for text in joined]
    others = [evidence_of(bundle.vocabulary, text, "Secret").p_value for text in joined]
    assert np.mean(np.array(own) < 0.01) >= 0.95
    assert np.mean(np.array(others) < 0.01) <= 0.05


def test_an_empty_key_recognises_nothing(bundle: Bundle) -> None:
    with pytest.raises(ModelError, match="key is empty"):
        evidence_of(bundle.vocabulary, "The soup was cold.", "")
