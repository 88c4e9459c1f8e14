"""A browser for all tests of a module, and the page of a server with two versions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serving.made_versions import MadeSource
from tests.serving.page.chromium import Chromium
from tests.serving.served import answering


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    browser = Chromium(tmp_path_factory.mktemp("profile"))
    try:
        yield browser
    finally:
        browser.close()


@pytest.fixture
def page(browser: Chromium) -> Iterator[Chromium]:
    with answering(MadeSource(champion=1, challenger=2)) as (address, _):
        browser.leave()  # the page of the test before may still ask a server that is gone
        browser.complaints.clear()
        browser.open(address)
        yield browser
        browser.leave()
        assert browser.complaints == []
