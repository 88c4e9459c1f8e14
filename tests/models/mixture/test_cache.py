"""The cache against its definition, counted word by word in plain Python."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reviewlm.models.bundles.bundle
import reviewlm.models.specs
from reviewlm.models.base import ModelError
from reviewlm.models.bundles.bundle import load_bundle, save_bundle
from reviewlm.models.mixture.cache import RANGES, CacheLM
from reviewlm.models.sampling import generate, suggest
from reviewlm.models.specs import CacheSpec, VocabularySpec, spec_from_dict, to_dict
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.special import BOS, CONTEXT_IDS
from reviewlm.training.vocabularies.learn import learn_vocabulary
from tests.examples import examples
from tests.models.mixture.mixture_tables import SIZE, table_part
from tests.models.table_lm import TableLM

TOKENS = st.sampled_from([BOS, 4, 7, 2, 9, 10, 9, 11, 0])
STREAMS = st.lists(TOKENS, min_size=1, max_size=24).map(lambda ids: [BOS, *ids])


def cache(
    seed=0,
    order=2,
    window=6,
):
    draw = np.random.default_rng(seed)
    weights_RP = draw.dirichlet(np.ones(order + 1), len(RANGES) + 1)
    return CacheLM(CacheSpec(order=order, window=window), table_part(seed, "static"), weights_RP)


def by_hand(model, before):
    """p of the next token after all tokens of *before*, from the formulas in the module."""
    remembered, spec = [], model.spec
    for token in before:
        if token == BOS:
            remembered = []
        elif token in CONTEXT_IDS:
            remembered.append(None)
        else:
            remembered.append(token)
    # Given tokens take up room in the window, but are not remembered.
    room = before[-spec.window :]
    remembered = remembered[-len(room) :] if remembered else []
    p_V = model.model.p_VV[before[-1]].copy()
    total = sum(token is not None for token in remembered)
    weights_P = model.weights_RP[sum(total >= begin for begin in RANGES)]
    mixed_V = weights_P[0] * p_V
    for k in range(1, spec.order + 1):
        end = remembered[len(remembered) - (k - 1) :] if k > 1 else []
        counts = Counter()
        if len(end) == k - 1 and None not in end:
            for i in range(len(remembered) - k + 1):
                gram = remembered[i : i + k]
                if None not in gram and gram[:-1] == end:
                    counts[gram[-1]] += 1
        if counts:
            p_V = np.array([counts[token] / counts.total() for token in range(SIZE)])
        mixed_V = mixed_V + weights_P[k] * p_V
    return mixed_V


@given(STREAMS, st.integers(1, 3), st.integers(3, 9), st.integers(0, 50))
@examples(80)
def test_probabilities_follow_the_formula(
    ids,
    order,
    window,
    seed,
):
    model = cache(seed, order, window)
    nats_1T, _ = model.score(np.array([ids]), model.start(1))
    state = model.start(1)
    for t, token in enumerate(ids[:-1]):
        logp_BV, state = model.step(np.array([token]), state)
        expected_V = by_hand(model, ids[: t + 1])
        assert expected_V.sum() == pytest.approx(1.0)
        assert logp_BV[0].exp().numpy() == pytest.approx(expected_V, rel=1e-4, abs=1e-8)
        if ids[t + 1] not in CONTEXT_IDS:
            assert nats_1T[0, t + 1] == pytest.approx(-np.log(expected_V[ids[t + 1]]), rel=1e-6)
        else:
            assert nats_1T[0, t + 1] == 0


def test_the_begin_of_a_document_empties_the_cache():
    first, second = [BOS, 5, 9, 9, 9, 2], [BOS, 5, 10, 9]
    model = cache(window=20)
    alone = model.score(np.array([second]), model.start(1))[0][0, -1]
    assert model.score(np.array([first + second]), model.start(1))[0][0, -1] == pytest.approx(alone)


def test_contributions_sum_to_the_log_probability():
    model = cache(order=2)
    ids_BT = np.array([[BOS, 5, 9, 10, 9, 10, 9, 2]])
    found, _ = model.attribute(ids_BT, model.start(1))
    assert found.names == ("static", "1-gram cache", "2-gram cache")
    assert found.contribution_BTP.sum(-1) == pytest.approx(-model.score(ids_BT, model.start(1))[0])


@pytest.fixture
def bundle_folder(
    tmp_path,
    table_kind,
    monkeypatch,
):
    """The bundle of a cache over a table, and the cache itself."""
    texts = ["The soup was great. We went back.", "The tea was cold, and we left."]
    vocabulary = learn_vocabulary(texts, VocabularySpec(min_count=1), NormalForm())
    part = table_part(0, "static")
    part = type(part)("static", part.spec, TableLM.random(vocabulary.size, 1))
    kinds = {"table": TableLM, "cache": CacheLM}
    for module in (reviewlm.models.bundles.bundle, reviewlm.models.specs):
        monkeypatch.setattr(module, "model_class", kinds.__getitem__)
    spec = CacheSpec(part="static", window=30)
    model = CacheLM(spec, part, np.full((len(RANGES) + 1, 3), 1 / 3))
    folder = tmp_path / "bundle"
    save_bundle(
        folder,
        spec,
        vocabulary,
        model,
        [("The tea was great.", 4)],
        {},
    )
    return folder, model


def test_a_bundle_keeps_its_model(bundle_folder):
    folder, model = bundle_folder
    bundle = load_bundle(folder)
    assert spec_from_dict(to_dict(bundle.spec)) == model.spec
    assert bundle.model.weights_RP.tolist() == model.weights_RP.tolist()


def test_a_bundle_writes_the_same_texts_for_the_same_seed(bundle_folder):
    bundle = load_bundle(bundle_folder[0])
    assert generate(
        bundle,
        n=3,
        stars=5,
        seed=3,
    ) == generate(
        bundle,
        n=3,
        stars=5,
        seed=3,
    )


def test_a_bundle_suggests_words_that_the_prompt_repeats(bundle_folder):
    words = dict(suggest(load_bundle(bundle_folder[0]), "The soup soup soup soup was", k=20).words)
    assert words["soup"] > 1 / 4


def test_weights_of_another_order_are_refused(bundle_folder):
    folder, _ = bundle_folder
    vocabulary = load_bundle(folder).vocabulary
    with pytest.raises(ModelError, match="cache weights"):
        CacheLM.load(folder, CacheSpec(part="static", order=3), vocabulary)
