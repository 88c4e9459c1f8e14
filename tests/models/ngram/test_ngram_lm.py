"""NGramLM keeps the contract of every language model, and is a distribution whatever the corpus."""

from __future__ import annotations

import itertools
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.base import ModelError
from models.ngram.lm import NGramLM, NGramState
from models.ngram.measure import score_chunks
from models.specs import NGramSpec
from models.tokens.special import BOS, CONTEXT_IDS, EOS
from tests.examples import examples
from tests.training.ngram.smoothing.odd_corpora import ODD, V
from training.context import FitContext
from training.fit import fit_model
from training.ngram.counting.counts import count_ngrams
from training.ngram.fit import estimate_ngrams

IDS = st.integers(0, V - 1)
ROWS = st.lists(st.lists(IDS, min_size=9, max_size=9), min_size=1, max_size=4).map(np.array)


def fitted(documents, order, stream_of, **options) -> NGramLM:
    return estimate_ngrams(count_ngrams(stream_of(documents), order, V, CONTEXT_IDS), **options)


@pytest.fixture(scope="module")
def models(stream_of, reviews_of) -> dict[int, NGramLM]:
    return {order: fitted(reviews_of(150, V, 4), order, stream_of) for order in (1, 2, 3, 5)}


@examples(50)
@given(ids_BT=ROWS, order=st.sampled_from([1, 2, 3, 5]))
def test_every_context_s_distribution_sums_to_one_and_gives_every_predictable_token_a_share(ids_BT, order, models):
    _, state = models[order].score(ids_BT, models[order].start(len(ids_BT)))
    p_BV = np.exp(models[order].distribution(state))
    assert np.abs(p_BV.sum(axis=1) - 1).max() < 1e-12
    assert (p_BV[:, sorted(CONTEXT_IDS)] == 0).all()
    assert (np.delete(p_BV, sorted(CONTEXT_IDS), axis=1) > 0).all()


@examples(50)
@given(ids_BT=ROWS, order=st.sampled_from([1, 2, 3, 5]))
def test_score_equals_repeated_steps(ids_BT, order, models):
    model = models[order]
    nats_BT, end = model.score(ids_BT, model.start(len(ids_BT)))
    state = model.start(len(ids_BT))
    logp_BV = model.distribution(state, np.float32)
    for place in range(ids_BT.shape[1]):
        scored = ~np.isin(ids_BT[:, place], sorted(CONTEXT_IDS))
        expected = -logp_BV[np.arange(len(ids_BT)), ids_BT[:, place]]
        assert nats_BT[:, place] == pytest.approx(np.where(scored, expected, 0.0), rel=1e-6)
        logp, state = model.step(ids_BT[:, place], state)
        logp_BV = logp.numpy()
    assert np.array_equal(state.context_BK, end.context_BK)


@examples(50)
@given(ids_BT=ROWS, cut=st.integers(0, 9), order=st.sampled_from([1, 2, 3, 5]))
def test_chunks_may_be_cut_anywhere_and_streams_do_not_see_each_other(ids_BT, cut, order, models):
    model = models[order]
    whole, end = model.score(ids_BT, model.start(len(ids_BT)))
    first, state = model.score(ids_BT[:, :cut], model.start(len(ids_BT)))
    second, state = model.score(ids_BT[:, cut:], state)
    assert np.array_equal(np.concatenate([first, second], axis=1), whole)
    assert np.array_equal(state.context_BK, end.context_BK)
    alone = [model.score(row[None], model.start(1)) for row in ids_BT]
    assert np.array_equal(np.concatenate([nats for nats, _ in alone]), whole)
    assert np.array_equal(NGramState.join([state for _, state in alone]).context_BK, end.context_BK)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_only_the_last_n_minus_1_words_matter(order, models):
    window = [9] * (order - 1)
    histories = [[1, 8, 12, 0], [1, 3], [13, 14, 15]]
    scores = [models[order].score(np.array([[*h, *window, 9]]), models[order].start(1))[0][0, -1] for h in histories]
    assert len(set(scores)) == 1
    if order > 2:  # the oldest word inside the window does matter
        other = models[order].score(np.array([[*histories[0], 10, *window[1:], 9]]), models[order].start(1))[0][0, -1]
        assert other != scores[0]


def test_bos_empties_the_context_and_a_star_token_begins_one(models):
    model = models[5]
    unigrams = model.distribution(model.start(1))
    _, state = model.score(np.array([[1, 8, 9, 10, BOS]]), model.start(1))
    assert np.array_equal(model.distribution(state), unigrams)
    _, state = model.score(np.array([[1, 8, 9, 10, BOS, 4]]), model.start(1))
    _, fresh = model.score(np.array([[BOS, 4]]), model.start(1))
    assert np.array_equal(model.distribution(state), model.distribution(fresh))
    assert state.context_BK.tolist() == [[-1, -1, -1, 4]]  # what cannot matter is not remembered
    assert not np.array_equal(model.distribution(fresh), unigrams)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_all_texts_up_to_a_length_and_the_unfinished_mass_sum_to_one(order, stream_of):
    counts = count_ngrams(stream_of([[1, 3, 9, 2], [1, 4, 9, 10, 2], [1, 3, 0, 2]]), order, 11, CONTEXT_IDS)
    model, words, longest = estimate_ngrams(counts), (0, 9, 10), 4
    bodies = [body for n in range(longest + 1) for body in itertools.product(words, repeat=n)]
    ends = [[*body, EOS] for body in bodies] + [list(body) for body in itertools.product(words, repeat=longest + 1)]
    nats = [model.score(np.array([[1, 3, *end]]), model.start(1))[0].sum() for end in ends]
    assert math.fsum(math.exp(-value) for value in nats) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("documents", ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize("smoothing", ["modified_kneser_ney", "kneser_ney"])
@pytest.mark.parametrize("order", [1, 3, 6])
def test_small_and_odd_corpora_give_a_distribution_and_never_raise(documents, smoothing, order, stream_of):
    model = fitted(documents, order, stream_of, smoothing=smoothing)
    rows = np.array([[1, 3, 9, 10, 9], [1, 8, 9, 9, 9], [0, 0, 0, 0, 0], [2, 2, 23, 1, 5]])
    p_BV = np.exp(model.distribution(model.score(rows, model.start(4))[1]))
    assert np.abs(p_BV.sum(axis=1) - 1).max() < 1e-9
    assert (np.delete(p_BV, sorted(CONTEXT_IDS), axis=1) > 0).all()


@pytest.mark.parametrize("order", [1, 2, 5])
def test_a_saved_model_answers_bit_for_bit_alike_from_plain_arrays(order, models, tmp_path):
    models[order].save(tmp_path)
    loaded = NGramLM.load(tmp_path, NGramSpec(order=order), SimpleNamespace(size=V), "cpu")
    ids = np.array([[1, 8, 9, 10, 0, 9, 2], [1, 4, 11, 12, 13, 9, 2]])
    (ours, state), (theirs, other) = (model.score(ids, model.start(2)) for model in (models[order], loaded))
    assert np.array_equal(ours, theirs)
    assert np.array_equal(models[order].distribution(state), loaded.distribution(other))
    assert {path.suffix for path in tmp_path.iterdir()} == {".npy", ".json"}
    assert all(np.load(path, allow_pickle=False).ndim == 1 for path in tmp_path.glob("*.npy"))


@pytest.mark.parametrize("name", ["words_3.npy", "first_3.npy", "logp_1.npy", "backoff_2.npy", "ngram.json"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "another model's"])
def test_a_damaged_folder_is_refused_by_name(name, damage, models, stream_of, tmp_path):
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


@pytest.mark.parametrize("ids", [[[V]], [[-1]], [[9], [9]], [9]])
def test_ids_outside_the_vocabulary_and_wrong_shapes_are_refused(ids, models):
    with pytest.raises(ModelError) as caught:
        models[3].score(np.array(ids), models[3].start(1))
    assert caught.value.kind == "input"


@pytest.mark.parametrize("options", [{"smoothing": "none"}, {"fallback": (0.0, 1, 1)}, {"fallback": (0.5, 2.5, 1)}])
def test_options_out_of_range_are_refused(options, stream_of):
    with pytest.raises(ModelError, match=next(iter(options))):
        fitted([[1, 3, 9, 2]], 2, stream_of, **options)


def test_fit_measures_itself_and_leaves_one_line_in_the_journal(stream_of, reviews_of, tmp_path):
    train, validation = stream_of(reviews_of(150, V, 4)), stream_of(reviews_of(30, V, 5))
    seen = []
    context = FitContext(work=tmp_path / "work", report=seen.append)
    for _ in range(2):  # a rerun in the same folder does not double the line
        result = fit_model(NGramSpec(order=3), SimpleNamespace(size=V), train, validation, context)
    summary = result.summary
    nats = np.concatenate(list(score_chunks(result.model, validation.ids)))
    tokens = int((~np.isin(validation.ids, sorted(CONTEXT_IDS))).sum())
    assert summary["validation/perplexity"] == pytest.approx(math.exp(nats.sum() / tokens), rel=1e-12)
    assert summary["validation/tokens"] == tokens
    assert summary["fallback_orders"] == sum(summary[f"fallback/{k}"] for k in (1, 2, 3))
    assert summary["unseen_share/1"] < summary["unseen_share/2"] < summary["unseen_share/3"]
    assert summary["ngrams/3"] == len(result.model.tables.logp[2])
    assert summary["bytes"] == sum(array.nbytes for array in result.model.tables.arrays().values())
    assert all(isinstance(value, int | float) for value in summary.values())
    [line] = (tmp_path / "work" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["validation/nats"] == summary["validation/nats"]
    assert json.loads(line)["step"] == summary["tokens"] == seen[-1].step
