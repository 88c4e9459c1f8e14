"""Files and folders that appear only when they are complete.

Arrays are read in several threads: numpy parses the head of each, which Python 3.11 cannot do twice at once.
"""

from __future__ import annotations

import ast
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_torch
from safetensors.torch import save_file as save_torch

from reviewlm.models.atomic_files import load_array, save_tensors


def test_a_matrix_in_fortran_order_is_read_back_as_the_same_matrix(tmp_path):
    matrix = np.arange(6.0).reshape(2, 3)
    arrays = {
        "c": matrix,
        "fortran": np.asfortranarray(matrix),
        "transposed": matrix.T,
        "every other": matrix[:, ::2],
    }
    save_tensors(save_file, arrays, tmp_path / "arrays.safetensors")
    stored = load_file(tmp_path / "arrays.safetensors")
    assert {name: array.tolist() for name, array in stored.items()} == {
        k: v.tolist() for k, v in arrays.items()
    }


def test_the_tensors_of_torch_are_written_as_they_are(tmp_path):
    save_tensors(save_torch, {"x": torch.arange(6).reshape(2, 3)}, tmp_path / "x.safetensors")
    assert load_torch(tmp_path / "x.safetensors")["x"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_no_two_threads_parse_at_the_same_time(tmp_path, monkeypatch):
    np.save(tmp_path / "one.npy", np.arange(3))
    inside, most, parse = [], [], ast.parse

    def watched(*given, **named):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.01)  # another thread would begin meanwhile
        try:
            return parse(*given, **named)
        finally:
            inside.pop()

    monkeypatch.setattr(ast, "parse", watched)
    works = [
        lambda: load_array(tmp_path / "one.npy"),
        lambda: load_array(tmp_path / "one.npy", "r"),
    ]
    with ThreadPoolExecutor(4) as pool:
        found = [future.result() for future in [pool.submit(work) for work in works * 6]]
    assert len(most) >= 12, "numpy no longer parses the head with ast: the lock may go"
    assert set(most) == {1}
    assert [array.tolist() for array in found[:2]] == [[0, 1, 2], [0, 1, 2]]
    assert isinstance(found[1], np.memmap)
