"""The device as a fit has it, and one thread for torch."""

import pytest
import torch

from reviewlm.models.neural.device import require_device


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Two threads lose everything to barrier waits when anything else runs on the machine."""
    torch.set_num_threads(1)


@pytest.fixture
def gpu_as_in_a_fit():
    """Switches of the device as a fit has them, put back afterwards: float32 products are not rounded to TF32."""
    switches = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    require_device("cuda:0")
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = switches
