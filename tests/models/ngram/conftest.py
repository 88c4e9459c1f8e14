"""Share the fixtures of the n-gram tests."""

from tests.training.ngram.conftest import (  # noqa: F401
    golden_folder,
    golden_text,
    pipe_of,
    random_tables,
    reviews_of,
    stream_of,
)
