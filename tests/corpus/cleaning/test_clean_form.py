"""The polars form of the normal form equals the Python form on any string."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from corpus.cleaning.normalise import normalise
from models.text.normal_form import NormalForm
from tests.examples import examples

PIECES = [
    *"&#;@._-+ \n\t\r\x00\x1c\x85()1234567890axKſ<>\"',]",
    "amp", "&amp;", "&#38;", "&lt;", "&nbsp;", "&#97;", "&#769;", "&#894;", "&semi;", "&num;", "&notaname;", "&#0;",
    "<br", "<BR />", "</p", "/>", "&lt;br",
    "http://", "HTTPS://", "www.", "www.x.org", "a@b.com", "@b.com", ".com/", "foo.com/", "480-555-1234", "(480) ",
    "4111 1111", "\\", "\\n", "\\t", "\\r\\n", "n", "Ã", "©", "Ãƒ", "Â", "â€", "™", "\x9d", "\x92", "\u0303",
    "&Atilde;", ".The", "!I ", ")", " at ", " dot com", " (at) ", "480", "555-1234", "4111111111111111", "+44 20 ",
    " x1", "É", "078-05-1120", "GB29 NWBK 6016 1331 9268 19", "10.0.0.17", "fe80::1", "::", "1:2", "@anna", "@",
    "AKIA", "ABCDEFGH01234567", "ssn ", "sk-", "a1b2c3d4e5f6g7h8i9j0",
    "”", "\u0301", "\u037e", "é", "e", "\ufeff", "\u2028", "\u00a0", "\u1680", "\u212a", "😀", "\u0661",
]
text = st.lists(st.sampled_from(PIECES), max_size=14).map("".join) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=60
)


forms = st.builds(NormalForm, st.booleans())


@given(st.lists(text, max_size=8), forms)
@examples(500)
def test_polars_and_python_agree_on_any_texts(texts, form):
    assert normalise(pl.Series(texts, dtype=pl.String), form).to_list() == [form.apply(t) for t in texts]
