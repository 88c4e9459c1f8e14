"""Share the fixtures of the tests of models."""

from tests.models.conftest import _one_thread, table_kind, vocabularies  # noqa: F401
