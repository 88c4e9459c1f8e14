"""Words become text again as a person writes it."""

import pytest

SENTENCES = [
    "The food was great, and I loved it!",
    "We drove to Phoenix for the BBQ. I'm a fan.",
    'Our waiter said "the soup is hot" (it was not).',
    "The soup was $12.95 at 7:30pm.\n\nDon't go.",
    "The take-out isn't worth it - I paid 1,000 for it :(",
    "The café was great... I ate there at 10am with my iPhone :) :)",
    "Dr. Smith loves it, and the café/the BBQ & the food!!!",
    "Is it 5% off? #1!",
    '"The soup is hot," our waiter said.',
    "We'll be back: I'd go there; I'm a fan!",
    "The soup - not great - was (I said) $5.\nIt was hot.",
]


@pytest.mark.parametrize("text", SENTENCES)
def test_words_come_back_as_a_person_writes_them(text, vocabularies):
    vocabulary = vocabularies["word"]
    assert vocabulary.decode(vocabulary.encode(text)) == text
