"""Text ↔ ids. Oracles: the `tokenizers` package's WordLevel for words, UTF-8 itself for the lossless units."""

import hashlib
import math
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from models.base import ModelError
from models.specs import VocabularySpec
from models.spelling import Spelling
from models.text import NormalForm
from models.vocabulary import BOS, EOS, GIVEN, STARS, UNK, Vocabulary
from models.words import FIRST, PATTERN, cut

ROOT = Path(__file__).resolve().parents[2]
TRAIN = [
    "The food was great, and I loved it! We'll be back.",
    "We drove to Phoenix for the BBQ. I'm a fan of Phoenix, and the BBQ there is great.",
    'Our waiter said "the soup is hot" (it was not).\n\nThe soup was $12.95 at 7:30pm.',
    "Don't go. The take-out isn't worth it - I paid 1,000 for it :(",
    "The café was great... I ate there at 10am with my iPhone, in Phoenix :) :)",
    "On my iPhone, the BBQ looked great; I'd go to the café and the BBQ in Phoenix.",
    "Dr. Smith loves it, Dr. Smith said: the soup, the café/the BBQ & the food!!! Is it 5% off? #1!",
] * 3
UNITS = {"word": 400, "bpe": 400, "unigram": 400, "char": 400}
LOSSLESS = ["bpe", "unigram", "char"]


def train(unit, texts=TRAIN, **options):
    spec = VocabularySpec(unit=unit, **{"size": UNITS[unit], "min_count": 1, **options})
    return Vocabulary.train(texts, spec, NormalForm())


@pytest.fixture(scope="module")
def vocabularies():
    return {unit: train(unit) for unit in UNITS}


@pytest.fixture(params=list(UNITS))
def vocabulary(request, vocabularies):
    return vocabularies[request.param]


# One contract, four units


def test_special_ids_are_fixed():
    assert (UNK, BOS, EOS, STARS, FIRST) == (0, 1, 2, (3, 4, 5, 6, 7, 8), 9)
    assert {1, 3, 4, 5, 6, 7, 8} == GIVEN


def test_ids_fit_the_vocabulary_and_are_never_special(vocabulary):
    ids = np.concatenate(vocabulary.encode_batch(TRAIN))
    assert ids.dtype == np.int32
    assert ids.min() >= FIRST
    assert ids.max() < vocabulary.size == len(vocabulary) <= 400


def test_encoding_one_text_equals_encoding_many(vocabulary):
    for text, ids in zip(TRAIN, vocabulary.encode_batch(TRAIN), strict=True):
        assert ids.tolist() == vocabulary.encode(text).tolist()


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




@pytest.mark.parametrize("unit", list(UNITS))
def test_training_gives_the_same_bytes_in_any_process_with_any_threads(unit, vocabularies):
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from models.specs import VocabularySpec\nfrom models.text import NormalForm\n"
        "from models.vocabulary import Vocabulary\n"
        f"spec = VocabularySpec(unit={unit!r}, size=400, min_count=1)\n"
        f"print(Vocabulary.train({TRAIN!r}, spec, NormalForm()).digest)\n"
    )
    threads = {"RAYON_NUM_THREADS": "4", "POLARS_MAX_THREADS": "3", "TOKENIZERS_PARALLELISM": "true"}
    found = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **threads, "PYTHONHASHSEED": "7"},
        capture_output=True, text=True, check=True, timeout=120,
    ).stdout.strip()
    assert found == vocabularies[unit].digest


def test_training_leaves_the_environment_as_it_was(monkeypatch):
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    train("unigram")
    assert os.environ["TOKENIZERS_PARALLELISM"] == "true"


# Lossless units

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@pytest.mark.parametrize("unit", LOSSLESS)
@settings(deadline=None, max_examples=150)
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


def test_rare_characters_are_bytes_in_unigram():
    vocabulary = train("unigram", [*TRAIN, "☕"], min_count=2)
    assert [vocabulary.token(i) for i in vocabulary.encode("☕")] == ["<0xE2>", "<0x98>", "<0x95>"]


# Words


def test_words_stand_in_frequency_order_with_ties_by_text():
    vocabulary = train("word", ["b b b c c a a d"], min_count=2)
    assert [vocabulary.token(i) for i in range(9, vocabulary.size)] == ["b", "a", "c"]
    assert vocabulary.encode("d b D").tolist() == [0, 9, 0]


def test_size_keeps_the_most_frequent_words():
    vocabulary = train("word", ["a b c d e f g h", "a b c d e f g"], size=16)
    assert vocabulary.size == 16
    assert vocabulary.encode("h").tolist() == [UNK]


def test_no_frequent_word_at_all_is_refused():
    with pytest.raises(ModelError, match="seen at least 3 times") as caught:
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
        ("soup w/ rice w/o ice now/then", ["soup", "w/", "rice", "w/o", "ice", "now", "/", "then"]),
        ("great.I went", ["great", ".", "I", "went"]),
        ("café 👍🏽 ½ off 5%", ["café", " 👍", "🏽", "½", "off", "5", "%"]),
        ("<eos> <3 a&b", ["<", "eos", ">", " <3", "a", "&", "b"]),
    ],
)
def test_text_is_cut_into_pieces(text, pieces):
    assert cut(pl.Series([text]))[0].to_list() == pieces


@settings(deadline=None, max_examples=200)
@given(st.one_of(ANY_TEXT, st.text("aB'’.,:;-!?()$ \n1½é_mailurl<3\"“”", max_size=60)))
def test_words_agree_with_the_tokenizers_package(vocabularies, text):
    vocabulary = vocabularies["word"]
    words = {vocabulary.token(i): i for i in range(FIRST, vocabulary.size)}
    oracle = Tokenizer(models.WordLevel({"<unk>": 0, **words}, unk_token="<unk>"))
    oracle.normalizer = normalizers.Sequence(
        [normalizers.Replace(Regex("[‘’]"), "'"), normalizers.Replace(Regex("[“”]"), '"'), normalizers.Lowercase()]
    )
    oracle.pre_tokenizer = pre_tokenizers.Split(Regex(PATTERN), "removed", invert=True)
    assert vocabulary.encode(text).tolist() == oracle.encode(text, add_special_tokens=False).ids


def test_nothing_but_white_space_is_lost_in_cutting(vocabularies):
    text = "Any “sign” — at ~all~ ^_^ {x} [y] \\ | ` @ # * + = ñ ☃ stays!"
    assert "".join(cut(pl.Series([text]))[0]).replace(" ", "") == text.replace(" ", "")


# Spelling of unknown words


def test_unknown_words_pay_their_spelling_once_each():
    vocabulary = train("word")
    encoded = vocabulary.encode_documents(["the zebra zebra", "the food", "Zebra!"], [1, 1, 1])
    price = vocabulary._unit.spelling.nats("zebra")
    assert encoded.oov.tolist() == [2, 0, 1]
    assert encoded.spelling_nats.tolist() == pytest.approx([2 * price, 0, price])


def test_the_spelling_model_follows_the_counts():
    spelling = Spelling.train(["ab", "ba", "a"])
    # 5 letters and 3 ends; no letter was seen once, so (0 + 1) / (8 + 2) is kept for unseen ones.
    seen = 9 / 10
    assert spelling.nats("ab") == pytest.approx(-math.log(seen**3 * (3 / 8) * (2 / 8) * (3 / 8)), abs=1e-5)
    assert spelling.nats("é") == pytest.approx(-math.log((1 / 10) / 256**2 * seen * (3 / 8)), abs=1e-5)


def test_the_spelling_model_gives_no_more_than_one_in_all():
    spelling = Spelling.train(["ab", "ba", "a", "c"])
    total = 0.0
    for length in range(12):  # all strings over the known characters, counted by their letters
        for counts in _compositions(length, 3):
            ways = math.factorial(length) / math.prod(math.factorial(c) for c in counts)
            word = "a" * counts[0] + "b" * counts[1] + "c" * counts[2]
            total += ways * math.exp(-spelling.nats(word))
    assert 0.3 < total < 1


def _compositions(total, parts):
    if parts == 1:
        yield (total,)
        return
    for first in range(total + 1):
        for rest in _compositions(total - first, parts - 1):
            yield (first, *rest)


def test_a_spelling_model_without_words_still_prices():
    assert math.isfinite(Spelling.train([]).nats("word"))


# Writing

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


def test_a_prompt_that_ends_in_a_space_gets_no_second_one(vocabularies):
    vocabulary = vocabularies["word"]
    ids = vocabulary.encode("great, and I loved it")
    assert vocabulary.decode(ids, "The food was ") == "great, and I loved it"
    assert vocabulary.decode(ids, "The food was") == " great, and I loved it"
    assert vocabulary.decode(ids, "It was hot.") == " Great, and I loved it"
    assert vocabulary.decode(ids, "It was hot.\n\n") == "Great, and I loved it"
    assert vocabulary.decode(ids, 'He said "') == "great, and I loved it"


def test_without_folding_words_keep_their_own_case():
    vocabulary = train("word", ["The soup is Great", "the soup is great"], lowercase=False)
    assert vocabulary.decode(vocabulary.encode("the soup is Great")) == "the soup is Great"
    assert vocabulary.decode(vocabulary.encode("The Soup")) == "The"


def test_typographic_quotes_are_read_as_straight_ones(vocabularies):
    vocabulary = vocabularies["word"]
    curly = vocabulary.encode("Don’t: “the soup”")
    assert curly.tolist() == vocabulary.encode("Don't: \"the soup\"").tolist()


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
