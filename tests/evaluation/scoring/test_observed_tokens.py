"""Scores of tokens as data: equal to a search by hand, to the scores of the reviews, whatever the batch."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from scipy.special import log_softmax

from reviewlm.core.errors import ReviewLMError
from reviewlm.evaluation.scoring.metrics import calibration_error, chance_error, reliability
from reviewlm.evaluation.scoring.observe import COLUMNS, observe, usefulness
from reviewlm.evaluation.scoring.score import TOKEN_NATS, drawn_reviews, score_stream
from reviewlm.models.neural.lm import NeuralLM
from reviewlm.models.specs import ObjectiveSpec, RecurrentSpec, VocabularySpec
from reviewlm.models.streams import TokenStream, write_stream
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.special import CONTEXT_IDS, UNK
from reviewlm.training.vocabularies.learn import learn_vocabulary


def observed(
    bundle,
    stream,
    folder,
    reviews=None,
    **options,
):
    """Score, then observe, as the stages do."""
    reviews = np.arange(len(stream)) if reviews is None else np.asarray(reviews)
    folder.mkdir(exist_ok=True)
    scores = score_stream(bundle, stream, folder, observed=reviews.tolist())
    rows = observe(
        bundle,
        stream,
        reviews,
        pl.read_parquet(folder / TOKEN_NATS),
        **options,
    )
    return scores, rows


@pytest.fixture(scope="module")
def network(vocabulary):
    """An untrained LSTM: its numbers are float32, and its features depend on all that was read."""
    spec = RecurrentSpec(
        kind="lstm",
        hidden=8,
        embedding=8,
        objective=ObjectiveSpec(output="softmax"),
    )
    torch.manual_seed(5)
    net = NeuralLM.build(spec, torch.ones(vocabulary.size, dtype=torch.int64))
    for weight in net.parameters():
        torch.nn.init.normal_(weight, 0, 0.5)
    return SimpleNamespace(
        vocabulary=vocabulary,
        model=NeuralLM(spec, net, vocabulary.size),
        spec=spec,
    )


def by_hand(
    bundle,
    stream,
    rows,
):
    """Rank of each token among all entries (ties by id), among those that may be suggested, and the entropy."""
    found = []
    for row in rows:
        for before, token in itertools.pairwise(stream.document(row).astype(int)):
            if token in CONTEXT_IDS:
                continue
            logp = bundle.model.logp_VV[before]
            order = sorted(
                set(range(len(logp))) - CONTEXT_IDS,
                key=lambda entry: (-np.float32(logp[entry]), entry),
            )
            offered = [entry for entry in order if entry != UNK]
            p = np.exp(logp[order])
            suggestion = offered.index(token) + 1 if token in offered else None
            found.append((order.index(token) + 1, suggestion, -(p * logp[order]).sum(), p.max()))
    return found


def test_each_column_equals_a_search_by_hand(
    bundle,
    stream,
    tmp_path,
):
    _, rows = observed(bundle, stream, tmp_path)
    assert rows.schema == COLUMNS
    rank, suggestion, entropy, confidence = zip(
        *by_hand(bundle, stream, range(len(stream))), strict=True
    )
    assert rows["rank"].to_list() == list(rank)
    assert rows["suggestion"].to_list() == list(suggestion)
    np.testing.assert_allclose(rows["entropy"], entropy, rtol=1e-6)
    np.testing.assert_allclose(rows["confidence"], confidence, rtol=1e-6)


@pytest.fixture
def chosen(
    bundle,
    stream,
    tmp_path,
):
    """Observe the tokens of two reviews."""
    return observed(bundle, stream, tmp_path, [5, 9])[1]


def test_tokens_are_named_as_the_vocabulary_names_them(chosen, reviews):
    words = reviews["text"][5].split()
    known = ["<unk>" if word.startswith("rare") else word for word in words]

    assert chosen.filter(review_id="r05")["token"].to_list() == [*known, "<eos>"]


def test_tokens_have_their_position_in_the_review(chosen):
    five = chosen.filter(review_id="r05")

    assert five["position"].to_list() == list(range(len(five)))


def test_only_tokens_of_the_chosen_reviews_are_observed(chosen):
    assert chosen["review_id"].unique(maintain_order=True).to_list() == ["r05", "r09"]


@pytest.mark.parametrize("kind", ["bundle", "network"])
def test_nats_add_up_to_the_scores_of_the_reviews(
    kind,
    stream,
    tmp_path,
    request,
):
    scores, rows = observed(request.getfixturevalue(kind), stream, tmp_path, [0, 7, 30, 59])
    sums = rows.group_by("review_id", maintain_order=True).agg(
        pl.col("nats").sum(), tokens=pl.len()
    )
    expected = scores.filter(pl.col("review_id").is_in(sums["review_id"].to_list()))
    np.testing.assert_allclose(sums["nats"], expected["nats"], rtol=1e-12)
    assert sums["tokens"].to_list() == expected["tokens"].to_list()


def test_batches_change_no_score_of_a_network(network, stream):
    expected = score_stream(network, stream)["nats"]
    for tokens_per_batch in (40, 700):
        found = score_stream(network, stream, tokens_per_batch=tokens_per_batch)["nats"]
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("tokens_per_batch", [1, 100])
def test_batches_change_nothing(
    network,
    stream,
    tmp_path,
    tokens_per_batch,
):
    chosen = [2, 11, 40, 41]
    _, whole = observed(network, stream, tmp_path / "whole", chosen)
    _, parts = observed(
        network,
        stream,
        tmp_path / "parts",
        chosen,
        tokens_per_batch=tokens_per_batch,
    )
    for name in ("entropy", "confidence"):
        np.testing.assert_allclose(parts[name], whole[name], rtol=2e-6)
    other = ["review_id", "position", "id", "rank", "suggestion", "keys_spared"]
    assert parts.select(other).equals(whole.select(other))


@pytest.fixture
def uniform_rows(
    uniform_bundle,
    stream,
    tmp_path,
):
    """What is seen of a model to which all entries are equally likely."""
    _, rows = observed(uniform_bundle, stream, tmp_path)
    return rows


def test_a_uniform_model_has_the_entropy_of_all_entries(uniform_rows, uniform_bundle):
    entries = uniform_bundle.vocabulary.size - len(CONTEXT_IDS)
    np.testing.assert_allclose(uniform_rows["entropy"], math.log(entries), rtol=1e-6)
    np.testing.assert_allclose(uniform_rows["confidence"], 1 / entries, rtol=1e-6)


def test_a_uniform_model_ranks_by_id(uniform_rows, uniform_bundle):
    ids = sorted(set(range(uniform_bundle.vocabulary.size)) - CONTEXT_IDS)
    assert uniform_rows["rank"].to_list() == [ids.index(token) + 1 for token in uniform_rows["id"]]


def impossible(bundle, token):
    """The same model, to which one entry is impossible."""
    logp = bundle.model.logp_VV.copy()
    logp[:, token] = -np.inf
    return logp - np.log(np.exp(logp).sum(1, keepdims=True))


def test_an_impossible_token_has_no_rank(
    bundle,
    make_bundle,
    stream,
    tmp_path,
):
    token = bundle.vocabulary.encode("great")[0]
    scores, rows = observed(make_bundle(impossible(bundle, token)), stream, tmp_path)
    own = pl.col("id") == int(token)
    assert (
        rows.filter(own).select("rank", "suggestion").null_count().row(0)
        == (rows.filter(own).height,) * 2
    )
    assert rows.filter(own)["nats"].is_infinite().all()
    assert rows.filter(own)["keys_spared"].sum() == 0
    others = rows.filter(~own)
    assert others["rank"].null_count() == 0
    assert others.select(pl.col("nats", "entropy").is_finite().all()).row(0) == (True, True)
    assert scores["nats"].is_infinite().any()


def test_figures_of_usefulness_are_those_of_the_suggestions(
    bundle,
    stream,
    tmp_path,
):
    _, rows = observed(bundle, stream, tmp_path)
    ranks = [
        math.inf if suggestion is None else suggestion
        for _, suggestion, *_ in by_hand(bundle, stream, range(60))
    ]
    assert math.inf in ranks, "the corpus has unknown words, and these can only be missed"
    found = usefulness(rows, int(stream.documents["bytes"].sum()))
    for k in (1, 3, 5):
        assert found[f"hit@{k}"] == pytest.approx(np.mean([rank <= k for rank in ranks]))
    assert found["mrr"] == pytest.approx(np.mean([1 / rank for rank in ranks]))


def test_the_same_reviews_are_drawn_for_every_vocabulary(
    stream,
    reviews,
    tmp_path,
):
    spec = VocabularySpec(
        unit="char",
        size=300,
        min_count=1,
    )
    write_stream(tmp_path, learn_vocabulary(reviews["text"], spec, NormalForm()), [reviews])
    chars = TokenStream.open(tmp_path)
    drawn = drawn_reviews(stream, 7, seed=3)
    assert drawn.tolist() == drawn_reviews(chars, 7, seed=3).tolist() == sorted(set(drawn.tolist()))
    assert drawn.tolist() != drawn_reviews(stream, 7, seed=4).tolist()
    assert drawn_reviews(stream, 1_000, seed=3).tolist() == list(range(60))


def test_a_model_whose_probabilities_do_not_sum_to_1_is_refused(
    bundle,
    stream,
    tmp_path,
):
    """Twice the probability of every entry: perplexity would be half as high, and worth nothing."""
    whole = bundle.model.logp_VV
    bundle.model.logp_VV = whole + np.log(2)
    try:
        with pytest.raises(ReviewLMError, match="do not sum to 1") as caught:
            observed(bundle, stream, tmp_path, [3])
    finally:
        bundle.model.logp_VV = whole
    assert "2" in str(caught.value)


def test_scores_of_other_reviews_are_refused(
    bundle,
    stream,
    tmp_path,
):
    score_stream(bundle, stream, tmp_path, observed=[1, 2])
    nats = pl.read_parquet(tmp_path / TOKEN_NATS)
    with pytest.raises(ReviewLMError, match="belong to other reviews than the observed"):
        observe(bundle, stream, np.array([1, 3]), nats)
    with pytest.raises(ReviewLMError, match="its score of a token differ") as caught:
        observe(bundle, stream, np.array([1, 2]), nats.with_columns(pl.col("nats") + 0.5))
    assert "r01" in str(caught.value)


def honest(
    positions,
    entries,
    seed=0,
    spread=2.0,
):
    """Distributions, and targets that are drawn from them."""
    draw = np.random.default_rng(seed)
    logp_NV = log_softmax(draw.normal(0, spread, (positions, entries)), 1)
    target_N = (np.exp(logp_NV).cumsum(1) > draw.random((positions, 1))).argmax(1)
    return logp_NV.astype(np.float32), target_N


def judged(logp_NV, target_N):
    return np.exp(logp_NV.max(1)).astype(float), logp_NV.argmax(1) == target_N


@pytest.fixture
def bins():
    """The table of reliability of five predictions."""
    p, right = np.array([0.0, 0.05, 0.11, 0.19, 1.0]), np.array([0, 1, 0, 1, 1])
    return reliability(p, right, bins=10)


def test_bins_are_of_equal_width(bins):
    assert bins["count"].to_list() == [2, 2, 0, 0, 0, 0, 0, 0, 0, 1]
    first, *_, last = bins.to_dicts()
    assert (first["low"], first["high"]) == (0, 0.1)
    assert (last["low"], last["high"]) == (0.9, 1.0)


def test_bins_hold_means(bins):
    first, second, third, *_ = bins.to_dicts()
    assert (first["mean_probability"], first["mean_accuracy"]) == (0.025, 0.5)
    assert (second["bin"], second["mean_accuracy"]) == (1, 0.5)
    assert second["mean_probability"] == pytest.approx(0.15)
    assert (third["mean_probability"], third["mean_accuracy"]) == (None, None)


def test_the_calibration_error_weighs_bins_by_their_predictions(bins):
    assert calibration_error(bins) == pytest.approx((2 * 0.475 + 2 * 0.35 + 0) / 5)


@pytest.mark.slow
def test_a_model_that_means_what_it_says_has_the_error_of_chance():
    errors, expected = [], []
    for seed in range(200):
        confidence_N, correct_N = judged(*honest(2_000, 12, seed))
        errors.append(calibration_error(reliability(confidence_N, correct_N)))
        expected.append(chance_error(confidence_N))
    assert max(errors) < 0.06
    # One error scatters by a quarter of its value, the mean of 200 by less than 2 %.
    assert np.mean(errors) == pytest.approx(np.mean(expected), rel=0.05)
