"""Arrays are read in several threads: numpy parses the head of each, which Python 3.11 cannot do twice at once."""

import ast
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from models.atomic_files import load_array, load_arrays


def test_no_two_threads_parse_at_the_same_time(tmp_path, monkeypatch):
    np.save(tmp_path / "one.npy", np.arange(3))
    np.savez(tmp_path / "two.npz", a=np.arange(4), b=np.ones(2))
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
        lambda: load_array(tmp_path / "one.npy"), lambda: load_array(tmp_path / "one.npy", "r"),
        lambda: load_arrays(tmp_path / "two.npz")["a"],
    ]  # fmt: skip
    with ThreadPoolExecutor(4) as pool:
        found = [future.result() for future in [pool.submit(work) for work in works * 4]]
    assert len(most) >= 12, "numpy no longer parses the head with ast: the lock may go"
    assert set(most) == {1}
    assert [array.tolist() for array in found[:3]] == [[0, 1, 2], [0, 1, 2], [0, 1, 2, 3]]
    assert isinstance(found[1], np.memmap)
