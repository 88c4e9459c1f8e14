"""Fixtures of several modules of this folder."""

import pytest

from tests.models.sampling.small_bundles import bundle_of, with_table


@pytest.fixture(scope="module")
def bundle():
    return bundle_of()


@pytest.fixture(scope="module")
def plain():
    """A model that writes no punctuation, so that its text, encoded, is the very tokens that it drew."""
    model = bundle_of()
    weights = model.model.p_VV.copy()
    weights[
        :, [i for i in range(9, model.vocabulary.size) if not model.vocabulary.token(i).isalpha()]
    ] = 0
    return with_table(model, weights)
