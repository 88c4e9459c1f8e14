"""Files and folders that appear only when they are complete."""

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_torch
from safetensors.torch import save_file as save_torch

from models.atomic_files import save_tensors


def test_a_matrix_in_fortran_order_is_read_back_as_the_same_matrix(tmp_path):
    matrix = np.arange(6.0).reshape(2, 3)
    arrays = {"c": matrix, "fortran": np.asfortranarray(matrix), "transposed": matrix.T, "every other": matrix[:, ::2]}
    save_tensors(save_file, arrays, tmp_path / "arrays.safetensors")
    stored = load_file(tmp_path / "arrays.safetensors")
    assert {name: array.tolist() for name, array in stored.items()} == {k: v.tolist() for k, v in arrays.items()}


def test_the_tensors_of_torch_are_written_as_they_are(tmp_path):
    save_tensors(save_torch, {"x": torch.arange(6).reshape(2, 3)}, tmp_path / "x.safetensors")
    assert load_torch(tmp_path / "x.safetensors")["x"].tolist() == [[0, 1, 2], [3, 4, 5]]
