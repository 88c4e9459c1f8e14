"""Token streams made in memory, for tests of the trainer: no text, no vocabulary."""

import hashlib
from pathlib import Path

import numpy as np

from reviewlm.models.streams import TokenStream

BOS, EOS, STAR = 1, 2, 8


def stream_of(documents, size):
    """A stream of the given documents (ids of text tokens); begin, star and end tokens are put around them."""
    parts = [np.array([BOS, STAR, *document, EOS]) for document in documents]
    ids = np.concatenate(parts).astype(np.uint16)
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    header = {
        "tokens": len(ids) - 2 * len(parts),
        "vocabulary_digest": "made",
        "vocabulary_size": size,
        "boundary_policy": "made",
        "sha256": {"ids.bin": hashlib.sha256(ids.tobytes()).hexdigest()},
    }
    return TokenStream(Path("made"), header, ids, offsets)


def walks(
    count,
    size,
    seed,
    length=12,
):
    """Random walks: from each token one of two others follows, so a bigram model's perplexity is 2 and a bit."""
    rng = np.random.default_rng(seed)
    tokens = size - 9
    documents = []
    for _ in range(count):
        token, document = int(rng.integers(tokens)), []
        for _ in range(int(rng.integers(length // 2, length * 2))):
            document.append(token + 9)
            token = (token * 3 + int(rng.integers(2))) % tokens
        documents.append(document)
    return stream_of(documents, size)
