"""A model as a folder of data: refused when damaged, newer or mixed up; writing in int8 where little is lost."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

from reviewlm.models.base import ModelError
from reviewlm.models.bundles.bundle import INT8_LOSS, MOST_LOSS, Bundle, load_bundle, save_bundle
from reviewlm.models.neural.inference import int8
from reviewlm.models.sampling import generate, stream
from reviewlm.models.specs import VocabularySpec
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.training.vocabularies.learn import learn_vocabulary
from tests.models.table_lm import TableLM, TableSpec
from tests.serving.engine.small_models import bundle_of

TEXTS = ["The soup was great & hot.", "The staff was slow, so slow.", "Great place, great soup!"]
PROBES = [("The soup was great.", 5), ("", 0), ("An unheard-of zebra!", 1)]
FACTS = {
    "stars_prior": [0, 0.1, 0.1, 0.2, 0.2, 0.4],
    "data_digest": "abc",
    "figures": {"perplexity": 12.5},
}


@pytest.fixture(scope="module")
def vocabulary():
    return learn_vocabulary(TEXTS, VocabularySpec(size=40, min_count=1), NormalForm())


@pytest.fixture
def model(vocabulary):
    return TableLM.random(vocabulary.size, seed=3)


@pytest.fixture
def folder(
    vocabulary,
    model,
    tmp_path,
    table_kind,
):
    save_bundle(
        tmp_path / "bundle",
        TableSpec(),
        vocabulary,
        model,
        PROBES,
        FACTS,
    )
    return tmp_path / "bundle"


def change(folder, **values):
    spec = json.loads((folder / "spec.json").read_text())
    (folder / "spec.json").write_text(json.dumps({**spec, **values}))


def refusal(folder, **options):
    with pytest.raises(ModelError) as caught:
        load_bundle(folder, **options)
    assert caught.value.kind == "bundle"
    return str(caught.value)


def test_a_bundle_comes_back_whole(
    folder,
    vocabulary,
    model,
):
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
def test_several_texts_have_the_scores_that_each_has_alone(
    vocabulary,
    model,
    stars,
    positions,
    monkeypatch,
):
    texts = ["The soup was great.", "", "Zebra soup", "The soup. " * 20, "The soup was great."]
    bundle = Bundle(TableSpec(), vocabulary, model, stars_prior=(0, 0.5, 0, 0, 0.25, 0.25))
    alone = [bundle.score_text(text, stars) for text in texts]
    monkeypatch.setattr("reviewlm.models.bundles.bundle.POSITIONS", positions)
    for found, expected in zip(bundle.score_texts(texts, stars), alone, strict=True):
        assert found.nats == pytest.approx(expected.nats)
        assert [name for name, _ in found.per_token] == [name for name, _ in expected.per_token]
        assert (found.bytes, found.oov, found.spelling_nats) == (
            expected.bytes,
            expected.oov,
            expected.spelling_nats,
        )
    assert bundle.score_texts([], stars) == []


def losing(kind: str, loss: float) -> Bundle:
    return replace(bundle_of(kind), facts={INT8_LOSS: loss})


@pytest.mark.skipif(
    not int8.products.AVAILABLE, reason="the processor has no instructions for int8"
)
@pytest.mark.parametrize("kind", ["lstm", "gru", "mixture", "neural_cache"])
def test_a_network_that_loses_little_writes_in_int8(kind: str) -> None:
    bundle = losing(kind, MOST_LOSS)
    assert bundle.writer.numbers == "int8"
    assert bundle.writer.model is not bundle.model


@pytest.mark.parametrize("kind", ["lstm", "gru", "mixture", "neural_cache"])
def test_a_network_that_writes_in_int8_scores_in_float32(kind: str) -> None:
    scores = losing(kind, MOST_LOSS).score_text("The soup was cold.", 3)
    assert scores == bundle_of(kind).score_text("The soup was cold.", 3)


@pytest.mark.parametrize(
    ("kind", "quick", "facts"),
    [
        ("lstm", True, {}),
        ("lstm", True, {INT8_LOSS: MOST_LOSS + 1e-6}),
        ("lstm", True, {INT8_LOSS: None}),
        ("ngram", True, {INT8_LOSS: 0.0}),
        ("lstm", False, {INT8_LOSS: 0.0}),
    ],
)
def test_what_loses_too_much_or_was_not_measured_or_is_no_network_or_slow_in_int8_stays_in_float32(
    kind: str,
    quick: bool,
    facts: dict[str, float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(int8.products, "AVAILABLE", quick)
    bundle = replace(bundle_of(kind), facts=facts)
    assert (bundle.writer.numbers, bundle.writer.model is bundle.model) == ("float32", True)


@pytest.mark.skipif(
    not int8.products.AVAILABLE, reason="the processor has no instructions for int8"
)
@pytest.mark.parametrize("kind", ["lstm", "mixture"])
def test_a_text_in_int8_does_not_depend_on_the_texts_beside_it(kind: str) -> None:
    bundle = losing(kind, 0.0)
    texts = generate(
        bundle,
        30,
        3,
        "The soup",
        25,
        4,
        temperature=0.8,
        top_k=9,
        top_p=0.9,
    )
    assert texts != generate(
        bundle_of(kind),
        30,
        3,
        "The soup",
        25,
        4,
        temperature=0.8,
        top_k=9,
        top_p=0.9,
    )
    assert (
        generate(
            bundle,
            5,
            3,
            "The soup",
            25,
            4,
            temperature=0.8,
            top_k=9,
            top_p=0.9,
        )
        == texts[:5]
    )
    assert (
        "".join(
            stream(
                bundle,
                3,
                "The soup",
                25,
                4,
                temperature=0.8,
                top_k=9,
                top_p=0.9,
            )
        )
        == texts[0]
    )
