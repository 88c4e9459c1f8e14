"""What a word vocabulary drops of a text has a proper price: case, spaces and quotes, as unknown words have one."""

from __future__ import annotations

import itertools
import json
import math
from collections import defaultdict

import pytest

from reviewlm.models.base import ModelError
from reviewlm.models.specs import VocabularySpec
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.training.vocabularies.learn import learn_vocabulary

TEXTS = [
    "The food at McDonald's was good. I liked it (really)!",
    "We went to Phoenix, and it was GREAT. The end.",
    'My wife said: "never again". The staff was rude.\n\nWe don\'t like Phoenix.',
    "Good food, I think; the best.",
] * 5


def trained(texts=TEXTS, lowercase=True):
    return learn_vocabulary(
        texts,
        VocabularySpec(
            size=300,
            min_count=1,
            lowercase=lowercase,
        ),
        NormalForm(),
    )


@pytest.fixture(scope="module")
def vocabulary():
    return trained()


def surface(vocabulary, *texts):
    return vocabulary.encode_documents(list(texts), [0] * len(texts)).surface_nats


def pieces(vocabulary, texts):
    """The folded pieces of each text: what the ids and the spelling of unknown words say of it."""
    from reviewlm.models.tokens.words import cut, fold_texts

    return [tuple(each) for each in cut(fold_texts(texts, vocabulary.spec.lowercase)).to_list()]


@pytest.mark.parametrize(
    "signs", ["aA (.", "iI'’ ", "bB_\n ", "éÉ 1,", "iİI .", "ßẞSs ", "ΣσςΑ: ", "ǅǆǄ! ", "iİ.1 "]
)
@pytest.mark.parametrize("lowercase", [True, False])
def test_all_texts_with_the_same_pieces_have_a_probability_of_one_at_most(signs, lowercase):
    vocabulary = trained(lowercase=lowercase)
    texts = ["".join(each) for n in range(1, 6) for each in itertools.product(signs, repeat=n)]
    together = defaultdict(list)
    for text, key, nats in zip(
        texts, pieces(vocabulary, texts), surface(vocabulary, *texts), strict=True
    ):
        together[key].append((text, nats))
    sums = {key: math.fsum(math.exp(-nats) for _, nats in found) for key, found in together.items()}
    assert max(sums.values()) <= 1 + 1e-4, max(sums, key=sums.__getitem__)  # prices have six digits
    assert max(len(found) for found in together.values()) >= (4 if lowercase else 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("case", [[1.0]]),
        ("gap", []),
        ("gap", [[[1.0, float("nan")]] * 3] * 2),
        ("symbols", ["a", "a"]),
        ("quotes", {}),
        ("quotes", {"'": [1, 1, 1], '"': [1, 1, 0]}),
        ("regular", [0.1]),
        ("regular", [0.1, -1.0]),
        ("symbols", "ab"),
    ],
)
def test_a_damaged_price_is_no_vocabulary_that_can_be_read(
    vocabulary,
    name,
    value,
):
    values = json.loads(vocabulary.to_json())
    values["unit"]["surface"][name] = value
    with pytest.raises(ModelError, match="cannot be read"):
        Vocabulary.from_json(json.dumps(values))
