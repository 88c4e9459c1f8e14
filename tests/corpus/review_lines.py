"""One good review as a JSON line, with values that are to be others."""

import orjson

GOOD = {
    "review_id": "a",
    "user_id": "u",
    "business_id": "b",
    "stars": 5.0,
    "useful": 0,
    "text": "fine",
    "date": "2018-07-07 22:09:11",
}


def line(**changes):
    return orjson.dumps({**GOOD, **changes})
