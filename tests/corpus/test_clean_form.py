"""The polars form of the normal form equals the Python form on any string."""

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.normalise import normalise
from models.text import MASKS, PATTERNS, NormalForm

PIECES = [
    *"&#;@._-+ \n\t\r\x00\x1c\x85()1234567890axKſ<>\"',]",
    "amp", "&amp;", "&#38;", "&lt;", "&nbsp;", "&#97;", "&#769;", "&#894;", "&semi;", "&num;", "&notaname;", "&#0;",
    "http://", "HTTPS://", "www.", "www.x.org", "a@b.com", "@b.com", ".com/", "foo.com/", "480-555-1234", "(480) ",
    "4111 1111", "\u0301", "\u037e", "é", "e", "\ufeff", "\u2028", "\u00a0", "\u1680", "\u212a", "😀", "\u0661",
]
text = st.lists(st.sampled_from(PIECES), max_size=14).map("".join) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=60
)


@given(st.lists(text, max_size=8), st.booleans(), st.booleans())
@settings(max_examples=400, deadline=None)
def test_polars_and_python_agree_on_any_texts(texts, unescape, mask):
    form = NormalForm(unescape_entities=unescape, mask_personal_data=mask)
    assert normalise(pl.Series(texts, dtype=pl.String), form).to_list() == [form.apply(t) for t in texts]


def test_every_single_character_is_treated_alike():
    form = NormalForm()
    signs = [f"a{chr(code)}b" for code in range(0x30000) if not 0xD800 <= code < 0xE000]
    assert normalise(pl.Series(signs), form).to_list() == [form.apply(sign) for sign in signs]


def test_rules_have_unique_names_and_replacements_that_both_engines_read_literally():
    rules = [rule for group in PATTERNS.values() for rule in group]
    assert len({rule.name for rule in rules}) == len(rules)
    assert not any("$" in rule.replacement or "\\" in rule.replacement for rule in rules)
    assert {rule.replacement for rule in MASKS} == {"_email_", "_url_", "_card_", "_phone_"}
