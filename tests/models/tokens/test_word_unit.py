"""The word unit: cut, frequency, spelling of unknown words. Oracle: WordLevel of the `tokenizers` package."""

from itertools import pairwise
from unicodedata import category

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from reviewlm.models.base import ModelError
from reviewlm.models.text.personal_data import MASKS
from reviewlm.models.tokens.word_pieces import cut_one
from reviewlm.models.tokens.words import FIRST, PATTERN, cut
from tests.examples import examples
from tests.models.small_vocabularies import ANY_TEXT, TRAIN, train


def test_words_stand_in_frequency_order_with_ties_by_text():
    vocabulary = train("word", ["b b b c c a a d"], min_count=2)
    assert [vocabulary.token(i) for i in range(9, vocabulary.size)] == ["b", "a", "c"]
    assert vocabulary.encode("d b D").tolist() == [0, 9, 0]


def test_no_frequent_word_at_all_is_refused():
    with pytest.raises(ModelError, match="occurs at least 3 times") as caught:
        train("word", ["only once"], min_count=3)
    assert caught.value.kind == "input"
    with pytest.raises(ModelError):
        train("word", [])


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Don't stop, y'all!", ["Don't", "stop", ",", "y'all", "!"]),
        ("Price: $12.95 or 1,000", ["Price", ":", " $", "12", ".95", "or", "1", ",000"]),
        ("open 7:30pm-10am", ["open", "7", ":30pm", "-", "10am"]),
        ("take-out - and so", ["take", "-", "out", " -", "and", "so"]),
        ('he said "hot" (not)', ["he", "said", ' "', "hot", '"', " (", "not", ")"]),
        ("so good... wow!!!!!", ["so", "good", "...", "wow", "!!!", "!!"]),
        ("one\n\ntwo\nthree", ["one", "\n\n", "two", "\n", "three"]),
        ("at 5 p.m. in the U.S. now", ["at", "5", "p.m.", "in", "the", "U.S.", "now"]),
        ("yum :) ;-( :D nice:Done", ["yum", " :)", " ;-(", " :D", "nice", ":", "Done"]),
        ("see yelp.com or _url_ ok", ["see", "yelp.com", "or", "_url_", "ok"]),
        ("an _ip_, _IP_ and _up_", ["an", "_ip_", ",", "_IP_", "and", "_", "up", "_"]),
        ("soup w/ rice w/o ice now/then", ["soup", "w/", "rice", "w/o", "ice", "now", "/", "then"]),
        ("great.I went", ["great", ".", "I", "went"]),
        ("café 👍🏽 ½ off 5%", ["café", " 👍", "🏽", "½", "off", "5", "%"]),
        ("<eos> <3 a&b", ["<", "eos", ">", " <3", "a", "&", "b"]),
        ("A.A¼", ["A.A", "¼"]),
    ],
)
def test_text_is_cut_into_pieces(text, pieces):
    assert cut(pl.Series([text]))[0].to_list() == pieces
    if text.isascii():
        assert cut_one(text) == pieces


PLACEHOLDERS = pytest.mark.parametrize("placeholder", sorted({step.replacement for step in MASKS}))


def masked_text(placeholder):
    return f"Ask for {placeholder}, or ({placeholder}) now. {placeholder} is it."


@PLACEHOLDERS
def test_what_masking_writes_is_one_word(placeholder):
    text = masked_text(placeholder)
    vocabulary = train("word", [*TRAIN, text])
    [whole] = vocabulary.encode(placeholder)
    assert vocabulary.token(whole) == placeholder
    assert (vocabulary.encode(text) == whole).sum() == 3


@PLACEHOLDERS
def test_what_masking_writes_comes_back(placeholder):
    text = masked_text(placeholder)
    vocabulary = train("word", [*TRAIN, text])
    assert vocabulary.decode(vocabulary.encode(text)) == text


@PLACEHOLDERS
def test_what_masking_writes_is_never_suggested(placeholder):
    vocabulary = train("word", [*TRAIN, masked_text(placeholder)])
    [whole] = vocabulary.encode(placeholder)
    assert not vocabulary.word_start_V[whole]


def touches_a_fraction(text: str) -> bool:
    """Whether a letter stands beside a number that is no digit (½, ², Ⅷ): a word's end for us, not for the package."""
    pairs = [{category(one) for one in pair} for pair in pairwise(text)]
    return any(pair & {"No", "Nl"} and any(kind[0] == "L" for kind in pair) for pair in pairs)


@examples(200)
@given(st.one_of(ANY_TEXT, st.text("aB'’.,:;-!?()$ \n1½é_mailurl<3\"“”", max_size=60)))
def test_words_agree_with_the_tokenizers_package(vocabularies, text):
    assume(not touches_a_fraction(text))
    vocabulary = vocabularies["word"]
    words = {vocabulary.token(i): i for i in range(FIRST, vocabulary.size)}
    oracle = Tokenizer(models.WordLevel({"<unk>": 0, **words}, unk_token="<unk>"))
    oracle.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex("[‘’]"), "'"),
            normalizers.Replace(Regex("[“”]"), '"'),
            normalizers.Lowercase(),
        ]
    )
    oracle.pre_tokenizer = pre_tokenizers.Split(Regex(PATTERN), "removed", invert=True)
    assert vocabulary.encode(text).tolist() == oracle.encode(text, add_special_tokens=False).ids
