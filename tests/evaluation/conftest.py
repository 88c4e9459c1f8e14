"""A tiny corpus, and models simple enough to be scored by hand."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

from models.specs import VocabularySpec
from models.streams import TokenStream, write_stream
from models.text.normal_form import NormalForm
from models.tokens.vocabulary import GIVEN, Vocabulary

TEXT = "the food was great and cheap but service slow we will come back never again nice place"
WORDS = TEXT.split()


@dataclass
class PreviousToken:
    """What a bigram model remembers."""

    ids_B: np.ndarray

    def take(self, rows):
        return PreviousToken(self.ids_B[list(rows)])


class BigramLM:
    """log p(next | previous) from a table; the first token of a stream follows token 0."""

    def __init__(self, logp_VV):
        self.logp_VV = logp_VV
        self.vocabulary_size = len(logp_VV)

    def start(self, batch):
        return PreviousToken(np.zeros(batch, np.int64))

    def step(self, ids_B, state):
        return torch.tensor(self.logp_VV[ids_B]), PreviousToken(np.asarray(ids_B))

    def score(self, ids_BT, state):
        before_BT = np.concatenate([state.ids_B[:, None], ids_BT[:, :-1]], axis=1)
        nats_BT = -self.logp_VV[before_BT, ids_BT]
        nats_BT[np.isin(ids_BT, list(GIVEN))] = 0.0
        return nats_BT, PreviousToken(ids_BT[:, -1])


def random_table(size, seed=0):
    logits = np.random.default_rng(seed).normal(size=(size, size))
    logits[:, list(GIVEN)] = -np.inf
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def uniform_table(size):
    logp = np.full((size, size), -np.log(size - len(GIVEN)))
    logp[:, list(GIVEN)] = -np.inf
    return logp


def bundle_of(vocabulary, logp_VV):
    return SimpleNamespace(vocabulary=vocabulary, model=BigramLM(logp_VV), spec=SimpleNamespace(kind="lstm"))


@pytest.fixture(scope="session")
def reviews():
    """60 reviews of 1 to 40 words, some of them unknown, with stars 0 to 5."""
    random = np.random.default_rng(3)
    texts = [" ".join(random.choice([*WORDS, f"rare{i}"], random.integers(1, 40))) for i in range(60)]
    return pl.DataFrame(
        {
            "review_id": [f"r{i:02d}" for i in range(60)],
            "text": texts,
            "stars": [i % 6 for i in range(60)],
            "bytes": [len(text.encode()) + 1 for text in texts],
        }
    )


@pytest.fixture(scope="session")
def vocabulary():
    return Vocabulary.train([TEXT] * 5, VocabularySpec(min_count=2), NormalForm())


@pytest.fixture(scope="session")
def stream(reviews, vocabulary, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream")
    write_stream(folder, vocabulary, [reviews])
    return TokenStream.open(folder)


@pytest.fixture(scope="session")
def bundle(vocabulary):
    return bundle_of(vocabulary, random_table(vocabulary.size))


@pytest.fixture(scope="session")
def uniform_bundle(vocabulary):
    return bundle_of(vocabulary, uniform_table(vocabulary.size))


@pytest.fixture
def make_bundle(vocabulary):
    return lambda logp_VV: bundle_of(vocabulary, logp_VV)
