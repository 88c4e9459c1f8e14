"""Made-up reviews for classifiers, and one thread for torch."""

import pytest
import torch

from tests.models.classification.made_reviews import examples, vocabulary


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def words():
    return vocabulary()


@pytest.fixture(scope="session")
def train(words):
    return examples(words, 400, 1)


@pytest.fixture(scope="session")
def held_out(words):
    return examples(words, 90, 2)
