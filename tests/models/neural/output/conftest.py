"""Fixtures of several modules of this folder."""

import pytest

from tests.models.neural.output.small_layers import OBJECTIVES


@pytest.fixture(params=OBJECTIVES)
def kind(request):
    return request.param
