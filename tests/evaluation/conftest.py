"""A tiny corpus, and models simple enough to be scored by hand."""

import numpy as np
import polars as pl
import pytest

from reviewlm.models.specs import VocabularySpec
from reviewlm.models.streams import TokenStream, write_stream
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.training.vocabularies.learn import learn_vocabulary
from tests.evaluation.bigram_tables import bundle_of, random_table, uniform_table

TEXT = "the food was great and cheap but service slow we will come back never again nice place"
WORDS = TEXT.split()


@pytest.fixture(scope="session")
def reviews():
    """60 reviews of 1 to 40 words, some of them unknown, with stars 0 to 5."""
    random = np.random.default_rng(3)
    texts = [
        " ".join(random.choice([*WORDS, f"rare{i}"], random.integers(1, 40))) for i in range(60)
    ]
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
    return learn_vocabulary([TEXT] * 5, VocabularySpec(min_count=2), NormalForm())


@pytest.fixture(scope="session")
def stream(
    reviews,
    vocabulary,
    tmp_path_factory,
):
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
