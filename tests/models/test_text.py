import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.base import ModelError
from models.text import NormalForm

PIECES = [
    *"&#;@._-+ \n\t\r\x00()1234567890ax<>\"',]",
    "amp", "&amp;", "&#38;", "&lt;", "&nbsp;", "&#97;", "&#769;", "&#894;", "&semi;", "&num;", "&notaname;", "&#xD800;",
    "http://", "www.", "www.x.org", "a@b.com", "@b.com", ".com/", "foo.com/", "480-555-1234", "(480) ", "4111 1111",
    "\u0301", "\u037e", "é", "e", "\ufeff", "\u2028", "\u00a0", "\u1680", "\u212a", "😀", "\u200d",
]
"""Fragments whose combinations are dangerous for rules that follow one another."""

dirty = st.lists(st.sampled_from(PIECES), max_size=14).map("".join) | st.text(max_size=60)
forms = st.builds(NormalForm, unescape_entities=st.booleans(), mask_personal_data=st.booleans())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It&#39;s &quot;good&quot; &amp;amp; cheap", 'It\'s "good" & cheap'),
        ("caf&eacute;", "café"),
        ("AT&T and &nosuchname; stay", "AT&T and &nosuchname; stay"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("a \n\n \n\n b", "a\n\nb"),
        ("  two\u00a0  spaces\t", "two spaces"),
        ("\ufeffbyte\x00 order\ud800", "byte order"),
        ("e\u0301", "é"),
        ("one\u2028two", "one\ntwo"),
        ("", ""),
    ],
)
def test_text_is_brought_into_the_normal_form(text, expected):
    assert NormalForm().apply(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mail jane.doe+1@mail.example.co.uk.", "mail _email_."),
        ("see https://x.org/a?b=1, or www.y.com/z!", "see _url_, or _url_!"),
        ("yelp.com/biz/abc is down", "_url_ is down"),
        ("call (480) 555-1234 or 1-480-555-1234", "call _phone_ or _phone_"),
        ("480.555.1234 480-555-1234", "_phone_ _phone_"),
        ("card 4111 1111 1111 1111!", "card _card_!"),
        ("5500-0000-0000-0004", "_card_"),
    ],
)
def test_personal_data_is_masked(text, expected):
    assert NormalForm().apply(text) == expected


@pytest.mark.parametrize(
    "text", ["Awww...so cute", "quickly.The", "$12.50 for 2", "since 2010 2011 2012 2013", "@home", "10:30-11:45"]
)
def test_ordinary_text_is_not_masked(text):
    assert NormalForm().apply(text) == text


def test_each_option_switches_off_its_rules_only():
    text = "&lt;b&gt; a@b.com"
    assert NormalForm(unescape_entities=False).apply(text) == "&lt;b&gt; _email_"
    assert NormalForm(mask_personal_data=False).apply(text) == "<b> a@b.com"


@given(dirty, forms)
@settings(max_examples=600, deadline=None)
def test_applying_it_twice_changes_nothing_more(text, form):
    once = form.apply(text)
    assert form.apply(once) == once


@given(dirty)
@settings(max_examples=200, deadline=None)
def test_the_result_is_valid_text_without_invisible_characters(text):
    result = NormalForm().apply(text)
    result.encode("utf-8")
    assert not any(ord(sign) < 32 and sign != "\n" for sign in result)
    assert result == result.strip(" \n")


def test_text_escaped_too_often_ends_in_a_fixed_point():
    text = "&" + "amp;" * 9 + "lt;"
    result = NormalForm().apply(text)
    assert NormalForm().apply(result) == result


@pytest.mark.parametrize(
    "unit", ["a", "a.", "a@", "a@b.", "www.", "1 ", "4-", "&amp;", "&", "-", "http://.", "\n ", "(480)"]
)
def test_no_text_takes_more_than_linear_time(unit):
    started = time.perf_counter()
    NormalForm().apply(unit * (60_000 // len(unit)))
    assert time.perf_counter() - started < 5


def test_options_survive_the_bundle_and_unknown_ones_are_refused():
    form = NormalForm(unescape_entities=False)
    assert NormalForm.from_dict(form.to_dict()) == form
    with pytest.raises(ModelError, match="lower_case") as caught:
        NormalForm.from_dict({"lower_case": True})
    assert caught.value.kind == "bundle"
