"""Store the rows that an embedding starts from: the fit of a network then needs neither the vector file nor gensim.

Training then changes the rows, or leaves them as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file, save_file

from reviewlm.models.atomic_files import save_tensors
from reviewlm.models.base import ModelError, translate_read_errors

if TYPE_CHECKING:
    from torch import nn

ROWS = "embedding.safetensors"
KEY = "rows"
HEADER = "vectors.json"
"""File that identifies a folder of word vectors (`files.py`): it holds the SHA-256 of the others."""


def save_matrix(folder: Path, matrix_VD: np.ndarray) -> None:
    """Write the rows (V, D) into a folder."""
    save_tensors(save_file, {KEY: np.ascontiguousarray(matrix_VD, np.float32)}, folder / ROWS)


def load_matrix(folder: Path) -> np.ndarray:
    """Return the rows that `save_matrix` wrote (V, D).

    Raises:
        ModelError: kind "bundle": the file is missing or damaged.
    """
    with translate_read_errors(f"the word vectors in {folder}"):
        matrix_VD: np.ndarray = load_file(folder / ROWS)[KEY]
        if matrix_VD.ndim != 2 or not np.isfinite(matrix_VD).all():
            raise ValueError(
                f"{ROWS} does not hold finite rows, but an array of shape {matrix_VD.shape}"
            )
        return matrix_VD


def start_embedding(
    embedding: nn.Embedding,
    spec: Any,
    folder: Path | None,
) -> None:
    """Fill an embedding with stored rows, and freeze it if the spec says so.

    Args:
        embedding: Of V entries and E dimensions.
        spec: Its `vectors` names the word vectors; `freeze_vectors`: they are not to be trained.
        folder: Where their rows are.

    Raises:
        ModelError: kind "input": the rows are not given, or not V × E of them; "bundle": their file is damaged.
    """
    import torch  # only here: who asks for `HEADER` does without

    if folder is None:
        raise ModelError(
            f"vectors is {spec.vectors!r}, but no word vectors were given to this fit", "input"
        )

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
