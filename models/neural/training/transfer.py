"""Transfer rows of embeddings and output layers from one vocabulary to another, instead of training them afresh."""

from __future__ import annotations

import numpy as np

from ...base import ModelError
from ...tokens.vocabulary import UNK, Vocabulary
from ...tokens.words import FIRST


def transfer_rows(old: Vocabulary, new: Vocabulary, weights: np.ndarray) -> np.ndarray:
    """Return a table for the entries of *new*, computed from one for the entries of *old*.

    Special tokens, and entries that are the same bytes in both, keep their rows bit for bit at any index (as fastai's
    `convert_weights` does by word). A new entry starts from the mean of the rows of the entries that *old* reads in its
    place. If *old* has none of them, it starts from the mean of all entries that are not special.

    Args:
        old: Vocabulary of the fitted model.
        new: Vocabulary of the model to be fitted.
        weights: Shape (V_old, …): embeddings, output weights or output biases.

    Raises:
        ModelError: kind "input": *weights* does not have one row for each entry of *old*.
    """
    if len(weights) != old.size:
        raise ModelError(f"the table has {len(weights)} rows, but the old vocabulary {old.size} entries", "input")
    ids = {old.entry(token): token for token in range(FIRST, old.size)}
    mean = weights[FIRST:].mean(0, dtype=np.float64)
    rows = np.empty((new.size, *weights.shape[1:]), weights.dtype)
    rows[:FIRST] = weights[:FIRST]
    for token in range(FIRST, new.size):
        entry = new.entry(token)
        if entry in ids:
            rows[token] = weights[ids[entry]]
        else:
            pieces = _pieces(old, ids, entry)
            rows[token] = weights[pieces].mean(0, dtype=np.float64) if pieces else mean
    return rows


def _pieces(old: Vocabulary, ids: dict[bytes, int], entry: bytes) -> list[int]:
    """Return the tokens that the old vocabulary reads where the new one reads *entry*: known entries only."""
    try:
        read = old.encode(entry.decode()).tolist()
    except UnicodeDecodeError:  # a part of a character
        read = [ids.get(bytes([byte]), UNK) for byte in entry]
    return [token for token in read if token != UNK]
