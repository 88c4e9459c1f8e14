"""A search for near-duplicates holds little of its files in memory, whatever the number of pairs."""

import gc
import tracemalloc
from itertools import combinations
from pathlib import Path

import numpy as np

from corpus.duplicates.minhash import Sketches
from tests.corpus.duplicates.test_near_duplicates import finder, found_by, random_text


def test_fine_sketches_are_in_memory_for_few_pairs_at_a_time(tmp_path):
    """204,480 pairs of copies, whose sketches of 120 bytes would take 49 MB."""
    sketches = Sketches(tmp_path, 125, 0.7)
    signatures = np.tile(np.random.default_rng(1).integers(0, 2**64, 125, np.uint64), (640, 1))
    sketches.append(*(sketch.cut(signatures) for sketch in (sketches.coarse, sketches.fine)))
    a, b = np.array(list(combinations(range(640), 2))).T
    sketches.similar((a[:4], b[:4]))  # compiles
    tracemalloc.start()
    similar = sketches.similar((a, b))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert similar.all()
    assert peak < 36 << 20


def test_only_what_is_looked_up_for_every_text_is_mapped(tmp_path, monkeypatch):
    """Each mapping counts as resident memory, and pages of a file around a single number are mapped with it."""
    mapped, memmap, random = set(), np.memmap, np.random.default_rng(3)
    monkeypatch.setattr(np, "memmap", lambda file, *rest: mapped.add(Path(file).name) or memmap(file, *rest))
    texts = [random_text(random, 60, 150) for _ in range(40)]
    near = finder(tmp_path, [*texts, *(text.upper() for text in texts)])
    assert found_by(near).keys() == {(number, 40 + number) for number in range(40)}
    assert mapped == {"coarse.u8"}
    gc.collect()
    maps = Path("/proc/self/maps")
    assert not maps.exists() or str(tmp_path) not in maps.read_text(), "nothing is mapped after a search"
