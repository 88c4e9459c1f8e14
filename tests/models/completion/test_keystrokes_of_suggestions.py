"""Typing with the suggestions saves the keys that the evaluation simulates."""

import numpy as np

from evaluation.scoring.keystrokes import SHOWN, Keyboard
from models.bundles.bundle import Bundle
from models.completion.suggestions import completions, next_words
from models.specs import VocabularySpec
from models.text.normal_form import NormalForm
from models.tokens.vocabulary import Vocabulary
from tests.models.table_lm import TableLM, TableSpec

UNRATED = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""No training review had a rating, so there is one way to read a text."""


def typed_with_suggestions(bundle, before, text):
    """Type one key after another; look at what the functions of the server suggest before each."""
    for typed in range(len(text)):
        word = text[:typed].strip()
        page = before + text[:typed]
        shown = completions(bundle, page, SHOWN) if word else next_words(bundle, page, SHOWN, marks=True)
        if text.strip() in [each.lower() for each, _ in shown.words]:
            return len(text) - typed - 1
    return 0


def test_typing_with_the_suggestions_saves_the_simulated_keys():
    text = "the soup was good. we went, as we want, to the sofa (good soup) as was said! so we want a soda"
    vocabulary = Vocabulary.train([text] * 3, VocabularySpec(unit="word", size=300, min_count=1), NormalForm())
    for seed in range(4):
        model = TableLM.random(vocabulary.size, seed, sharpness=2.0)
        bundle = Bundle(TableSpec(), vocabulary, model, stars_prior=UNRATED)
        ids = vocabulary.encode(text)
        p_NV = bundle.model.p_VV[ids[:-1]]
        own_N1 = np.take_along_axis(p_NV, ids[1:, None].astype(np.int64), 1)
        simulated = Keyboard(vocabulary).spared(p_NV > own_N1, ids[1:], ids[:-1])
        measured = [
            typed_with_suggestions(bundle, vocabulary.decode(ids[:place]).lower(), vocabulary.decode(
                ids[place : place + 1], vocabulary.decode(ids[:place])).lower())
            for place in range(1, len(ids))
        ]  # fmt: skip
        assert simulated.sum() > 20
        assert measured == simulated.tolist()
