import sys
from pathlib import Path

import pytest
import torch

# The reference model of the room's own tests takes part in the contract suite.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "models"))


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)
