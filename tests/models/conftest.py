"""A table as a kind of model, a small vocabulary of each unit, and one thread for torch."""

import pytest
import torch

import reviewlm.models.bundles.bundle
import reviewlm.models.specs
from tests.models.small_vocabularies import UNITS, train
from tests.models.table_lm import TableLM, TableSpec


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def table_kind(monkeypatch):
    """Register the kind "table" for the time of one test."""
    monkeypatch.setitem(reviewlm.models.specs.KINDS, "table", (TableSpec, "table_lm:TableLM"))
    monkeypatch.setattr(reviewlm.models.bundles.bundle, "model_class", lambda kind: TableLM)


@pytest.fixture(scope="session")
def vocabularies():
    """One small vocabulary of each unit."""
    return {unit: train(unit) for unit in UNITS}
