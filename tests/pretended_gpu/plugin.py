"""Run the tests marked `gpu` on a pretended GPU where there is no real one; they are `long` there.

Tests that need the real thing (its memory, NCCL, its version) are marked `needs_real_gpu` too, and skipped without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.pretended_gpu.counts import Counts

REASON = "needs a real CUDA device: the pretended one has no memory limit, no NCCL and no cuDNN"


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers", "needs_real_gpu: of a `gpu` test: a pretended GPU is not enough"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of a GPU before `-m` chooses among the marks."""
    of_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not of_gpu or has_real_gpu():
        return
    for item in of_gpu:
        if item.get_closest_marker("needs_real_gpu"):
            item.add_marker(pytest.mark.skip(reason=REASON))
        else:
            item.add_marker(pytest.mark.long)


def has_real_gpu() -> bool:
    """Return whether torch can use a GPU; imports torch, which the module of a GPU test has imported."""
    import torch

    return torch.cuda.is_available()


@pytest.fixture(autouse=True)
def _gpu_of_this_test(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.node.get_closest_marker("gpu") and not has_real_gpu():
        from tests.pretended_gpu.device import pretended_gpu

        with pretended_gpu():
            yield
    else:
        yield


@pytest.fixture
def counts() -> Iterator[Counts]:
    """The counts of a pretended GPU for one test, on any machine: operators, and waits of the host."""
    from tests.pretended_gpu.device import pretended_gpu

    with pretended_gpu() as found:
        yield found
