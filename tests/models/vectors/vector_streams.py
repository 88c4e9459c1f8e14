"""Token streams made in memory for tests of word vectors."""

import hashlib
from pathlib import Path

import numpy as np

from models.streams import TokenStream

FIRST, BOS, STAR, EOS = 9, 1, 8, 2


def stream_of(documents):
    """Return a stream of the given documents (ids of words) between the special tokens of a review."""
    parts = [np.array([BOS, STAR, *document, EOS]) for document in documents]
    ids = np.concatenate(parts).astype(np.uint16)
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    header = {
        "tokens": len(ids) - 2 * len(parts), "vocabulary_digest": "made", "vocabulary_size": int(ids.max()) + 1,
        "boundary_policy": "made", "sha256": {"ids.bin": hashlib.sha256(ids.tobytes()).hexdigest()},
    }
    return TokenStream(Path("made"), header, ids, offsets)


def planted_synonyms(reviews, meanings=15, seed=4):
    """Return reviews of a walk over meanings; each meaning is written by one of two words, chosen by a coin."""
    rng = np.random.default_rng(seed)
    following = rng.permuted(np.tile(np.arange(meanings), (meanings, 1)), axis=1)[:, :3]
    documents = []
    for _ in range(reviews):
        meaning, document = int(rng.integers(meanings)), []
        for _ in range(30):
            document.append(FIRST + 2 * meaning + int(rng.integers(2)))
            meaning = int(following[meaning, rng.integers(3)])
        documents.append(document)
    return stream_of(documents)
