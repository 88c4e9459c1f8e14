"""One contract for four units; UTF-8 itself is the oracle of the lossless ones."""

import hashlib
from string import ascii_letters, digits

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.base import ModelError
from models.text.normal_form import NormalForm
from models.tokens.special import BOS, CONTEXT_IDS, EOS, STARS, UNK
from models.tokens.vocabulary import Vocabulary
from models.tokens.words import FIRST
from tests.examples import examples
from tests.models.small_vocabularies import ANY_TEXT, LOSSLESS, TRAIN, UNITS, train


@pytest.fixture(params=list(UNITS))
def vocabulary(request, vocabularies):
    return vocabularies[request.param]


def test_special_ids_are_fixed():
    assert (UNK, BOS, EOS, STARS, FIRST) == (0, 1, 2, (3, 4, 5, 6, 7, 8), 9)
    assert {1, 3, 4, 5, 6, 7, 8} == CONTEXT_IDS


def test_ids_fit_the_vocabulary_and_are_never_special(vocabulary):
    ids = np.concatenate(vocabulary.encode_batch(TRAIN))
    assert ids.dtype == np.int32
    assert ids.min() >= FIRST
    assert ids.max() < vocabulary.size == len(vocabulary) <= 400


def test_encoding_one_text_equals_encoding_many(vocabulary):
    for text, ids in zip(TRAIN, vocabulary.encode_batch(TRAIN), strict=True):
        assert ids.tolist() == vocabulary.encode(text).tolist()


SPECIMENS = [
    "The food", "McDonald's", "café", "İ", "_url_", "_IP_", "w/o", "U.S.", "12.95", ":)", " :D", "<3", "“soup”", "it’s",
    "'", '"', " ", "  ", "\n", "\n\n", "...", "!!!!", "BBQ", "bBq", "zebra", "-", "_", "\t", "\x00", "yelp.COM", "ß",
    "☕",
]  # fmt: skip
ODD_TEXT = st.one_of(ANY_TEXT, st.text(st.characters(codec="ascii")), st.lists(st.sampled_from(SPECIMENS)).map("".join))


@pytest.mark.parametrize("unit", list(UNITS))
@pytest.mark.parametrize("whole", [True, False])
@examples(300)
@given(text=ODD_TEXT)
def test_a_text_alone_is_encoded_and_priced_as_among_others(unit, whole, vocabularies, text):
    assert priced(vocabularies[unit], [text], whole) == priced(vocabularies[unit], [text, *OTHERS], whole)


@examples(300)
@given(text=ODD_TEXT)
def test_a_text_alone_is_priced_as_among_others_where_case_is_kept(cased, text):
    assert priced(cased, [text]) == priced(cased, [text, *OTHERS])


@pytest.mark.parametrize("times", [80, 400])
def test_a_long_text_alone_is_encoded_and_priced_as_among_others(times, vocabulary):
    text = ('The "soup" at McDonald’s was GREAT, zebra :) ' * times).strip()
    assert priced(vocabulary, [text]) == priced(vocabulary, [text, *OTHERS])


@pytest.fixture(scope="module")
def cased():
    return train("word", lowercase=False)


OTHERS = ("The soup.", "caffè ☕")


def priced(vocabulary, texts, whole=True):
    """Return all numbers of the first of some texts, encoded in one call."""
    found = vocabulary.encode_documents(texts, [3, 0, 1][: len(texts)], whole)
    prices = [getattr(found, name)[:1].tolist() for name in ("oov", "spelling_nats", "surface_nats")]
    return found.ids.dtype, found.ids[: found.offsets[1]].tolist(), found.offsets[:2].tolist(), prices


def test_an_empty_text_has_no_tokens(vocabulary):
    assert vocabulary.encode("").tolist() == []
    assert [len(ids) for ids in vocabulary.encode_batch(["", "The", ""])][::2] == [0, 0]
    assert vocabulary.encode_batch([]) == []
    assert vocabulary.decode([]) == ""


def test_stored_and_read_again_is_the_same(vocabulary, tmp_path):
    vocabulary.save(tmp_path / "vocabulary.json")
    again = Vocabulary.load(tmp_path / "vocabulary.json")
    assert again.to_json() == vocabulary.to_json()
    assert again.digest == vocabulary.digest == hashlib.sha256(vocabulary.to_json().encode()).hexdigest()
    assert (again.unit, again.size, again.spec) == (vocabulary.unit, vocabulary.size, vocabulary.spec)
    assert again.normal_form == vocabulary.normal_form
    text = "I'd eat the soup <eos> again, zebra ☕ and 77 :)"
    assert again.encode(text).tolist() == vocabulary.encode(text).tolist()


def test_what_is_lossless_says_so(vocabulary):
    assert vocabulary.lossless == (vocabulary.unit != "word")
    assert f'"lossless":{str(vocabulary.lossless).lower()}' in vocabulary.to_json()


def test_the_digest_changes_with_entries_and_normal_form():
    base = train("word")
    assert train("word", TRAIN[1:]).digest != base.digest
    other = Vocabulary.train(TRAIN, base.spec, NormalForm(mask_personal_data=False))
    assert other.digest != base.digest


@pytest.mark.parametrize("special", ["<unk>", "<bos>", "<eos>", "<stars_5>"])
def test_text_that_looks_like_a_special_token_stays_text(special):
    texts = [*TRAIN, *[f"I typed {special} there, {special}{special}"] * 20]
    for unit in UNITS:
        vocabulary = train(unit, texts)
        ids = vocabulary.encode(f"{special} the {special}")
        assert (ids >= FIRST).all(), unit
        assert special in vocabulary.decode(ids).replace(" ", ""), unit


def test_special_tokens_leave_no_trace_in_text(vocabulary):
    ids = vocabulary.encode("The food was great").tolist()
    assert vocabulary.decode([*vocabulary.prefix(5), UNK, *ids, EOS]) == vocabulary.decode(ids) == "The food was great"


def test_prefix_opens_a_review_of_so_many_stars(vocabulary):
    assert vocabulary.prefix(None) == vocabulary.prefix(0) == [1, 3]
    assert vocabulary.prefix(5) == [1, 8]


def test_documents_are_streams_with_both_ends(vocabulary):
    texts, stars = [*TRAIN[:3], "", "zebra"], [1, 5, 0, 3, 2]
    encoded = vocabulary.encode_documents(texts, stars)
    assert (encoded.ids.dtype, encoded.offsets.dtype, encoded.oov.dtype) == (np.int32, np.int64, np.int32)
    for row, (text, k) in enumerate(zip(texts, stars, strict=True)):
        ids = encoded.ids[encoded.offsets[row] : encoded.offsets[row + 1]].tolist()
        assert ids == [*vocabulary.prefix(k), *vocabulary.encode(text), EOS]
        assert encoded.oov[row] == ids.count(UNK)
    assert vocabulary.encode_documents([], []).offsets.tolist() == [0]


def test_tokens_have_names(vocabulary):
    assert [vocabulary.token(i) for i in (0, 1, 2, 3, 8)] == ["<unk>", "<bos>", "<eos>", "<stars_0>", "<stars_5>"]
    names = [vocabulary.token(i) for i in range(vocabulary.size)]
    assert len(set(names)) == len(names)


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


def test_another_boundary_policy_is_refused_by_name(vocabulary):
    text = vocabulary.to_json().replace("review: <bos>", "line: <bos>")
    with pytest.raises(ModelError, match="boundary policy is 'line: <bos>"):
        Vocabulary.from_json(text)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ModelError, match="cannot be read"):
        Vocabulary.load(tmp_path / "vocabulary.json")


# Lossless units


@pytest.mark.parametrize("unit", LOSSLESS)
@examples(150)
@given(text=st.one_of(ANY_TEXT, st.text(" \n\t'a<0x41>▁Ġé☕🍕", max_size=40)))
def test_lossless_units_give_any_text_back(unit, vocabularies, text):
    ids = vocabularies[unit].encode(text)
    assert vocabularies[unit].decode(ids) == text
    assert UNK not in ids


@pytest.mark.parametrize("unit", LOSSLESS)
def test_lossless_units_have_no_unknown_words_and_no_spelling_price(unit, vocabularies):
    encoded = vocabularies[unit].encode_documents(["zebra ☕ 你好 \x00"], [1])
    assert vocabularies[unit].lossless
    assert (encoded.oov.sum(), encoded.spelling_nats.sum()) == (0, 0)


@pytest.mark.parametrize("unit", LOSSLESS)
def test_a_character_that_is_cut_off_is_left_out(unit, vocabularies):
    ids = vocabularies[unit].encode("ok 🍕")
    assert vocabularies[unit].decode(ids[:-1]) in ("ok ", "ok")


def test_characters_stand_in_frequency_order():
    vocabulary = train("char", ["bbbaacx", "dd"], min_count=2)
    assert [vocabulary.token(i) for i in range(9, 12)] == ["b", "a", "d"]
    assert [vocabulary.token(i) for i in vocabulary.encode("xa")] == ["x", "a"]
    assert vocabulary.encode("x").tolist() != [0]
    assert len(vocabulary.encode("é")) == 2


@pytest.mark.parametrize("size", [253, 254, 258, 275, 300])
def test_letters_for_which_a_unigram_vocabulary_has_no_room_are_bytes(size):
    texts = [f"{ascii_letters} {digits} größe café 日本語", "the soup, the tacos and the tea"] * 20
    vocabulary = train("unigram", texts, size=size)
    assert vocabulary.size <= size
    for text in (*texts, "☕ zz"):
        assert vocabulary.decode(vocabulary.encode(text)) == text
    assert vocabulary.digest == train("unigram", texts[::-1], size=size).digest


def test_rare_characters_are_bytes_in_unigram():
    vocabulary = train("unigram", [*TRAIN, "☕"], min_count=2)
    assert [vocabulary.token(i) for i in vocabulary.encode("☕")] == ["<0xE2>", "<0x98>", "<0x95>"]
