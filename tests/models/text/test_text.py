"""The normal form of a text, and the masks of personal data in it."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.models.text.normal_form import NormalForm
from tests.examples import examples

PIECES = [
    *"&#;@._-+ \n\t\r\x00()1234567890ax<>\"',]",
    "amp",
    "&amp;",
    "&#38;",
    "&lt;",
    "&nbsp;",
    "&#97;",
    "&#769;",
    "&#894;",
    "&semi;",
    "&num;",
    "&notaname;",
    "&#xD800;",
    "<br",
    "<BR />",
    "</p",
    "/>",
    "&lt;br",
    "http://",
    "www.",
    "www.x.org",
    "a@b.com",
    "@b.com",
    ".com/",
    "foo.com/",
    "480-555-1234",
    "(480) ",
    "4111 1111",
    "\u0301",
    "\u037e",
    "é",
    "e",
    "\ufeff",
    "\u2028",
    "\u00a0",
    "\u1680",
    "\u212a",
    "😀",
    "\u200d",
    "\\",
    "\\n",
    "\\r\\n",
    "\\t",
    "n",
    "Ã",
    "©",
    "Ãƒ",
    "Â",
    "â€",
    "™",
    "\x9d",
    "\u0303",
    "\u00ad",
    "&Atilde;",
    "&copy;",
    "&#92;",
    ".The",
    "!I ",
    ")",
    "Www.",
    ".Com",
    " at ",
    " dot com",
    " (at) ",
    "480",
    "555",
    "4111111111111111",
    "+44 ",
    " x1",
    "â„ª",
    "Í¾",
    "É”",
    "”",
]
"""Fragments whose combinations are dangerous for rules that follow one another."""

dirty = st.lists(st.sampled_from(PIECES), max_size=14).map("".join) | st.text(max_size=60)
forms = st.builds(NormalForm, st.booleans())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It&#39;s &quot;good&quot; &amp;amp; cheap", 'It\'s "good" & cheap'),
        ("caf&eacute;", "café"),
        ("AT&T and &nosuchname; stay", "AT&T and &nosuchname; stay"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("a \n\n \n\n b", "a\n\nb"),
        ("  two\u00a0  spaces\t", "two spaces"),
        ("\ufeffbyte\x00 order", "byte order"),
        ("e\u0301", "é"),
        ("one\u2028two", "one\ntwo"),
        ("Good.<br /><br />Cheap.<BR>Near.", "Good.\n\nCheap.\nNear."),
        ("<p>One</p>\n<p>Two</p>", "One\n\nTwo"),
        ("&lt;br /&gt;x &amp;lt;br&amp;gt; y", "x\ny"),
        ("<b>bold</b> <brunch> <pre> 1 <br 2", "<b>bold</b> <brunch> <pre> 1 <br 2"),
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


@given(dirty, forms)
@examples(600)
def test_applying_it_twice_changes_nothing_more(text, form):
    once = form.apply(text)
    assert form.apply(once) == once


@given(dirty)
@examples(200)
def test_the_result_is_valid_text_without_invisible_characters(text):
    result = NormalForm().apply(text)
    result.encode("utf-8")
    assert not any(ord(sign) < 32 and sign != "\n" for sign in result)
    assert result == result.strip(" \n")


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "a.",
        "a@",
        "a@b.",
        "www.",
        "1 ",
        "4-",
        "&amp;",
        "&",
        "-",
        "http://.",
        "\n ",
        "(480)",
        "\\",
        "\\n",
        "Ã",
        "Ãƒ",
        "Ãƒ" + "ƒ" * 5000,
        "ðŸ",
        "a.The",
        "a.Thewww.",
        "!",
        "a at ",
        " dot ",
        "555-",
        "+4",
        "4111 ",
        "I\u0300",
        "+1234567890",
        "+12345678901234567890a",
        "a.b@c-",
        "x (at) ",
        "É”",
        "a\\",
        "(0",
    ],
)
def test_no_text_takes_more_than_linear_time(unit):
    started = time.perf_counter()
    NormalForm().apply(unit * (60_000 // len(unit)))
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"Good.\n\nBad.", "Good.\n\nBad."),
        (r"Good.\r\nBad", "Good.\nBad"),
        (r"one\r\ntwo", "one\ntwo"),
        (r"Good. \nwell", "Good.\nwell"),
        (r"Good\nBad\t(x)", "Good\nBad (x)"),
        (r"so good\nwill be back.\n", "so good\nwill be back."),
        (r"so good\\\nWill be back", "so good\nWill be back"),
        (r"he said \"hi\" twice", 'he said "hi" twice'),
        ("&#92;nThe", "The"),
    ],
)
def test_escaped_line_breaks_become_real_ones(text, expected):
    assert NormalForm().apply(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("quickly.The", "quickly. The"),
        ("great!We", "great! We"),
        ("ok.I got", "ok. I got"),
        ("no?Either", "no? Either"),
        ("really!?The", "really!? The"),
        ("(etc.)We", "(etc.) We"),
        ("5 p.m.The", "5 p.m. The"),
        ("AMAZING!Will", "AMAZING! Will"),
        ("of it.P.S. ok", "of it. P.S. ok"),
        ("of 10.Desserts", "of 10. Desserts"),
        ("see www.x.com/a but go.The", "see _url_ but go. The"),
        ("bob@x.com left.He", "_email_ left. He"),
        ("café.Élan", "café. Élan"),
    ],
)
def test_sentences_that_run_into_each_other_are_separated(text, expected):
    assert NormalForm().apply(text) == expected
