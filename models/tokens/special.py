"""Number the special tokens, which have the same ids in every vocabulary."""

from __future__ import annotations

UNK, BOS, EOS = 0, 1, 2
STARS = (3, 4, 5, 6, 7, 8)
"""`STARS[k]` is the second token of a review with k stars; k = 0: rating unknown."""
CONTEXT_IDS = frozenset((BOS, *STARS))
"""Ids that are given, never predicted: probability 0 in every model."""
SPECIAL = ("<unk>", "<bos>", "<eos>", *(f"<stars_{k}>" for k in range(6)))
