"""Simulated typing, key by key."""

import numpy as np
import pytest

from evaluation.scoring.keystrokes import SHOWN, Keyboard
from models.specs import VocabularySpec
from models.text.normal_form import NormalForm
from models.tokens.special import EOS, STARS, UNK
from models.tokens.vocabulary import Vocabulary

WORDS = "car card care cart dog! dog (car"


def keyboard_of(unit, shown=SHOWN, text=WORDS):
    vocabulary = Vocabulary.train([text] * 3, VocabularySpec(unit=unit, size=300, min_count=1), NormalForm())
    return vocabulary, Keyboard(vocabulary, shown)


def typed_by_hand(keyboard, vocabulary, order, target, at_beginning):
    """Type one key after another; look at the screen before each."""
    words = {token: vocabulary.entry(token) for token in order}
    full = {token: b" " + text if vocabulary.word_start_V[token] else text for token, text in words.items()}
    start = 1 if at_beginning and vocabulary.word_start_V[target] else 0
    length = len(full[target])
    for typed in range(length - start):
        prefix = full[target][: start + typed] if typed else b""
        screen = [token for token in order if full[token].startswith(prefix)][: keyboard.shown]
        if target in screen:
            return length - start - (typed + 1)
    return 0


@pytest.mark.parametrize("shown", [1, 2, 3])
@pytest.mark.parametrize("at_beginning", [True, False])
def test_keys_spared_are_those_of_a_typist_who_looks_before_every_key(shown, at_beginning):
    vocabulary, keyboard = keyboard_of("word", shown)
    order = np.random.default_rng(shown).permutation(np.arange(9, vocabulary.size)).tolist()
    rank_V = np.full(vocabulary.size, 99)
    rank_V[order] = range(len(order))
    before = STARS[0] if at_beginning else int(vocabulary.encode("dog")[0])
    for target in order:
        better_1V = (rank_V < rank_V[target])[None]
        found = keyboard.spared(better_1V, np.array([target]), np.array([before]))
        assert found.tolist() == [typed_by_hand(keyboard, vocabulary, order, target, at_beginning)]


def test_the_likeliest_word_costs_one_key_with_its_space():
    vocabulary, keyboard = keyboard_of("word")
    card, dog = (int(vocabulary.encode(word)[0]) for word in ("card", "dog"))
    shout, opening = (int(vocabulary.encode(text)[1]) for text in ("dog!", "dog (car"))
    assert (vocabulary.token(shout), vocabulary.token(opening)) == ("!", " (")
    nothing_better = np.zeros((4, vocabulary.size), bool)
    found = keyboard.spared(nothing_better, np.array([card] * 4), np.array([STARS[0], dog, shout, opening]))
    assert found.tolist() == [3, 4, 4, 3], "no space has to be typed at the beginning and after a bracket"


def test_special_tokens_spare_nothing():
    vocabulary, keyboard = keyboard_of("word")
    found = keyboard.spared(np.zeros((2, vocabulary.size), bool), np.array([UNK, EOS]), np.array([9, 9]))
    assert found.tolist() == [0, 0]


def test_a_character_costs_a_key_either_way():
    vocabulary, keyboard = keyboard_of("char")
    letters = vocabulary.encode("card dog")
    better_NV = np.random.default_rng(1).random((len(letters), vocabulary.size)) < 0.5
    assert keyboard.spared(better_NV, letters, np.roll(letters, 1)).sum() == 0


def test_parts_of_words_are_typed_with_the_spaces_that_they_hold():
    vocabulary, keyboard = keyboard_of("bpe", text="card dog card dog card")
    ids = vocabulary.encode("dog card")
    nothing_better = np.zeros((len(ids), vocabulary.size), bool)
    spared = keyboard.spared(nothing_better, ids, np.roll(ids, 1))
    assert spared.tolist() == [len(vocabulary.entry(token)) - 1 for token in ids]
    assert b" card" in [vocabulary.entry(token) for token in ids]
