"""A text that is written piece by piece: the pieces are the text of `generate`, and come while it is written."""


import pytest

from models.bundles.bundle import Bundle
from models.sampling import generate, stream
from models.specs import VocabularySpec
from models.text.normal_form import NormalForm
from tests.marked_cases import slow_but
from tests.models.table_lm import TableLM, TableSpec
from training.vocabularies.learn import learn_vocabulary

TEXTS = [
    "The soup was great, so we went back.", "We went to Phoenix! Great pizza", "(In Phoenix) the staff was slow.",
    "\"Don't go (really)\", they said: 5-star food, it's $3.50!\n\nWe'd re-order - e.g. crème brûlée...",
]  # fmt: skip


def bundle_of(unit: str) -> Bundle:
    vocabulary = learn_vocabulary(TEXTS, VocabularySpec(unit=unit, size=400, min_count=1), NormalForm())
    model = TableLM.random(vocabulary.size, 0, 0.3)
    return Bundle(TableSpec(), vocabulary, model, stars_prior=(0, 0.1, 0.2, 0.3, 0.4, 0))


@pytest.mark.parametrize("unit", slow_but(["word", "bpe", "char"], {"bpe"}))
@pytest.mark.parametrize("prompt", slow_but(["", "The soup", "We went ("], {"We went ("}))
def test_the_pieces_are_the_generated_text(unit: str, prompt: str) -> None:
    bundle = bundle_of(unit)
    for seed in range(25):
        pieces = list(stream(bundle, 3, prompt, max_tokens=40, seed=seed))
        assert "".join(pieces) == generate(bundle, 1, 3, prompt, max_tokens=40, seed=seed)[0]
