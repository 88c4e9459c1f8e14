"""What a word vocabulary drops of a text has a proper price: case, spaces and quotes, as unknown words have one."""

from __future__ import annotations

import itertools
import json
import math
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.base import ModelError
from models.specs import VocabularySpec
from models.text.normal_form import NormalForm
from models.tokens.shapes import CAPITAL, CAPITALS, CASELESS, LOWER, OTHER, SPELT, USUAL, shape_of
from models.tokens.surface import BYTE_NATS, SAMPLE_TEXTS, Sample
from models.tokens.vocabulary import Vocabulary
from tests.examples import examples

TEXTS = [
    "The food at McDonald's was good. I liked it (really)!", "We went to Phoenix, and it was GREAT. The end.",
    "My wife said: \"never again\". The staff was rude.\n\nWe don't like Phoenix.", "Good food, I think; the best.",
] * 5  # fmt: skip


def trained(texts=TEXTS, lowercase=True):
    return Vocabulary.train(texts, VocabularySpec(size=300, min_count=1, lowercase=lowercase), NormalForm())


@pytest.fixture(scope="module")
def vocabulary():
    return trained()


def surface(vocabulary, *texts):
    return vocabulary.encode_documents(list(texts), [0] * len(texts)).surface_nats


def pieces(vocabulary, texts):
    """The folded pieces of each text: what the ids and the spelling of unknown words say of it."""
    from models.tokens.words import cut, folded

    return [tuple(each) for each in cut(folded(texts, vocabulary.spec.lowercase)).to_list()]


@pytest.mark.parametrize("signs", ["aA (.", "iI'’ ", "bB_\n ", "éÉ 1,", "iİI .", "ßẞSs ", "ΣσςΑ: ", "ǅǆǄ! ", "iİ.1 "])
@pytest.mark.parametrize("lowercase", [True, False])
def test_all_texts_with_the_same_pieces_have_a_probability_of_one_at_most(signs, lowercase):
    vocabulary = trained(lowercase=lowercase)
    texts = ["".join(each) for n in range(1, 6) for each in itertools.product(signs, repeat=n)]
    together = defaultdict(list)
    for text, key, nats in zip(texts, pieces(vocabulary, texts), surface(vocabulary, *texts), strict=True):
        together[key].append((text, nats))
    sums = {key: math.fsum(math.exp(-nats) for _, nats in found) for key, found in together.items()}
    assert max(sums.values()) <= 1 + 1e-4, max(sums, key=sums.__getitem__)  # prices have six digits
    assert max(len(found) for found in together.values()) >= (4 if lowercase else 2)


def test_what_is_written_as_usual_is_cheap_and_what_is_not_is_dear(vocabulary):
    usual, *odd = surface(
        vocabulary, "The food was good. I liked it.", "the food was good. i liked it.",
        "ThE FOOD wAs good. I liked it.", "The food was good.I liked it.", "The  food\twas good. I liked it.",
    )  # fmt: skip
    assert all(other > usual + 1 for other in odd)
    assert usual < 10
    upper, mixed = surface(vocabulary, "GREAT FOOD AND GREAT STAFF", "grEAt fOOd And greAt sTAff")
    assert upper < mixed


def test_a_text_that_cannot_be_restored_from_its_pieces_pays_for_all_its_bytes(vocabulary):
    [nats] = surface(vocabulary, "a\t\tb")
    assert nats > 5 * math.log(256)
    assert surface(vocabulary, "5İ")[0] > 4 * BYTE_NATS, "folding cuts within the letter"
    assert np.isfinite(surface(vocabulary, "", "İstanbul ŞEHİR", "\u0301x", "ΟΔΟΣ οδος", "_url_ _ a_b", "☕ ok")).all()


@pytest.mark.parametrize("piece", [
    "İstanbul", "İSTANBUL", "diyarbakIr'dan", "ǅep", "STRAẞE", "ΑΣ", "İ.Ö.", "www.İş.com",
])  # fmt: skip
def test_a_letter_without_an_exact_lower_case_costs_its_piece_and_not_the_whole_review(vocabulary, piece):
    text = " ".join(TEXTS)
    without, with_it = surface(vocabulary, text, f"{text} Good {piece}: good.")
    assert 0 < with_it - without < (len(piece.encode()) + 1) * BYTE_NATS + 20
    assert with_it < len(text) / 2, "8 bits a byte would be 5.5 nats"


def test_dotted_capitals_of_turkish_cost_no_more_than_other_capitals(vocabulary):
    dotted, plain = surface(vocabulary, "İyi yemek. İZMİR'de İSTANBUL.", "Eyi yemek. EZMER'de ESTANBUL.")
    assert dotted == pytest.approx(plain)


def test_curly_quotes_cost_something_once_and_little_from_then_on():
    texts = [*(f"It's what it's at table {n}." for n in range(200)), "It’s what it’s, and that’s it."]
    straight, once, often = surface(trained(texts), "it's", "it’s", "it’s, it’s, it’s, it’s")
    assert once > straight + 1
    assert often - once < 3 * (once - straight)


def test_the_surface_is_a_part_of_what_the_ids_leave_out(vocabulary):
    found = vocabulary.encode_documents(["The zebra", "the food"], [0, 0])
    assert found.oov.tolist() == [1, 0]
    [zebra] = vocabulary.word_unit.spelling.nats(["zebra"])
    assert found.spelling_nats[0] == pytest.approx(found.surface_nats[0] + zebra)
    assert found.spelling_nats[1] == found.surface_nats[1] > 0
    free = vocabulary.encode_documents(["The zebra", "the food"], [0, 0], whole=False)
    assert (free.surface_nats.sum(), free.spelling_nats.sum()) == (0, 0)
    assert free.ids.tolist() == found.ids.tolist()


def test_a_vocabulary_without_folding_pays_for_spaces_alone(vocabulary):
    cased = trained(lowercase=False)
    assert surface(cased, "GOOD food was good") == pytest.approx(surface(cased, "good FOOD Was good"))
    assert surface(vocabulary, "GOOD food was good") > surface(cased, "GOOD food was good") + 1


def test_units_that_drop_nothing_pay_for_nothing():
    for unit in ("char", "bpe"):
        vocabulary = Vocabulary.train(TEXTS, VocabularySpec(unit=unit, size=400, min_count=1), NormalForm())
        assert surface(vocabulary, "The  FOOD") == 0


def test_it_comes_back_from_its_file_and_does_not_depend_on_the_order_of_the_texts(vocabulary):
    again = Vocabulary.from_json(vocabulary.to_json())
    assert again.digest == vocabulary.digest
    assert surface(again, *TEXTS) == pytest.approx(surface(vocabulary, *TEXTS), abs=0)
    assert trained(TEXTS[::-1]).to_json() == vocabulary.to_json()


@pytest.mark.parametrize(("name", "value"), [
    ("case", [[1.0]]), ("gap", []), ("gap", [[[1.0, float("nan")]] * 3] * 2), ("symbols", ["a", "a"]), ("quotes", {}),
    ("quotes", {"'": [1, 1, 1], '"': [1, 1, 0]}), ("regular", [0.1]), ("regular", [0.1, -1.0]), ("symbols", "ab"),
])  # fmt: skip
def test_a_damaged_price_is_no_vocabulary_that_can_be_read(vocabulary, name, value):
    values = json.loads(vocabulary.to_json())
    values["unit"]["surface"][name] = value
    with pytest.raises(ModelError, match="cannot be read"):
        Vocabulary.from_json(json.dumps(values))


def test_shapes_are_functions_of_the_folded_piece():
    assert shape_of("food", "food", "food") == (LOWER, 0)
    assert shape_of("Food", "food", "food") == (CAPITAL, 0)
    assert shape_of("FOOD", "food", "food") == (CAPITALS, 0)
    assert shape_of("McDonald's", "mcdonald's", "McDonald's") == (USUAL, 0)
    assert shape_of("fOOd", "food", "food") == (OTHER, 4)
    assert shape_of("12", "12", "12") == (CASELESS, 0)
    assert shape_of("İzmir", "i̇zmir", "i̇zmir") == (CAPITAL, 0)
    assert shape_of("İZMİR", "i̇zmi̇r", "i̇zmi̇r") == (CAPITALS, 0)
    assert shape_of("İZMİR'de", "i̇zmi̇r'de", "i̇zmi̇r'de") == (OTHER, 7)
    assert shape_of("ǅep", "ǆep", "ǆep") == (SPELT, len("ǅep".encode()) + 1)
    assert shape_of(" !", "!", "!") == (CASELESS, -1)


@examples(30)
@given(st.lists(st.text(max_size=8), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_the_sample_is_the_same_in_any_order(texts, random):
    one, other = Sample(), Sample()
    one.add(texts)
    other.add(random.sample(texts, len(texts)))
    assert one.texts() == other.texts()


def test_the_sample_is_bounded_and_holds_different_texts():
    sample = Sample()
    sample.add([f"text {n}" for n in range(2 * SAMPLE_TEXTS)])
    sample.add([f"text {n}" for n in range(2 * SAMPLE_TEXTS)])
    assert len(set(sample.texts())) == len(sample.texts()) == SAMPLE_TEXTS


def test_a_folding_model_that_knows_the_words_is_charged_what_their_case_is_worth():
    """Each word has a capital in half of the cases, by the toss of a coin: 1 bit a word, which no model can save."""
    random = np.random.default_rng(3)
    words = ["food", "staff", "place", "price", "table"]

    def text():
        drawn, tosses = [words[i] for i in random.integers(0, 5, 12)], random.random(12) < 0.5
        return " ".join(each.capitalize() if toss else each for each, toss in zip(drawn, tosses, strict=True))

    vocabulary = trained([text() for _ in range(800)])
    bits = surface(vocabulary, *(text() for _ in range(300))).sum() / math.log(2) / 300 / 12
    assert 0.99 < bits < 1.05
