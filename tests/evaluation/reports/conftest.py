"""Fixtures of several modules of this folder."""

from __future__ import annotations

import pytest

from reviewlm.evaluation.reports.report import run_page
from reviewlm.evaluation.reports.report_pictures import drawings_of
from tests.evaluation.made_results import made_results
from tests.evaluation.reports.report_pages import Reader


@pytest.fixture(scope="module")
def results():
    return made_results()


@pytest.fixture(scope="module")
def pictures(results):
    return drawings_of(results)


@pytest.fixture(scope="module")
def html(results, pictures):
    return run_page(results, pictures).to_html()


@pytest.fixture(scope="module")
def read(html):
    return Reader(html)
