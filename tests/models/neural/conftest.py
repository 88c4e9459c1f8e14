import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Two threads lose everything to barrier waits when anything else runs on the machine."""
    torch.set_num_threads(1)
