"""One good review as a JSON line, and every way in which a line can be bad, with the reason that it gets."""

import orjson

GOOD = {"review_id": "a", "user_id": "u", "business_id": "b", "stars": 5.0, "useful": 0,
        "text": "fine", "date": "2018-07-07 22:09:11"}


def line(**changes):
    return orjson.dumps({**GOOD, **changes})


BAD_LINES = [
    (b"{not json", "malformed"),
    (line() + line(), "malformed"),
    (line(text="x").replace(b'"x"', b"NaN"), "malformed"),
    (line(text="x")[:-4], "malformed"),
    (b"[1, 2]", "not_a_record"),
    (b"null", "not_a_record"),
    (line(text="caf\u00e9").replace(b"\xc3\xa9", b"\xe9"), "encoding"),
    (line(text="x").replace(b'"x"', rb'"half \ud83d"'), "encoding"),
    (line(text=None), "missing_text"),
    (line(text="x").replace(b'"text"', b'"body"'), "missing_text"),
    (line(text=5), "wrong_type"),
    (line(text=["x"]), "wrong_type"),
    (line(user_id={"a": 1}), "wrong_type"),
    (line(stars="five"), "bad_stars"),
    (line(stars=True), "bad_stars"),
    (line(stars="inf"), "bad_stars"),
    (line(date="yesterday"), "bad_date"),
    (line(date="2018-13-45"), "bad_date"),
    (line(text="x" * 1001), "too_long"),
]
