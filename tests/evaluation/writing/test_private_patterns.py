"""Personal data in samples is found by the patterns that mask it in training."""

from __future__ import annotations

import polars as pl

from evaluation.writing.audit import private_patterns


def test_planted_addresses_and_numbers_are_found_and_placeholders_are_not():
    texts = [
        "Nice place, 5 stars, open 10-12.",
        "Write to jo.doe@mail.example.com or call 480-555-1234, or (480) 555-9876!",
        "Mail _email_, phone _phone_.",
        "See http://example.com/menu. My card is 4111 1111 1111 1111.",
    ]
    found = private_patterns(pl.Series(texts)).sort("text", "pattern").rows()
    assert found == [(1, "e-mail", 1), (1, "telephone number", 2), (3, "card number", 1), (3, "web address", 1)]


def test_texts_without_any_give_an_empty_table():
    assert private_patterns(pl.Series(["clean", ""])).is_empty()
