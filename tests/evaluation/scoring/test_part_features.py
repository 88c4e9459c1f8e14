"""A mixture and its network read the texts that both are observed on once; all results are as without that."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from evaluation.scoring.observe import held_out_temperature, observe
from evaluation.scoring.part_scores import features_kept
from evaluation.scoring.score import SCORES_FILE, TOKEN_NATS, score_stream
from models.bundles.bundle import Bundle
from models.mixture.lm import MixtureLM
from models.mixture.parts import Part
from models.mixture.weights import Fixed
from models.neural.lm import RecurrentLM
from models.specs import MixtureSpec, NGramSpec, RecurrentSpec
from training.context import FitContext
from training.fit import fit_model

REVIEWS = np.array([0, 7, 30, 59])


@pytest.fixture(scope="module")
def network(vocabulary):
    spec = RecurrentSpec(name="lstm", hidden=8, embedding=6)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = RecurrentLM.build(spec, torch.ones(vocabulary.size, dtype=torch.int64))
    return Bundle(spec, vocabulary, RecurrentLM(spec, network, vocabulary.size), {}, "dn")


@pytest.fixture(scope="module")
def mixture(vocabulary, network, stream, tmp_path_factory):
    spec = NGramSpec(name="kn", order=2)
    kn = fit_model(spec, vocabulary, stream, stream, FitContext(tmp_path_factory.mktemp("kn"))).model
    parts = [Part("kn", spec, kn), Part("lstm", network.spec, network.model)]
    mixed = MixtureLM(parts, Fixed(np.array([0.4, 0.6])))
    facts = {"parts": {"kn": "dk", "lstm": "dn"}}
    return Bundle(MixtureSpec(name="mix", parts=("kn", "lstm")), vocabulary, mixed, facts, "dm")


@pytest.fixture
def read(monkeypatch):
    """Whether each call of the network reads."""
    found = []
    features = RecurrentLM._features
    monkeypatch.setattr(RecurrentLM, "_features", lambda *given: found.append(1) or features(*given))
    return found


def observed(bundle, stream, folder):
    """Return everything that the stage "observe" reads the texts for."""
    nats = pl.read_parquet(folder / TOKEN_NATS)
    fitted = held_out_temperature(bundle, stream, REVIEWS, 1)
    counts_V, scores = np.ones(bundle.vocabulary.size), pl.read_parquet(folder / SCORES_FILE)
    rows = observe(bundle, stream, REVIEWS, nats, scores, counts_V, fitted.value)
    return fitted, rows.write_json()


@pytest.fixture
def scored(mixture, network, stream, tmp_path):
    for bundle in (mixture, network):
        (tmp_path / bundle.digest).mkdir()
        score_stream(bundle, stream, tmp_path / bundle.digest, observed=REVIEWS.tolist())
    return tmp_path


@pytest.mark.parametrize("first", ["mixture", "network"])
def test_whichever_is_observed_first_reads_for_both(mixture, network, stream, scored, read, first):
    bundles = (mixture, network) if first == "mixture" else (network, mixture)
    expected = [observed(bundle, stream, scored / bundle.digest) for bundle in bundles]
    found, reads = [], []
    for bundle in bundles:
        read.clear()
        with features_kept(bundle, scored / "features"):
            found.append(observed(bundle, stream, scored / bundle.digest))
        reads.append(len(read))
    assert found == expected
    assert reads[0] > 0
    assert reads[1] == 0
    assert [folder.name for folder in (scored / "features").iterdir()] == ["dn"]


def test_nothing_is_kept_without_a_folder_outside_the_block_and_for_networks_without_a_digest(
    mixture, network, stream, scored
):
    with features_kept(mixture, None):
        observed(mixture, stream, scored / "dm")
    for nameless, digest in ((replace(mixture, facts={}), "dm"), (replace(network, digest=""), "dn")):
        with features_kept(nameless, scored / "features"):
            observed(nameless, stream, scored / digest)
    with features_kept(network, scored / "features"):
        pass
    observed(network, stream, scored / "dn")
    assert not (scored / "features").exists()
