"""Share the fixtures of the tests of networks."""

from tests.models.neural.conftest import _bf16_on_any_processor, gpu_as_in_a_fit  # noqa: F401
