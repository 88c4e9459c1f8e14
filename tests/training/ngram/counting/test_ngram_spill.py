"""A fit in files under a memory limit: the same tables, the limit kept, and nothing left behind."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from reviewlm.models.base import ModelError
from reviewlm.models.ngram.tables import Tables
from reviewlm.models.specs import NGramSpec, Smoothing
from reviewlm.models.tokens.special import CONTEXT_IDS
from reviewlm.training.context import FitContext
from reviewlm.training.fit import fit_model
from reviewlm.training.ngram.counting import counts as counting
from reviewlm.training.ngram.counting import counts as documents_of
from reviewlm.training.ngram.counting import memory, window_counts
from reviewlm.training.ngram.counting import memory as allocator
from reviewlm.training.ngram.counting.counts import count_ngrams
from reviewlm.training.ngram.counting.memory import (
    ArrayAllocator,
    MemoryPlan,
    memory_plan,
    resident,
)
from reviewlm.training.ngram.engine import Threads
from reviewlm.training.ngram.fitting import fit_tables
from reviewlm.training.ngram.smoothing import by_context, kneser_ney
from tests.examples import examples
from tests.marked_cases import long_but
from tests.programs import command

V = 16
WORD = st.sampled_from([0, 9, 9, 10, 11, 15])
DOCUMENT = st.builds(
    lambda stars, words: [1, stars, *words, 2], st.integers(3, 8), st.lists(WORD, max_size=12)
)
FREELY = examples(40, suppress_health_check=[HealthCheck.function_scoped_fixture])
AMPLE = 1 << 40


METHODS = sorted({*get_args(Smoothing)})


def plan_of_small_pieces(pieces: int, *arguments: Any) -> MemoryPlan:
    """Plan a fit as for memory that is full after a few windows."""
    return replace(memory_plan(*arguments), batch=3 * pieces)


def ranges_of_few_rows(pieces: int, rows: int, *_: Any) -> list[slice]:
    """Cut rows as for memory that is full after a few of them."""
    return [
        slice(first, min(first + 2 * pieces, rows)) for first in range(0, max(rows, 1), 2 * pieces)
    ]


@FREELY
@given(
    documents=st.lists(DOCUMENT, max_size=15),
    order=st.integers(1, 5),
    pieces=st.sampled_from([1, 3, 8, 1000]),
    threads=st.sampled_from([1, 2]),
    precision=st.sampled_from(["single", "double"]),
    smoothing=st.one_of(st.just("modified_kneser_ney"), st.sampled_from(METHODS)),
    prune=st.sampled_from([(), (0, 1), (0, 0, 1, 2)]),
    least=st.integers(1, 3),
    wide=st.booleans(),
)
def test_tables_spilled_to_files_are_bit_equal_to_those_made_in_memory(
    documents,
    order,
    pieces,
    threads,
    precision,
    smoothing,
    prune,
    least,
    wide,
    stream_of,
    tmp_path,
):
    text, spec = (
        stream_of(documents),
        NGramSpec(
            order=order,
            smoothing=smoothing,
            prune=prune[:order],
        ),
    )
    options = {"precision": precision, "held_out": stream_of(documents[:3])}
    counts = count_ngrams(
        text,
        order,
        V,
        CONTEXT_IDS,
        min_documents=least,
    )
    whole = fit_tables(counts, spec, **options).tables
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "MOST_WINDOWS", pieces)
        patch.setattr(counting, "memory_plan", partial(plan_of_small_pieces, pieces))
        patch.setattr(documents_of, "BLOCK", 2 * pieces)
        patch.setattr(memory, "BLOCK", 3 * pieces)
        patch.setattr(by_context, "NGRAMS", pieces)
        if wide:  # positions and rows of 64 bits, as in a text of more than 2^31 tokens
            patch.setattr(window_counts, "MOST_32", -1)
        for module in (by_context, window_counts, kneser_ney):
            patch.setattr(module, "ranges_in_memory", partial(ranges_of_few_rows, pieces))
        files = ArrayAllocator(tmp_path, AMPLE)
        counts = count_ngrams(
            text,
            order,
            V,
            CONTEXT_IDS,
            files,
            threads,
            min_documents=least,
        )
        spilled = fit_tables(counts, spec, engine=Threads(threads), **options).tables
    spilled.save(tmp_path / "model")
    for made in (spilled, Tables.load(tmp_path / "model")):
        for name, array in whole.arrays().items():
            assert array.dtype == made.arrays()[name].dtype
            assert array.tobytes() == made.arrays()[name].tobytes(), name
    assert os.listdir(tmp_path) == ["model"]


def test_a_limit_below_what_the_text_needs_is_refused_naming_the_least_that_would_do():
    with pytest.raises(
        ModelError, match=r"one occurs 1,000 times; the minimum is [\d,]+ MiB"
    ) as caught:
        memory_plan(3, 60_000, 1000, ArrayAllocator(limit=1 << 20))
    assert caught.value.kind == "input"


@pytest.mark.parametrize("broken", ["missing", "full"])
def test_a_folder_without_room_is_an_error_that_says_what_to_do(
    broken,
    stream_of,
    reviews_of,
    tmp_path,
    monkeypatch,
):
    folder = tmp_path / "gone" if broken == "missing" else tmp_path
    if broken == "full":

        def no_room(file: int, size: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(allocator, "_reserve", no_room)
    with pytest.raises(ModelError, match=r"temporary files in .*folder with more room") as caught:
        count_ngrams(
            stream_of(reviews_of(20, V, 1)),
            3,
            V,
            CONTEXT_IDS,
            ArrayAllocator(folder, AMPLE),
        )
    assert caught.value.kind == "disk"
    assert list(tmp_path.iterdir()) == []


def test_a_text_that_would_fill_half_of_the_free_memory_is_counted_in_files(
    stream_of,
    reviews_of,
    tmp_path,
    monkeypatch,
):
    stream = stream_of(reviews_of(3_000, V, 1))
    monkeypatch.setattr(allocator, "FEWEST_WINDOWS", 64)
    chosen, made = [], []
    for free in (AMPLE, len(stream.ids) * 52):
        monkeypatch.setattr(
            allocator.psutil, "virtual_memory", lambda free=free: SimpleNamespace(available=free)
        )
        chosen.append(ArrayAllocator.for_text(len(stream.ids), 5, tmp_path).folder)
        fitted = fit_model(
            NGramSpec(order=5),
            SimpleNamespace(size=V),
            stream,
            stream,
            FitContext(work=tmp_path),
        )
        made.append({name: array.tobytes() for name, array in fitted.model.tables.arrays().items()})
    assert chosen == [None, tmp_path]
    assert made[0] == made[1]


@pytest.mark.long
@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the system does not tell the most memory held"
)
@pytest.mark.parametrize(
    ("smoothing", "prune"),
    long_but(
        [("modified_kneser_ney", ()), ("modified_kneser_ney", (0, 0, 1)), ("katz", (0, 1))],
        [("katz", (0, 1))],
    ),
)
def test_a_process_keeps_within_its_limit_where_it_would_take_more(
    smoothing,
    prune,
    tmp_path,
):
    peaks = {}
    for limit in (0, 128 << 20):
        folder = tmp_path / str(limit)
        folder.mkdir()
        words = command(
            "fit_within_limit",
            limit,
            folder,
            smoothing,
            json.dumps(prune),
        )
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            check=True,
        )
        peaks[limit] = int(done.stdout)
    assert peaks[128 << 20] <= 128 << 20 < peaks[0]
    left, right = (
        {path.name: np.load(path) for path in (tmp_path / str(limit) / "model").glob("*.npy")}
        for limit in peaks
    )
    assert all(left[name].tobytes() == right[name].tobytes() for name in left)


def test_entropy_pruning_that_does_not_fit_into_the_limit_is_refused_with_what_it_takes(
    stream_of,
    reviews_of,
    tmp_path,
):
    text, spec = stream_of(reviews_of(50, V, 1)), NGramSpec(order=3, entropy=1e-4)
    files = ArrayAllocator(tmp_path, AMPLE)
    expected = fit_tables(count_ngrams(text, 3, V, CONTEXT_IDS), spec).tables
    ample = fit_tables(
        count_ngrams(
            text,
            3,
            V,
            CONTEXT_IDS,
            files,
        ),
        spec,
    ).tables
    assert all(
        np.array_equal(array, ample.arrays()[name]) for name, array in expected.arrays().items()
    )
    counts = count_ngrams(
        text,
        3,
        V,
        CONTEXT_IDS,
        files,
    )
    counts.allocator.limit = resident()
    with pytest.raises(
        ModelError, match=r"pruning by entropy takes some [\d,]+ MiB, .* beyond the memory limit"
    ) as caught:
        fit_tables(counts, spec)
    assert caught.value.kind == "input"
