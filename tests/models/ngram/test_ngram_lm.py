"""NGramLM keeps the contract of every language model, and is a distribution whatever the corpus."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.models.base import ModelError
from reviewlm.models.ngram.lm import NGramLM
from reviewlm.models.specs import NGramSpec
from reviewlm.models.tokens.special import BOS, CONTEXT_IDS
from reviewlm.training.ngram.counting.counts import count_ngrams
from tests.estimated_ngrams import estimate_ngrams
from tests.examples import examples
from tests.training.ngram.smoothing.odd_corpora import V

IDS = st.integers(0, V - 1)
ROWS = st.lists(st.lists(IDS, min_size=9, max_size=9), min_size=1, max_size=4).map(np.array)


def fitted(
    documents,
    order,
    stream_of,
    **options,
) -> NGramLM:
    return estimate_ngrams(count_ngrams(stream_of(documents), order, V, CONTEXT_IDS), **options)


@pytest.fixture(scope="module")
def models(stream_of, reviews_of) -> dict[int, NGramLM]:
    return {order: fitted(reviews_of(150, V, 4), order, stream_of) for order in (1, 2, 3, 5)}


every_context = given(ids_BT=ROWS, order=st.sampled_from([1, 2, 3, 5]))


def distributions(model, ids_BT):
    """Give the distribution of the next token after each row."""
    _, state = model.score(ids_BT, model.start(len(ids_BT)))
    return np.exp(model.distribution(state))


@examples(50)
@every_context
def test_every_context_s_distribution_sums_to_one(
    ids_BT,
    order,
    models,
):
    p_BV = distributions(models[order], ids_BT)

    assert np.abs(p_BV.sum(axis=1) - 1).max() < 1e-12


@examples(50)
@every_context
def test_no_context_gives_a_given_token_a_share(
    ids_BT,
    order,
    models,
):
    p_BV = distributions(models[order], ids_BT)

    assert (p_BV[:, sorted(CONTEXT_IDS)] == 0).all()


@examples(50)
@every_context
def test_every_context_gives_every_predictable_token_a_share(
    ids_BT,
    order,
    models,
):
    p_BV = distributions(models[order], ids_BT)

    assert (np.delete(p_BV, sorted(CONTEXT_IDS), axis=1) > 0).all()


@examples(50)
@given(ids_BT=ROWS, order=st.sampled_from([1, 2, 3, 5]))
def test_score_equals_repeated_steps(
    ids_BT,
    order,
    models,
):
    model = models[order]
    nats_BT, end = model.score(ids_BT, model.start(len(ids_BT)))
    state = model.start(len(ids_BT))
    logp_BV = model.distribution(state)
    for place in range(ids_BT.shape[1]):
        scored = ~np.isin(ids_BT[:, place], sorted(CONTEXT_IDS))
        expected = -logp_BV[np.arange(len(ids_BT)), ids_BT[:, place]]
        assert nats_BT[:, place] == pytest.approx(np.where(scored, expected, 0.0), rel=1e-6)
        logp, state = model.step(ids_BT[:, place], state)
        logp_BV = logp.numpy()
    assert np.array_equal(state.context_BK, end.context_BK)


def test_bos_empties_the_context(models):
    model = models[5]
    unigrams = model.distribution(model.start(1))
    _, state = model.score(np.array([[1, 8, 9, 10, BOS]]), model.start(1))
    assert np.array_equal(model.distribution(state), unigrams)


def test_a_star_token_begins_a_context(models):
    model = models[5]
    _, state = model.score(np.array([[1, 8, 9, 10, BOS, 4]]), model.start(1))
    _, fresh = model.score(np.array([[BOS, 4]]), model.start(1))
    assert np.array_equal(model.distribution(state), model.distribution(fresh))
    assert state.context_BK.tolist() == [[-1, -1, -1, 4]]  # what cannot matter is not remembered
    unigrams = model.distribution(model.start(1))
    assert not np.array_equal(model.distribution(fresh), unigrams)


@pytest.mark.parametrize("order", [1, 2, 5])
def test_a_saved_model_answers_bit_for_bit_alike_from_plain_arrays(
    order,
    models,
    tmp_path,
):
    models[order].save(tmp_path)
    loaded = NGramLM.load(tmp_path, NGramSpec(order=order), SimpleNamespace(size=V), "cpu")
    ids = np.array([[1, 8, 9, 10, 0, 9, 2], [1, 4, 11, 12, 13, 9, 2]])
    (ours, state), (theirs, other) = (
        model.score(ids, model.start(2)) for model in (models[order], loaded)
    )
    assert np.array_equal(ours, theirs)
    assert np.array_equal(models[order].distribution(state), loaded.distribution(other))
    assert {path.suffix for path in tmp_path.iterdir()} == {".npy", ".json"}
    assert all(np.load(path, allow_pickle=False).ndim == 1 for path in tmp_path.glob("*.npy"))


@pytest.mark.parametrize(
    "name", ["words_3.npy", "first_3.npy", "logp_1.npy", "backoff_2.npy", "ngram.json"]
)
@pytest.mark.parametrize("damage", ["missing", "truncated", "another model's"])
def test_a_damaged_folder_is_refused_by_name(
    name,
    damage,
    models,
    stream_of,
    tmp_path,
):
    models[3].save(tmp_path)
    path = tmp_path / name
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-9])
    else:
        fitted([[1, 3, 9, 10, 2]] * 3, 3, stream_of).save(tmp_path / "other")
        path.write_bytes((tmp_path / "other" / name).read_bytes())
        if name == "logp_1.npy":
            path.write_bytes((tmp_path / "other" / "logp_2.npy").read_bytes())
    with pytest.raises(ModelError, match=r"\.npy|\.json") as caught:
        NGramLM.load(tmp_path, NGramSpec(order=3), SimpleNamespace(size=V))
    assert caught.value.kind == "bundle"


def test_a_model_of_another_order_vocabulary_or_newer_format_is_refused(models, tmp_path):
    models[3].save(tmp_path)
    for order, size in ((4, V), (3, V + 1)):
        with pytest.raises(ModelError, match="order 3 over 24"):
            NGramLM.load(tmp_path, NGramSpec(order=order), SimpleNamespace(size=size))
    facts = json.loads((tmp_path / "ngram.json").read_text())
    (tmp_path / "ngram.json").write_text(json.dumps(facts | {"format": 99}))
    with pytest.raises(ModelError, match="format 99"):
        NGramLM.load(tmp_path, NGramSpec(order=3), SimpleNamespace(size=V))


@pytest.mark.parametrize("ids", [[[V]], [[-1]]])
def test_ids_outside_the_vocabulary_are_refused(ids, models):
    with pytest.raises(ModelError) as caught:
        models[3].score(np.array(ids), models[3].start(1))

    assert caught.value.kind == "input"


@pytest.mark.parametrize("ids", [[[9], [9]], [9]])
def test_ids_of_a_wrong_shape_are_refused(ids, models):
    with pytest.raises(ModelError) as caught:
        models[3].score(np.array(ids), models[3].start(1))

    assert caught.value.kind == "input"
