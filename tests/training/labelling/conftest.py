"""Share the fixtures of the tests of networks and classifiers."""

from tests.models.classification.conftest import held_out, train, words  # noqa: F401
from tests.models.neural.conftest import _one_thread, gpu_as_in_a_fit  # noqa: F401
