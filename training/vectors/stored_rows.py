"""Store the rows that an embedding starts from: the fit of a network then needs neither the vector file nor gensim."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from models.atomic_files import save_tensors
from models.base import stored

ROWS, KEY = "embedding.safetensors", "rows"
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
    with stored(f"the word vectors in {folder}"):
        matrix_VD: np.ndarray = load_file(folder / ROWS)[KEY]
        if matrix_VD.ndim != 2 or not np.isfinite(matrix_VD).all():
            raise ValueError(f"{ROWS} does not hold finite rows, but an array of shape {matrix_VD.shape}")
        return matrix_VD
