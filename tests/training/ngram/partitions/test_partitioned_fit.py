"""A fit in partitions has the bits of a fit in one piece, for any text, cut and number of workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reviewlm.models.base import ModelError
from reviewlm.models.ngram.lookup import row_type
from reviewlm.models.specs import NGramSpec
from reviewlm.training.ngram.counting.counts import count_ngrams, unseen_share
from reviewlm.training.ngram.fitting import fit_tables
from reviewlm.training.ngram.partitions import fitting
from reviewlm.training.ngram.partitions.fitting import PartitionedFit, fit_partitions
from reviewlm.training.ngram.partitions.windows import TextBlock, text_blocks
from reviewlm.training.ngram.smoothing.methods import figures, numbers_of_ngrams

GIVEN = {1, 3, 4}
V = 30


class Here:
    """A dataflow whose only worker is this process."""

    def __init__(self, workers: int = 1) -> None:
        self._workers = workers

    def each(
        self,
        work: Any,
        place: Any,
        shards: int,
    ) -> None:
        pytest.fail("a fit in partitions hands out no shards")

    def workers(self) -> int:
        return self._workers

    def put(self, value: Any) -> Any:
        return value

    def submit(self, function: Any, *arguments: Any, results: int = 1) -> list[Any]:
        made = list(function(*arguments))
        assert len(made) == results
        return made

    def fetch(self, references: Iterable[Any]) -> Iterator[Any]:
        yield from references


def documents(words: Iterable[Iterable[int]]) -> Any:
    """Return the text of documents `<bos> <stars> w… <eos>`; the words are below 20."""
    texts = [
        [1, 3 + index % 2, *(5 + word for word in text), 2] for index, text in enumerate(words)
    ]
    ids = np.array([token for text in texts for token in text], np.uint16)
    return SimpleNamespace(ids=ids, offsets=np.cumsum([0, *map(len, texts)]))


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "LEAST_WINDOWS", 8)


def assert_equal_fits(
    text: Any,
    held_out: Any,
    spec: NGramSpec,
    workers: int,
    authors: np.ndarray | None = None,
) -> None:
    counts = count_ngrams(
        text,
        spec.order,
        V,
        GIVEN,
        min_documents=spec.min_documents,
        authors_D=authors,
    )
    tables, _, made = fit_tables(counts, spec, held_out)
    there = fit_partitions(
        text,
        held_out,
        spec,
        V,
        GIVEN,
        Here(workers),
        authors_D=authors,
    )
    assert bits(there) == {name: (a.dtype, a.tobytes()) for name, a in tables.arrays().items()}
    assert there.unseen == unseen_share(counts, held_out)
    expected = figures(numbers_of_ngrams(counts, made), made, tables)
    assert figures(there.numbers, there.made, there.tables) == expected


def bits(fit: PartitionedFit) -> dict[str, tuple[Any, bytes]]:
    return {name: (array.dtype, array.tobytes()) for name, array in fit.tables.arrays().items()}


texts = st.lists(st.lists(st.integers(0, 19), max_size=9), min_size=1, max_size=25)


@settings(max_examples=30)
@given(
    texts,
    texts,
    st.integers(2, 5),
    st.sampled_from([(), (0, 0, 1)]),
    st.integers(1, 6),
)
def test_a_partitioned_fit_equals_that_of_one_piece(
    train: list[list[int]],
    held_out: list[list[int]],
    order: int,
    prune: tuple,
    workers: int,
) -> None:
    spec = NGramSpec(order=order, prune=prune[:order])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "LEAST_WINDOWS", 4)
        assert_equal_fits(documents(train), documents(held_out), spec, workers)


@settings(max_examples=20)
@given(
    texts,
    st.integers(2, 4),
    st.integers(1, 4),
    st.booleans(),
    st.data(),
)
def test_the_same_ngrams_are_dropped_as_too_few_people_have_them(
    train: list[list[int]],
    least: int,
    workers: int,
    known: bool,
    data: st.DataObject,
) -> None:
    spec = NGramSpec(
        order=3,
        min_documents=least,
        smoothing="kneser_ney",
    )
    authors = None
    if known:
        who = st.lists(st.integers(0, 3), min_size=len(train), max_size=len(train))
        authors = np.array(data.draw(who))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "LEAST_WINDOWS", 4)
        assert_equal_fits(
            documents(train),
            documents([[1, 2, 3]]),
            spec,
            workers,
            authors,
        )


def zipf_text(tokens: int, seed: int) -> Any:
    draws = np.random.default_rng(seed).zipf(1.3, (tokens // 10, 10))
    return documents(np.minimum(draws - 1, 19).tolist())


def test_a_text_without_any_document_is_fitted_as_in_one_piece() -> None:
    nothing: Any = SimpleNamespace(ids=np.zeros(0, np.uint16), offsets=np.zeros(1, np.int64))
    spec = NGramSpec(order=3)
    tables, _, _ = fit_tables(count_ngrams(nothing, 3, V, GIVEN), spec, nothing)
    there = fit_partitions(
        nothing,
        nothing,
        spec,
        V,
        GIVEN,
        Here(),
    )
    assert bits(there) == {name: (a.dtype, a.tobytes()) for name, a in tables.arrays().items()}
    assert there.unseen == {}


@pytest.mark.parametrize("wrong", [documents([[40]]), documents([[1], [2]])])
def test_ids_that_do_not_fit_are_refused_as_in_one_piece(wrong: Any, small_parts: None) -> None:
    wrong.ids[wrong.ids == 1] = 7  # a document that does not begin with a given id
    with pytest.raises(ModelError) as here:
        count_ngrams(wrong, 3, V, GIVEN)
    with pytest.raises(ModelError) as there:
        fit_partitions(
            wrong,
            documents([[1]]),
            NGramSpec(order=3),
            V,
            GIVEN,
            Here(),
        )
    assert str(here.value) == str(there.value)


class FarAway:
    """A text whose positions and documents are counted from beyond 32 bits on, as in a text of 10^12 tokens."""

    BEYOND = (1 << 40) + 5

    def __init__(self, text: Any) -> None:
        self._ids = text.ids
        self.ids = self
        self.offsets = text.offsets + self.BEYOND

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, part: slice) -> np.ndarray:
        return self._ids[part.start - self.BEYOND : part.stop - self.BEYOND]


def far_blocks(blocks: Callable[..., Iterator[TextBlock]]) -> Callable[..., Iterator[TextBlock]]:
    def cut(*arguments: Any) -> Iterator[TextBlock]:
        for block in blocks(*arguments):
            far = None if block.sources is None else block.sources + (1 << 35)
            yield block._replace(sources=far)

    return cut


def test_numbers_beyond_32_bits_change_nothing(
    monkeypatch: pytest.MonkeyPatch, small_parts: None
) -> None:
    text = zipf_text(4_000, 1)
    held_out = zipf_text(400, 2)
    spec = NGramSpec(order=4, min_documents=3)
    near = fit_partitions(
        text,
        held_out,
        spec,
        V,
        GIVEN,
        Here(3),
    )

    monkeypatch.setattr(fitting, "text_blocks", far_blocks(text_blocks))
    monkeypatch.setattr(fitting, "row_type", lambda rows: row_type(rows + (1 << 32)))
    far: Any = FarAway(text)
    there = fit_partitions(
        far,
        held_out,
        spec,
        V,
        GIVEN,
        Here(3),
    )
    assert there.tables.followers[1].first_C.dtype == np.uint64
    assert {k: a.tolist() for k, a in there.tables.arrays().items()} == {
        k: a.tolist() for k, a in near.tables.arrays().items()
    }


def test_each_block_has_whole_documents_of_about_the_size_that_was_asked() -> None:
    text = documents([[1] * size for size in (3, 50, 1, 1, 1, 20)])
    blocks = list(text_blocks(text, 12, counted=True))
    assert [len(block.ids) for block in blocks] == [6, 53, 12, 23]
    assert np.concatenate([block.sources for block in blocks]).tolist() == [0, 1, 2, 3, 4, 5]
