"""Words become text again as a person writes it."""

import os
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from models.text.normal_form import NormalForm
from tests.models.small_vocabularies import train

ROOT = Path(__file__).resolve().parents[3]
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


@pytest.mark.parametrize("text", SENTENCES)
def test_a_text_goes_on_from_any_word_as_if_never_interrupted(text, vocabularies):
    vocabulary = vocabularies["word"]
    ids = vocabulary.encode(text)
    for cut_at in range(len(ids) + 1):
        before = vocabulary.decode(ids[:cut_at])
        assert before + vocabulary.decode(ids[cut_at:], before) == text


def test_a_word_gets_its_usual_case_in_mid_sentence():
    vocabulary = train("word")
    assert vocabulary.decode(vocabulary.encode("the bbq in phoenix on my iphone")) == "The BBQ in Phoenix on my iPhone"
    assert vocabulary.decode(vocabulary.encode("THE SOUP WAS GREAT. IPHONE")) == "The soup was great. iPhone"


# Real reviews


@pytest.mark.real_data
def test_real_reviews_survive_the_round_trip_up_to_case_and_spaces():
    path = Path(os.environ.get("REVIEWLM_REAL_DATA", ROOT / "data")) / "kaggle_yelp_10k.csv.gz"
    if not path.is_file():
        pytest.skip(f"no real reviews at {path.parent} (REVIEWLM_REAL_DATA)")
    raw = pl.read_csv(path.read_bytes(), columns=["text"], n_rows=400)["text"].to_list()
    texts = [NormalForm().apply(text) for text in raw]
    vocabulary = train("word", texts, size=60_000)
    same = Counter()
    for text, ids in zip(texts, vocabulary.encode_batch(texts), strict=True):
        written = vocabulary.decode(ids)
        straight = text.translate(str.maketrans("‘’“”", "''\"\""))
        assert "".join(written.split()).lower() == "".join(straight.split()).lower()
        same[" ".join(written.split()) == " ".join(straight.split())] += 1
    assert same[True] > 0.25 * len(texts)
