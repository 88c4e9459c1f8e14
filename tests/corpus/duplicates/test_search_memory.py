"""A search for near-duplicates holds little of its files in memory, whatever the number of pairs."""

import gc
import tracemalloc
from itertools import combinations
from pathlib import Path

import numpy as np

from corpus.duplicates.jaccard import Nearness
from corpus.duplicates.sketches import Sketches
from tests.corpus.duplicates.test_near_duplicates import finder, found_by, random_text


def test_fine_sketches_are_in_memory_for_few_pairs_at_a_time(tmp_path):
    """Every second text of a passage is a copy: 204,480 pairs, whose sketches of 120 bytes would take 49 MB."""
    signatures = np.random.default_rng(1).integers(0, 2**64, (1_280, 125), np.uint64)
    signatures[::2] = signatures[0]
    sketches = Sketches(tmp_path, 125, Nearness(0.7))
    sketches.append(sketches.of(signatures, np.full(1_280, 70)))
    texts, all_of_them = np.arange(1_280), np.full(1_280, 1_280)
    sketches.pairs_among(texts[:4], texts[:4] + 1, all_of_them[:4] * 0 + 4)  # compiles
    tracemalloc.start()
    found = sketches.pairs_among(texts, texts + 1, all_of_them)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert list(map(tuple, found.T.tolist())) == list(combinations(range(0, 1_280, 2), 2))
    assert peak < 36 << 20


def test_only_what_is_looked_up_for_every_text_is_mapped(tmp_path, monkeypatch):
    """Each mapping counts as resident memory, and pages of a file around a single number are mapped with it."""
    mapped, memmap, random = set(), np.memmap, np.random.default_rng(3)
    monkeypatch.setattr(np, "memmap", lambda file, *rest: mapped.add(Path(file).name) or memmap(file, *rest))
    texts = [random_text(random, 60, 150) for _ in range(40)]
    halves = [" ".join(text.split()[: len(text.split()) // 2]) for text in texts]
    near = finder(tmp_path, [*texts, *(text.upper() for text in texts), *halves])
    copies = [combinations((number, 40 + number, 80 + number), 2) for number in range(40)]
    assert found_by(near).keys() == {pair for each in copies for pair in each}
    assert mapped == {"coarse.u8", "sizes.u32"}
    gc.collect()
    maps = Path("/proc/self/maps")
    assert not maps.exists() or str(tmp_path) not in maps.read_text(), "nothing is mapped after a search"
