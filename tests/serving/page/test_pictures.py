"""The pictures of the documentation can be taken again: every tab, without an error, in the size of its layout."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.serving.made_versions import MadeSource
from tests.serving.page.chromium import Chromium, in_chromium
from tests.serving.page.pictures import IMAGES, PICTURES, TABS, Picture, taken
from tests.serving.served import answering

pytestmark = [pytest.mark.long, in_chromium]


def size_of(png: bytes) -> tuple[int, int]:
    """Width and height by the header of a PNG."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", png[16:24])
    return width, height


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_a_picture_of_all_tabs_is_taken(browser: Chromium, picture: Picture) -> None:
    with answering(MadeSource(champion=1, challenger=2)) as (address, _):
        browser.complaints.clear()
        png = taken(browser, address, picture)
        browser.leave()
    browser.prefer("")
    assert browser.complaints == []
    rows = len(TABS) // picture.columns
    assert size_of(png) == (8 + picture.columns * (picture.width + 8), 8 + rows * (picture.height + 8))
    assert len(png) > 20_000, "four tabs with text"


def test_the_pictures_are_those_of_the_documentation() -> None:
    page = (Path(IMAGES).parent / "how_to" / "serve.md").read_text(encoding="utf-8")
    for picture in PICTURES:
        assert f"(../images/{picture.name})" in page
        rows = len(TABS) // picture.columns
        expected = 8 + picture.columns * (picture.width + 8), 8 + rows * (picture.height + 8)
        assert size_of((IMAGES / picture.name).read_bytes()) == expected
