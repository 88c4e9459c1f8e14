"""A model as a folder of data: refused when damaged, newer, mixed up or changed in its answers."""

import hashlib
import json

import pytest

from models.base import ModelError
from models.bundles.bundle import Bundle, load_bundle, save_bundle
from models.specs import VocabularySpec
from models.text.normal_form import NormalForm
from tests.models.table_lm import TableLM, TableSpec
from training.vocabularies.learn import learn_vocabulary

TEXTS = ["The soup was great & hot.", "The staff was slow, so slow.", "Great place, great soup!"]
PROBES = [("The soup was great.", 5), ("", 0), ("An unheard-of zebra!", 1)]
FACTS = {"stars_prior": [0, 0.1, 0.1, 0.2, 0.2, 0.4], "data_digest": "abc", "figures": {"perplexity": 12.5}}


@pytest.fixture(scope="module")
def vocabulary():
    return learn_vocabulary(TEXTS, VocabularySpec(size=40, min_count=1), NormalForm())


@pytest.fixture
def model(vocabulary):
    return TableLM.random(vocabulary.size, seed=3)


@pytest.fixture
def folder(vocabulary, model, tmp_path, table_kind):
    save_bundle(tmp_path / "bundle", TableSpec(), vocabulary, model, PROBES, FACTS)
    return tmp_path / "bundle"


def change(folder, **values):
    spec = json.loads((folder / "spec.json").read_text())
    (folder / "spec.json").write_text(json.dumps({**spec, **values}))


def refusal(folder, **options):
    with pytest.raises(ModelError) as caught:
        load_bundle(folder, **options)
    assert caught.value.kind == "bundle"
    return str(caught.value)


def test_a_bundle_comes_back_whole(folder, vocabulary, model):
    bundle = load_bundle(folder)
    assert bundle.spec == TableSpec()
    assert bundle.vocabulary.digest == vocabulary.digest
    assert (bundle.model.p_VV == model.p_VV).all()
    assert bundle.stars_prior == (0, 0.1, 0.1, 0.2, 0.2, 0.4)
    assert bundle.facts == {"data_digest": "abc", "figures": {"perplexity": 12.5}}


@pytest.mark.parametrize("name", ["table.npy", "vocabulary.json"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    assert f"lacks its file {name}" in refusal(folder)


@pytest.mark.parametrize("name", ["table.npy", "vocabulary.json"])
def test_one_changed_byte_is_detected(folder, name):
    raw = bytearray((folder / name).read_bytes())
    raw[-3] ^= 1
    (folder / name).write_bytes(bytes(raw))
    assert f"{name} of bundle" in refusal(folder)


def test_a_vocabulary_from_elsewhere_is_refused_with_both_digests(folder, vocabulary):
    other = learn_vocabulary(TEXTS[:2], VocabularySpec(size=40, min_count=1), NormalForm())
    spec = json.loads((folder / "spec.json").read_text())
    other.save(folder / "vocabulary.json")
    found = hashlib.sha256((folder / "vocabulary.json").read_bytes()).hexdigest()
    change(folder, files={**spec["files"], "vocabulary.json": found})
    message = refusal(folder)
    assert vocabulary.digest in message
    assert other.digest in message


def test_a_model_that_answers_differently_is_refused(folder):
    spec = json.loads((folder / "spec.json").read_text())
    spec["probes"][0]["nats"] *= 1.002
    change(folder, probes=spec["probes"])
    message = refusal(folder)
    assert "answers differently" in message
    assert "The soup was great." in message
    assert load_bundle(folder, check_probes=False).model is not None
    spec["probes"][0]["nats"] *= 1.0005 / 1.002
    change(folder, probes=spec["probes"])
    load_bundle(folder)  # rounding of another machine


@pytest.mark.parametrize("stars", [None, 0, 4])
@pytest.mark.parametrize("positions", [1, 40, 16_384])
def test_several_texts_have_the_scores_that_each_has_alone(vocabulary, model, stars, positions, monkeypatch):
    texts = ["The soup was great.", "", "Zebra soup", "The soup. " * 20, "The soup was great."]
    bundle = Bundle(TableSpec(), vocabulary, model, stars_prior=(0, 0.5, 0, 0, 0.25, 0.25))
    alone = [bundle.score_text(text, stars) for text in texts]
    monkeypatch.setattr("models.bundles.bundle.POSITIONS", positions)
    for found, expected in zip(bundle.score_texts(texts, stars), alone, strict=True):
        assert found.nats == pytest.approx(expected.nats)
        assert [name for name, _ in found.per_token] == [name for name, _ in expected.per_token]
        assert (found.bytes, found.oov, found.spelling_nats) == (expected.bytes, expected.oov, expected.spelling_nats)
    assert bundle.score_texts([], stars) == []
