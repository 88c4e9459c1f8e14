"""The data of the contract, and each kind of model fitted on them once for all rules."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from reviewlm.models.base import LanguageModel
from reviewlm.models.specs import VocabularySpec
from reviewlm.models.streams import TokenStream, write_stream
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.training.vocabularies.learn import learn_vocabulary
from tests.contracts.small_fits import SPECS, fit, reviews

# The reference model of the room's own tests takes part in the contract suite.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "models"))


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("contract")
    frames = {"train": reviews(60, 1), "validation": reviews(12, 2)}
    spec = VocabularySpec(
        unit="word",
        size=60,
        min_count=1,
    )
    vocabulary = learn_vocabulary(frames["train"]["text"].to_list(), spec, NormalForm())
    for name, frame in frames.items():
        write_stream(folder / name, vocabulary, [frame])
    return vocabulary, TokenStream.open(folder / "train"), TokenStream.open(folder / "validation")


@pytest.fixture(scope="session")
def fitted(data, tmp_path_factory):
    """Fit each kind once for all tests, when it is first asked for."""
    cache: dict[str, LanguageModel] = {}

    def of(name: str) -> LanguageModel:
        if name not in cache:
            cache[name] = fit(SPECS[name], data, tmp_path_factory.mktemp(name))
        return cache[name]

    return of


@pytest.fixture(params=list(SPECS))
def name(request):
    return request.param


@pytest.fixture
def model(name, fitted):
    return fitted(name)


@pytest.fixture
def ids_BT(data):
    """Three streams of two reviews each, cut to one length: document borders lie at different places."""
    stream = data[2]
    rows = [
        np.concatenate([stream.document(2 * b), stream.document(2 * b + 1)])[:30] for b in range(3)
    ]
    return np.stack(rows).astype(np.int64)
