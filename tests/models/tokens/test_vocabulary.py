"""One contract for four units; UTF-8 is the oracle of the lossless ones, the tokenizer that of distinct pieces."""

from __future__ import annotations

import hashlib
from string import ascii_letters, digits
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

import reviewlm.models.tokens.subword_codecs
from reviewlm.models.base import ModelError
from reviewlm.models.tokens.special import EOS, UNK
from reviewlm.models.tokens.subword_codecs import SPLIT
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.models.tokens.words import FIRST
from reviewlm.training.vocabularies.learn import count_pieces
from tests.examples import examples
from tests.models.small_vocabularies import ANY_TEXT, LOSSLESS, TRAIN, UNITS, train


@pytest.fixture(params=list(UNITS))
def vocabulary(request, vocabularies):
    return vocabularies[request.param]


SPECIMENS = [
    "The food",
    "McDonald's",
    "café",
    "İ",
    "_url_",
    "_IP_",
    "w/o",
    "U.S.",
    "12.95",
    ":)",
    " :D",
    "<3",
    "“soup”",
    "it’s",
    "'",
    '"',
    " ",
    "  ",
    "\n",
    "\n\n",
    "...",
    "!!!!",
    "BBQ",
    "bBq",
    "zebra",
    "-",
    "_",
    "\t",
    "\x00",
    "yelp.COM",
    "ß",
    "☕",
]
ODD_TEXT = st.one_of(
    ANY_TEXT,
    st.text(st.characters(codec="ascii")),
    st.lists(st.sampled_from(SPECIMENS)).map("".join),
)


@pytest.mark.parametrize("unit", list(UNITS))
@pytest.mark.parametrize("whole", [True, False])
@examples(300)
@given(text=ODD_TEXT)
def test_a_text_alone_costs_what_it_costs_among_others(
    unit,
    whole,
    vocabularies,
    text,
):
    assert priced(vocabularies[unit], [text], whole) == priced(
        vocabularies[unit], [text, *OTHERS], whole
    )


OTHERS = ("The soup.", "caffè ☕")


def priced(
    vocabulary,
    texts,
    whole=True,
):
    """Return all numbers of the first of some texts, encoded in one call."""
    found = vocabulary.encode_documents(texts, [3, 0, 1][: len(texts)], whole)
    prices = [
        getattr(found, name)[:1].tolist() for name in ("oov", "spelling_nats", "surface_nats")
    ]
    return (
        found.ids.dtype,
        found.ids[: found.offsets[1]].tolist(),
        found.offsets[:2].tolist(),
        prices,
    )


@pytest.fixture
def vocabulary_again(vocabulary, tmp_path):
    vocabulary.save(tmp_path / "vocabulary.json")
    return Vocabulary.load(tmp_path / "vocabulary.json")


def test_a_stored_vocabulary_comes_back(vocabulary, vocabulary_again):
    assert vocabulary_again.to_json() == vocabulary.to_json()
    for name in ("unit", "size", "spec", "normal_form"):
        assert getattr(vocabulary_again, name) == getattr(vocabulary, name)


def test_the_digest_of_a_vocabulary_is_that_of_its_file(vocabulary, vocabulary_again):
    expected = hashlib.sha256(vocabulary.to_json().encode()).hexdigest()
    assert vocabulary_again.digest == vocabulary.digest == expected


def test_a_stored_vocabulary_encodes_as_before(vocabulary, vocabulary_again):
    text = "I'd eat the soup <eos> again, zebra ☕ and 77 :)"
    assert vocabulary_again.encode(text).tolist() == vocabulary.encode(text).tolist()


@pytest.mark.parametrize("special", ["<unk>", "<bos>", "<eos>", "<stars_5>"])
def test_text_that_looks_like_a_special_token_stays_text(special):
    texts = [*TRAIN, *[f"I typed {special} there, {special}{special}"] * 20]
    for unit in UNITS:
        vocabulary = train(unit, texts)
        ids = vocabulary.encode(f"{special} the {special}")
        assert (ids >= FIRST).all(), unit
        assert special in vocabulary.decode(ids).replace(" ", ""), unit


def test_documents_are_streams_with_both_ends(vocabulary):
    texts, stars = [*TRAIN[:3], "", "zebra"], [1, 5, 0, 3, 2]
    encoded = vocabulary.encode_documents(texts, stars)
    assert (encoded.ids.dtype, encoded.offsets.dtype, encoded.oov.dtype) == (
        np.int32,
        np.int64,
        np.int32,
    )
    for row, (text, k) in enumerate(zip(texts, stars, strict=True)):
        ids = encoded.ids[encoded.offsets[row] : encoded.offsets[row + 1]].tolist()
        assert ids == [*vocabulary.prefix(k), *vocabulary.encode(text), EOS]
        assert encoded.oov[row] == ids.count(UNK)
    assert vocabulary.encode_documents([], []).offsets.tolist() == [0]


@pytest.mark.parametrize("unit", LOSSLESS)
def test_a_size_without_room_for_all_bytes_is_refused(unit):
    with pytest.raises(ModelError, match=r"size is 100.*needs at least \d+") as caught:
        train(unit, size=100)
    assert caught.value.kind == "input"


@pytest.mark.parametrize("text", ["", "{", '{"format": 1}', '{"format": 99}'])
def test_a_damaged_vocabulary_is_refused(text):
    with pytest.raises(ModelError) as caught:
        Vocabulary.from_json(text)
    assert caught.value.kind == "bundle"


@pytest.mark.parametrize("unit", LOSSLESS)
@examples(150)
@given(text=st.one_of(ANY_TEXT, st.text(" \n\t'a<0x41>▁Ġé☕🍕", max_size=40)))
def test_lossless_units_give_any_text_back(
    unit,
    vocabularies,
    text,
):
    ids = vocabularies[unit].encode(text)
    assert vocabularies[unit].decode(ids) == text
    assert UNK not in ids


@pytest.mark.parametrize("size", [253, 254, 258, 275, 300])
def test_letters_for_which_a_unigram_vocabulary_has_no_room_are_bytes(size):
    texts = [f"{ascii_letters} {digits} größe café 日本語", "the soup, the tacos and the tea"] * 20
    vocabulary = train("unigram", texts, size=size)
    assert vocabulary.size <= size
    for text in (*texts, "☕ zz"):
        assert vocabulary.decode(vocabulary.encode(text)) == text
    assert vocabulary.digest == train("unigram", texts[::-1], size=size).digest


ODD = st.text("aB1é' \n\t\r\u00a0\u2028\u3000\u180e\u200b\u0301.,!?s…👍", max_size=80)
TEXTS = st.lists(st.one_of(ANY_TEXT, ODD), max_size=6)


def by_the_tokenizer(vocabulary, texts):
    encodings = vocabulary._unit._tokenizer.encode_batch(texts, add_special_tokens=False)
    return [[one + FIRST - 1 for one in encoding.ids] for encoding in encodings]


@pytest.mark.parametrize("unit", ["bpe", "unigram"])
@examples(200)
@given(texts=TEXTS)
@example(texts=["\n\n's  it's\n 're \n\n", "", "  ", "a \t b\n\n\nThe end. \n"])
@example(texts=["\u00a0\u00a0x \u3000y", " \u2028's", "word\u180e \u180eword", "'ſ 'S 's"])
def test_ids_are_those_of_the_tokenizer_for_any_text(
    unit,
    vocabularies,
    texts,
):
    # Never the short way.
    with patch.object(reviewlm.models.tokens.subword_codecs, "FEW_BYTES", -1):
        found = vocabularies[unit].encode_batch(texts)
    assert [ids.tolist() for ids in found] == by_the_tokenizer(vocabularies[unit], texts)


@examples(200)
@given(texts=TEXTS)
def test_pieces_are_counted_as_the_package_cuts_them(texts):
    cutter = pre_tokenizers.Split(Regex(SPLIT), "isolated")
    expected = {}
    for text in texts:
        for piece, _ in cutter.pre_tokenize_str(text):
            expected[piece] = expected.get(piece, 0) + 1
    assert dict(count_pieces(texts).iter_rows()) == expected
