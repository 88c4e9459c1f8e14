"""The bundle of a classifier: the same answers when it is opened, and refused when damaged, newer or changed."""

from __future__ import annotations

import copy
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reviewlm.models.base import ModelError
from reviewlm.models.classification.bundle import load_classifier, save_classifier
from reviewlm.models.classification.classifier import softmax
from reviewlm.models.neural.labelling.rows import Rows
from reviewlm.training.context import FitContext
from reviewlm.training.labelling.fitting import fit_classifier
from tests.marked_cases import long_but
from tests.models.classification.made_reviews import (
    LABELS,
    MECHANISMS,
    OPTIONS,
    RECIPE,
    small,
    texts,
)

PROBES = ["great tane", "", "An unheard-of zebra is rude!"]
FACTS = {"data_digest": "abc", "figures": {"accuracy": 0.5}}


def quick(kind, **changes):
    """A small classifier that is trained for one epoch: any weights but the first show what is saved."""
    short = (
        {"training": replace(RECIPE, epochs=1, evaluations=1)}
        if "training" in OPTIONS[kind]
        else {}
    )
    return small(kind, **short, **changes)


@pytest.fixture(scope="module")
def folders(
    words,
    train,
    held_out,
    tmp_path_factory,
):
    """A bundle of each kind, made when it is asked for."""
    made = {}

    def folder(kind):
        if kind not in made:
            base = tmp_path_factory.mktemp(kind)
            spec = quick(kind)
            model = fit_classifier(
                spec,
                words,
                train,
                held_out,
                FitContext(base / "work"),
            ).model
            save_classifier(
                base / "bundle",
                spec,
                words,
                model,
                PROBES,
                FACTS,
            )
            made[kind] = base / "bundle", model
        return made[kind]

    return folder


@pytest.fixture
def bundle(folders, tmp_path):
    """A copy of a bundle that a test may damage."""
    return Path(shutil.copytree(folders("gru")[0], tmp_path / "bundle"))


def refusal(folder):
    with pytest.raises(ModelError) as caught:
        load_classifier(folder)
    assert caught.value.kind == "bundle"
    return str(caught.value)


def change(folder, **values):
    description = json.loads((folder / "spec.json").read_text())
    (folder / "spec.json").write_text(json.dumps({**description, **values}))


@pytest.mark.parametrize("kind", long_but(OPTIONS, MECHANISMS))
def test_what_is_opened_answers_as_what_was_saved(
    kind,
    folders,
    words,
):
    folder, model = folders(kind)
    opened = load_classifier(folder)
    assert (opened.spec, opened.labels, opened.facts) == (quick(kind), LABELS, FACTS)
    made = texts(40, 5)[0]
    found = opened.classify(made)
    expected = model.scores(Rows.of(words.encode_batch(made)))
    assert np.array_equal(found.scores_NK, expected)
    assert np.array_equal(found.answers_N, expected.argmax(1))
    assert found.answers_N.dtype == np.int64
    assert np.array_equal(found.probabilities_NK, softmax(expected))


def test_no_texts_have_no_answers(folders):
    found = load_classifier(folders("gru")[0]).classify([])
    assert found.scores_NK.shape == found.probabilities_NK.shape == (0, 3)
    assert found.answers_N.shape == (0,)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"format": 2}, "has format 2, newer than this version reads"),
        ({"kind": "transformer"}, "kind 'transformer'; known: logistic"),
        ({"kind": "lstm"}, "of kind 'lstm', its options of kind 'gru'"),
        ({"spec": {"kind": "gru"}}, "it has 0 labels"),
        ({"spec": []}, "'spec' is not valid"),
        ({"probes": [{"text": 1}]}, "'probes.0.text' is not valid"),
        ({"files": {"../x": "0"}}, "'files.../x.* is not valid"),
        ({"vocabulary_digest": "0"}, "was trained with vocabulary 0, but holds"),
        (
            {"probes": [{"text": "great", "scores": [9.0, 9.0, 9.0]}]},
            "answers differently.* for the probe 'great'",
        ),
        ({"probes": [{"text": "great", "scores": [9.0]}]}, "answers differently"),
    ],
    ids=str,
)
def test_a_description_that_does_not_fit_is_refused(
    changes,
    complaint,
    bundle,
):
    change(bundle, **changes)
    assert re.search(complaint, refusal(bundle))


@pytest.mark.parametrize("name", ["weights.safetensors", "vocabulary.json"])
def test_a_missing_or_damaged_file_is_named(name, bundle):
    raw = bytearray((bundle / name).read_bytes())
    raw[-2] ^= 1
    (bundle / name).write_bytes(raw)
    assert f"the file {name} of bundle {bundle} is damaged" in refusal(bundle)
    (bundle / name).unlink()
    assert f"lacks its file {name}" in refusal(bundle)


def test_a_classifier_whose_scores_are_no_numbers_is_not_saved(
    words,
    folders,
    tmp_path,
):
    broken = copy.deepcopy(folders("gru")[1])
    broken.labeller.network.head.bias.data.fill_(float("nan"))
    with pytest.raises(ModelError, match="not a finite number") as caught:
        save_classifier(
            tmp_path / "bundle",
            quick("gru"),
            words,
            broken,
            PROBES,
            {},
        )
    assert caught.value.kind == "diverged"
    assert not (tmp_path / "bundle" / "spec.json").exists()
