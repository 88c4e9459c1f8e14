"""Text decoded with the wrong table is turned back, good text is left alone; ftfy is the peer."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.text.normal_form import NormalForm, repair
from tests.corpus.cleaning.sentences import SENTENCES
from tests.examples import examples

BARE = NormalForm(mask_personal_data=False)
SAYINGS = (
    "It’s “great” – really…", "café, jalapeño, crème brûlée, Zürich", "Señor Ñoño’s piñata", "¡Qué rico! ¿No?",
    "30° outside, 5 €, ½ price, £3", "love it ❤️ 😀 👍🏽", "sushi 寿司 and 김치", "Phở and Bún bò Huế",
    "naïve façade • ★★★★",
)


def damaged(text: str, rounds: int = 1, table: str = "cp1252") -> str:
    """Return *text* as it reads where its UTF-8 bytes are taken for that table; bytes without a sign stay C1."""
    for _ in range(rounds):
        signs = []
        for byte in text.encode():
            try:
                signs.append(bytes([byte]).decode(table))
            except UnicodeDecodeError:
                signs.append(chr(byte))
        text = "".join(signs)
    return text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cafÃ©", "café"),
        ("itâ€™s", "it’s"),
        ("â€œgreatâ€\x9d", "“great”"),
        ("cafÃƒÂ©", "café"),
        ("caf&Atilde;&copy;", "café"),
        ("ðŸ˜€", "😀"),
        ("ï»¿Hi", "Hi"),
        ("it\x92s \x93good\x94\x85", "it’s “good”…"),
        ("5 â‚¬ and Â½", "5 € and ½"),
        ("Ã\xad", "í"),
        ("Ã\u200b©", "é"),
    ],
)
def test_known_damage_is_turned_back(text, expected):
    assert BARE.apply(text) == expected


@pytest.mark.parametrize(
    "text",
    [*SAYINGS, *(" ".join(sentences) for sentences in SENTENCES.values()),
     "CAFÉ” and “the café”—or the café’”", "VOILÀ… À LA CARTE", "JOSÉ™ Nestlé® ÅÄÖ", "« très bon »", "MAÇÃ” IRMÃ’s",
     "Â and Ã and â alone", "15 Å", "3×4”", "Straße – groß", "El Niño’s", "ÖL…", "naïve—naïveté"],
)
def test_good_text_is_left_alone(text):
    assert repair(text) == text


@given(st.text(string.printable + "éñüßÀÉÑÜ’“”–—…°", max_size=40))
@examples(300)
def test_what_was_written_survives_one_wrong_reading(text):
    clean = BARE.apply(text)
    assert BARE.apply(damaged(clean)) == BARE.apply(clean)
