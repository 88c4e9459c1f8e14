"""`/classify` answers with the champion of the registered classifier, once there is one, and follows its alias."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from reviewlm.models.classification.bundle import ClassifierBundle
from reviewlm.models.classification.spec import LogisticSpec
from reviewlm.models.neural.labelling.rows import Sequences
from reviewlm.models.specs import VocabularySpec
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.serving.api.app import create_app
from reviewlm.serving.server import first_of
from reviewlm.training.context import FitContext
from reviewlm.training.labelling.examples import LabelledSequences
from reviewlm.training.labelling.fitting import fit_classifier
from reviewlm.training.vocabularies.learn import learn_vocabulary
from tests.serving.made_versions import MadeSource, made_versions, running
from tests.serving.served import served

LABELS = ("negative", "positive")
TEXTS = ["The food was great.", "The food was awful."] * 20


@cache
def classifier_of(number: int) -> ClassifierBundle:
    """A classifier of two sentences; those with even numbers say the opposite of the others."""
    vocabulary = learn_vocabulary(TEXTS, VocabularySpec(min_count=1), NormalForm())
    encoded = vocabulary.encode_documents(TEXTS, [0] * len(TEXTS), whole=False)
    targets = [number % 2, 1 - number % 2] * 20
    examples = LabelledSequences.of(
        [
            encoded.ids[start:end]
            for start, end in zip(encoded.offsets[:-1], encoded.offsets[1:], strict=True)
        ],
        targets,
    )
    spec = LogisticSpec(labels=LABELS, min_reviews=1)
    assert isinstance(examples.sequences, Sequences)
    with tempfile.TemporaryDirectory() as folder:
        model = fit_classifier(
            spec,
            vocabulary,
            examples,
            examples,
            FitContext(Path(folder)),
        ).model
    return ClassifierBundle(spec, vocabulary, model, digest=f"{number:064d}")


class MadeClassifiers(MadeSource):
    """A registry of classifiers in memory."""

    name = "reviewlm-stars"

    def __init__(self, **aliases: int) -> None:
        super().__init__(**aliases)
        self.make: Any = classifier_of
        self.count = max(aliases.values(), default=0)


@contextmanager
def classifying(source: MadeSource) -> Iterator[tuple[httpx.Client, Any]]:
    """Serve a language model, and the classifiers of a source; give a client and the classifiers."""
    with (
        running(made_versions(MadeSource(champion=1))) as versions,
        running(made_versions(source)) as classifiers,
    ):
        app = create_app(
            versions,
            versions.settings,
            versions.metrics,
            None,
            classifiers,
        )
        with served(app) as address, httpx.Client(base_url=address, timeout=30) as client:
            yield client, classifiers


def test_each_text_gets_its_label_with_the_probability_of_every_label() -> None:
    with classifying(MadeClassifiers(champion=1)) as (client, _):
        told = client.post(
            "/classify", json={"texts": ["great food", "awful food", "", "asdf qwer food"]}
        ).json()
    assert (told["model"], told["labels"]) == ("reviewlm-stars/1", ["negative", "positive"])
    assert [answer["label"] for answer in told["answers"][:2]] == ["positive", "negative"]
    assert [one["known_words"] for one in told["answers"]] == pytest.approx([1, 1, 0, 1 / 3])
    assert ["texts[2], texts[3]" in warning for warning in told["warnings"]] == [True]
    offline = classifier_of(1).classify(["great food", "awful food", "", "asdf qwer food"])
    for answer, row, number in zip(
        told["answers"], offline.probabilities_NK, offline.answers_N, strict=True
    ):
        assert list(answer["probabilities"].values()) == pytest.approx(list(row))
        assert answer["probability"] == pytest.approx(row[number])


def test_a_new_champion_answers_without_a_restart() -> None:
    source = MadeClassifiers(champion=1)
    source.count = 2
    with classifying(source) as (client, classifiers):
        before = client.post("/classify", json={"texts": "great food"}).json()
        source.aliases["champion"] = 2
        classifiers.look()
        after = client.post("/classify", json={"texts": "great food"}).json()
        old = client.post("/classify", json={"texts": "great food", "model": "1"}).json()
    assert [one["model"] for one in (before, after, old)] == [
        f"reviewlm-stars/{number}" for number in (1, 2, 1)
    ]
    assert [one["answers"][0]["label"] for one in (before, after, old)] == [
        "positive",
        "negative",
        "positive",
    ]


def test_without_a_language_model_the_classifier_is_served_alone_until_a_first_champion_comes() -> (
    None
):
    language, source = MadeSource(), MadeClassifiers(champion=1)
    language.count = 0
    with (
        closing(made_versions(language)) as versions,
        running(made_versions(source)) as classifiers,
    ):
        assert first_of(versions, classifiers).task == "classification"
        app = create_app(
            versions,
            versions.settings,
            versions.metrics,
            None,
            classifiers,
        )
        with served(app) as address, httpx.Client(base_url=address, timeout=30) as client:
            assert (
                client.post("/classify", json={"texts": "great food"}).json()["model"]
                == "reviewlm-stars/1"
            )
            refused, ready = client.post("/suggest", json={"prompt": "the"}), client.get("/readyz")
            assert client.get("/v1/models").json()["data"] == []
            assert client.get("/metrics").status_code == client.get("/healthz").status_code == 200
            language.aliases["champion"], language.count = 1, 1
            versions.look()
            assert client.post("/suggest", json={"prompt": "the"}).json()["model"] == "reviewlm/1"
            assert client.get("/readyz").json()["champion"] == "reviewlm/1"
    assert (refused.status_code, ready.status_code) == (404, 200)
    assert refused.json()["error"]["message"] == "no version of reviewlm is registered yet"
    assert (ready.json()["champion"], ready.json()["classifier"]) == (None, "reviewlm-stars/1")
