"""Start an embedding from pretrained word vectors, which training then changes or leaves as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.base import ModelError
from training.vectors.stored_rows import load_matrix


def start_embedding(embedding: nn.Embedding, spec: Any, folder: Path | None) -> None:
    """Fill an embedding with stored rows, and freeze it if the spec says so.

    Args:
        embedding: Of V entries and E dimensions.
        spec: Its `vectors` names the word vectors; `freeze_vectors`: they are not to be trained.
        folder: Where their rows are (`training/vectors/stored_rows.py`).

    Raises:
        ModelError: kind "input": the rows are not given, or not V × E of them; "bundle": their file is damaged.
    """
    if folder is None:
        raise ModelError(f"vectors is {spec.vectors!r}, but no word vectors were given to this fit", "input")
    rows_VE = torch.from_numpy(load_matrix(folder))
    entries, dimensions = rows_VE.shape
    if dimensions != embedding.embedding_dim:
        what = f"the word vectors {spec.vectors!r} have {dimensions} dimensions, not {embedding.embedding_dim}"
        raise ModelError(f"{what}: set embedding = {dimensions}", "input")
    if entries != embedding.num_embeddings:
        what = f"there are word vectors for {entries} entries, but the vocabulary has {embedding.num_embeddings}"
        raise ModelError(f"{what}: they were made for another vocabulary", "input")
    with torch.no_grad():
        embedding.weight.copy_(rows_VE)
    embedding.weight.requires_grad_(not spec.freeze_vectors)
