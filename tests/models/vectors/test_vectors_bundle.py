"""A bundle of word vectors opens as it was saved, or not at all."""

import json

import numpy as np
import pytest

from models.base import ModelError
from models.bundles.bundle import load_bundle
from models.vectors.bundle import load_vectors, save_vectors
from models.vectors.word_vectors import ARRAYS, WordVectors

SPEC = {"kind": "cbow", "name": "vectors", "vocabulary": "word", "dimensions": 2}


def vectors(output):
    return WordVectors(["good", "bad"], np.eye(2), [3, 2], {"threads": 1}, np.array(output, np.float32))


@pytest.fixture
def folder(tmp_path):
    save_vectors(tmp_path / "bundle", vectors([[1, 2], [3, 4]]), SPEC, {"clean_digest": "c"})
    return tmp_path / "bundle"


def test_a_bundle_opens_as_it_was_saved(folder, tmp_path):
    found = load_vectors(folder)
    assert (found.vectors.words, found.vectors.counts, dict(found.spec)) == (["good", "bad"], [3, 2], SPEC)
    assert np.array_equal(found.vectors.output_ND, [[1, 2], [3, 4]])
    assert json.loads((folder / "spec.json").read_text())["clean_digest"] == "c"
    save_vectors(tmp_path / "other", vectors([[1, 2], [3, 4]]), SPEC, {"clean_digest": "c"})
    assert load_vectors(tmp_path / "other").digest == found.digest


@pytest.mark.parametrize("file", [ARRAYS, "vectors.json"])
def test_a_changed_or_missing_file_is_refused(file, folder):
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[:-2] + b"x\n")
    with pytest.raises(ModelError, match="damaged"):
        load_vectors(folder)
    (folder / file).unlink()
    with pytest.raises(ModelError, match="lacks its file"):
        load_vectors(folder)


def test_output_vectors_that_are_not_finite_are_refused_when_saved(tmp_path):
    with pytest.raises(ModelError, match="not finite"):
        save_vectors(tmp_path, vectors([[1, np.nan], [3, 4]]), SPEC, {})
    assert not (tmp_path / "spec.json").exists()


def test_bundles_of_other_families_are_told_apart(folder):
    with pytest.raises(ModelError, match="its task is 'vectors', see `reviewlm neighbours`"):
        load_bundle(folder)
    (folder / "spec.json").write_text(json.dumps({"format": 1, "task": "classification"}))
    with pytest.raises(ModelError, match="'task' must be 'vectors'"):
        load_vectors(folder)
