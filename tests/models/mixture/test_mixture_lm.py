"""Mixtures over tables whose every number can be computed by hand, and their options and bundles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.core.config.presets import parse_config
from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.errors import ConfigError
from reviewlm.models.base import ModelError
from reviewlm.models.mixture.lm import MixtureLM
from reviewlm.models.mixture.parts import Part
from reviewlm.models.mixture.weights import Fixed
from reviewlm.models.specs import MixtureSpec, NGramSpec, parts_of
from reviewlm.models.tokens.special import BOS, CONTEXT_IDS
from reviewlm.training.mixture.fitting import tune_weights
from reviewlm.training.ngram.counting.counts import count_ngrams
from tests.estimated_ngrams import estimate_ngrams
from tests.examples import examples
from tests.models.mixture.mixture_tables import SIZE, Stream, documents, table_part

IDS = np.array([[BOS, 5, 9, 10, 2, BOS, 4, 13, 9, 9], [BOS, 8, 11, 0, 9, 12, 2, BOS, 3, 10]])
WEIGHTS = np.array([0.2, 0.5, 0.3])


def linear(seed=0):
    return MixtureLM([table_part(seed + i, history=i == 1) for i in range(3)], Fixed(WEIGHTS))


def distributions(mixture, ids_T):
    """The parts' tables before each token of one stream but the first, (P, T − 1, V)."""
    tables = []
    for part in mixture.parts:
        state, rows = part.model.start(1), []
        for token in ids_T[:-1]:
            logp_BV, state = part.model.step(np.array([token]), state)
            rows.append(logp_BV[0].double().exp().numpy())
        tables.append(rows)
    return np.array(tables)


def by_hand(mixture, ids_T):
    return np.tensordot(WEIGHTS, distributions(mixture, ids_T), 1)


@given(st.integers(0, 300))
@examples(20)
def test_probabilities_follow_the_formula(seed):
    mixture = linear(seed)
    nats_BT, _ = mixture.score(IDS, mixture.start(2))
    state = mixture.start(2)
    expected = [by_hand(mixture, row_T) for row_T in IDS]
    for t in range(IDS.shape[1] - 1):
        logp_BV, state = mixture.step(IDS[:, t], state)
        for b in range(2):
            assert logp_BV[b].exp().numpy() == pytest.approx(expected[b][t], rel=1e-4, abs=1e-9)
            if IDS[b, t + 1] not in CONTEXT_IDS:
                assert nats_BT[b, t + 1] == pytest.approx(
                    -np.log(expected[b][t, IDS[b, t + 1]]), rel=1e-5
                )


def test_contributions_sum_to_the_log_probability():
    mixture = linear()
    nats_BT, _ = mixture.score(IDS, mixture.start(2))
    found, _ = mixture.attribute(IDS, mixture.start(2))
    assert found.names == ("table0", "table1", "table2")
    assert found.nats_BT.tolist() == nats_BT.tolist()
    assert found.contribution_BTP.sum(-1) == pytest.approx(-nats_BT, rel=1e-12, abs=1e-12)
    given_BT = np.isin(IDS, sorted(CONTEXT_IDS))
    assert not found.contribution_BTP[given_BT].any()
    expected = WEIGHTS * np.exp(-found.part_nats_BTP) * np.exp(nats_BT)[..., None]
    assert found.share_BTP[~given_BT] == pytest.approx(expected[~given_BT], rel=1e-9)
    assert found.share_BTP[~given_BT].sum(-1) == pytest.approx(1.0)


def test_parts_of_different_vocabularies_are_refused():
    other = Part("wide", None, type(table_part(0).model).random(SIZE + 1, 1))
    with pytest.raises(ModelError, match="one vocabulary; they have table0 14, wide 15"):
        MixtureLM([table_part(0), other], Fixed(np.array([0.5, 0.5])))


# Tuning


METHODS = pytest.mark.parametrize("tuned", ["linear", "gated"], indirect=True)


@pytest.fixture(scope="module")
def tuned(request):
    """A mixture tuned on held-out text, that text, and the summary of the tuning."""
    texts, held_out = documents(80, 1), Stream(documents(40, 2))
    ngram = estimate_ngrams(count_ngrams(Stream(texts), 3, SIZE, CONTEXT_IDS))
    parts = [Part("kn", NGramSpec(order=3), ngram), table_part(5, sharpness=0.4)]
    spec = MixtureSpec(parts=("kn", "table5"), method=request.param)
    weighting, summary = tune_weights(spec, parts, held_out)
    return MixtureLM(parts, weighting), held_out, summary


@METHODS
def test_the_summary_of_tuning_has_the_cost_of_the_held_out_text(tuned):
    mixture, held_out, summary = tuned
    rows = [held_out.document(i).astype(int) for i in range(40)]
    tokens = sum(int((~np.isin(row, sorted(CONTEXT_IDS))).sum()) for row in rows)
    nats = sum(mixture.score(row[None], mixture.start(1))[0].sum() for row in rows)
    assert summary["tokens"] == tokens
    assert summary["validation/nats"] == pytest.approx(nats / tokens, rel=1e-6)


@METHODS
def test_tuned_weights_beat_each_part_on_the_held_out_text(tuned):
    _, _, summary = tuned
    for part in ("kn", "table5"):
        assert summary["validation/perplexity"] <= summary[f"validation/perplexity_of/{part}"]


@pytest.mark.parametrize("tuned", ["gated"], indirect=True)
def test_gated_weights_are_no_worse_than_fixed_ones(tuned):
    _, _, summary = tuned
    assert summary["validation/perplexity"] <= summary["validation/perplexity_linear"]


@METHODS
def test_the_tuning_of_weights_converges(tuned):
    _, _, summary = tuned
    assert summary["converged"] == 1


@pytest.mark.parametrize("damage", ["{", '{"format": 9}', "[]"])
def test_damaged_weights_are_reported(damage, tmp_path):
    (tmp_path / "mixture.json").write_text(damage)
    with pytest.raises(ModelError, match=r"mixture\.json"):
        MixtureLM.load(tmp_path, MixtureSpec(parts=("a", "b")), None)  # type: ignore[arg-type]


KN5, LSTM = {"kind": "ngram", "name": "kn5"}, {"kind": "lstm", "name": "lstm"}
MIX = {
    "kind": "mixture",
    "name": "mix",
    "parts": ["kn5", "lstm"],
    "method": "gated",
}
CACHE = {
    "kind": "cache",
    "name": "mix+cache",
    "part": "mix",
}


def test_a_mixture_names_models_that_stand_before_it():
    config = parse_config({"models": [KN5, LSTM, MIX, CACHE], "seed": 7})
    assert [parts_of(spec) for spec in config.models] == [(), (), ("kn5", "lstm"), ("mix",)]
    assert RunConfig.model_validate_json(config.model_dump_json()) == config
    assert config.models[1].training.seed == 7


@pytest.mark.parametrize(
    ("models", "said"),
    [
        (
            [KN5, MIX, LSTM],
            r"'mix' uses 'lstm', which must be one of the models before it: \['kn5'\]",
        ),
        ([KN5, CACHE], "'mix.cache' uses 'mix'"),
        ([KN5, LSTM, {**MIX, "vocabulary": "char"}], "both must use the same vocabulary"),
        ([KN5, LSTM, {**MIX, "parts": ["kn5"]}], "at least two models"),
        (
            [KN5, LSTM, {"kind": "mixture", "name": "mix"}],
            "parts.*the names of at least two models",
        ),
        ([KN5, LSTM, {**MIX, "method": "cubic"}], "cubic"),
        ([KN5, LSTM, {**MIX, "training": {"seed": 1}}], "Unknown setting 'training'"),
    ],
)
def test_what_cannot_be_mixed_is_refused_before_any_work(models, said):
    vocabulary = {"word": {}, "char": {"unit": "char"}}
    with pytest.raises(ConfigError, match=said):
        parse_config({"models": models, "vocabulary": vocabulary})
