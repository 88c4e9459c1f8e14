"""Labelled sequences: batches hold every sequence once and nothing else; what is wrong is named with its place."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.models.base import ModelError
from reviewlm.models.classification.spec import RecurrentClassifierSpec
from reviewlm.models.neural.labelling.rows import Sequences
from reviewlm.models.neural.labelling.spec import TaggingSpec
from reviewlm.training.labelling.examples import LabelledSequences, shuffle_rows

CLASSES = RecurrentClassifierSpec(labels=("bad", "fair", "good"))
TAGS = TaggingSpec(labels=("in", "out"))

texts = st.lists(st.lists(st.integers(9, 30), min_size=1, max_size=12), min_size=1, max_size=30)


@given(texts, st.integers(1, 40))
def test_evaluation_reads_every_sequence_once_in_batches_of_bounded_size(given_texts, positions):
    seen = {}
    for rows, ids, lengths in Sequences.of(given_texts).by_length(positions):
        assert ids.size <= positions or len(rows) == 1
        seen |= {row: ids[i, : lengths[i]].tolist() for i, row in enumerate(rows.tolist())}
        assert all(not ids[i, length:].any() for i, length in enumerate(lengths))
    assert [seen[row] for row in range(len(given_texts))] == given_texts


@given(texts, st.integers(1, 7), st.integers(0, 3))
def test_training_draws_every_sequence_once_in_an_epoch(
    given_texts,
    size,
    seed,
):
    sequences = Sequences.of(given_texts)
    groups = list(shuffle_rows(sequences, np.random.default_rng(seed), size))
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(given_texts)))
    assert max(len(group) for group in groups) <= size
    assert len(groups) == -(-len(given_texts) // size)


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        (lambda: Sequences.of([]), "there is no sequence"),
        (lambda: Sequences.of([[9], [], [10], []]), r"sequence 1 is empty \(2 of 4 are\)"),
        (lambda: Sequences(np.array([9, 10]), np.array([0, 1])), "offsets must rise from 0 to 2"),
        (
            lambda: Sequences(np.array([9, 10]), np.array([0, 2, 1, 2])),
            "offsets must rise from 0 to 2",
        ),
        (lambda: Sequences.of([[9.5]]), "one row of whole numbers"),
        (
            lambda: Sequences.of([[9]]).require(9),
            "id 9 of sequence 0, position 0 is not in the vocabulary.* 0 to 8",
        ),
        (
            lambda: Sequences.of([[9], [9, -2]]).require(20),
            "id -2 of sequence 1, position 1 is not in the vocabulary",
        ),
        (
            lambda: Sequences.of([[9], [1, 7, 9]]).require(20),
            "sequence 1, position 1 is <stars_4>, which",
        ),
    ],
)
def test_sequences_that_cannot_be_read_are_refused_with_the_place(build, complaint):
    with pytest.raises(ModelError, match=complaint) as caught:
        build()
    assert caught.value.kind == "input"


@pytest.mark.parametrize(
    ("spec", "targets", "complaint"),
    [
        (CLASSES, [0, 3], "target of sequence 1 is .*3.*; it must be a whole number from 0 to 2"),
        (CLASSES, [-1, 0], "target of sequence 0 is .*-1"),
        (CLASSES, [0.0, 1.0], "target of sequence 0 is .*0.0.*whole number"),
        (CLASSES, ["good", "bad"], "target of sequence 0 is .*good.*whole number"),
        (CLASSES, [0], r"targets are \(1,\); one for each sequence is needed, 2 in all"),
        (CLASSES, [[0, 1], [0, 1, 2]], r"targets are \(5,\); one for each sequence"),
        (TAGS, [0, 1], r"targets are \(2,\); one for each position is needed, 5 in all"),
        (TAGS, [[0, 1], [0, 1, 2]], "target of sequence 1, position 2 is .*2.*0 to 1, or -1"),
        (TAGS, [[0, 1, 1], [0, 1]], "sequence 0 has 2 positions and 3 labels"),
        (TAGS, [[-1, -1], [-1, -1, -1]], "nothing to learn: all labels are -1"),
    ],
)
def test_targets_that_do_not_fit_are_refused_with_the_place(
    spec,
    targets,
    complaint,
):
    with pytest.raises(ModelError, match=complaint) as caught:
        LabelledSequences.of([[9, 10], [11, 12, 13]], targets).require(spec, 20)
    assert caught.value.kind == "input"
