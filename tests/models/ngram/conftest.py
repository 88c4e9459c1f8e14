"""Share the fixtures of the n-gram tests."""

from tests.training.ngram.conftest import (  # noqa: F401
    random_tables,
    reviews_of,
    stream_of,
)
