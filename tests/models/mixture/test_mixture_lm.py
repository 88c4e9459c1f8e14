"""Mixtures over tables whose every number can be computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.base import FitContext, ModelError
from models.mixture.fitting import _distributions, fit_mixture
from models.mixture.gains import gain_table
from models.mixture.lm import LinearMixture
from models.mixture.log_linear_lm import LogLinearMixture
from models.mixture.parts import Part
from models.mixture.tuning import batches
from models.mixture.weights import Fixed, mixed_nats
from models.ngram.counting.counts import count_ngrams
from models.ngram.lm import NGramLM
from models.specs import MixtureSpec, NGramSpec
from models.tokens.vocabulary import BOS, CONTEXT_IDS, EOS
from tests.examples import examples
from tests.models.mixture.mixture_tables import SIZE, WORDS, Stream, documents, table_part

IDS = np.array([[BOS, 5, 9, 10, 2, BOS, 4, 13, 9, 9], [BOS, 8, 11, 0, 9, 12, 2, BOS, 3, 10]])
WEIGHTS = np.array([0.2, 0.5, 0.3])
EXPONENTS = np.array([0.7, -0.2, 0.9])


def linear(seed=0):
    return LinearMixture([table_part(seed + i, history=i == 1) for i in range(3)], Fixed(WEIGHTS))


def log_linear(seed=0):
    return LogLinearMixture([table_part(seed + i, history=i == 1) for i in range(3)], EXPONENTS)


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
    p_PTV = distributions(mixture, ids_T)
    if isinstance(mixture, LinearMixture):
        return np.tensordot(WEIGHTS, p_PTV, 1)
    mixed_TV = np.zeros(p_PTV.shape[1:])
    mixed_TV[:, WORDS] = np.prod(p_PTV[:, :, WORDS] ** EXPONENTS[:, None, None], 0)
    return mixed_TV / mixed_TV.sum(1, keepdims=True)


@given(st.integers(0, 300), st.sampled_from([linear, log_linear]))
@examples(20)
def test_step_and_score_are_the_formula(seed, make):
    mixture = make(seed)
    nats_BT, _ = mixture.score(IDS, mixture.start(2))
    state = mixture.start(2)
    expected = [by_hand(mixture, row_T) for row_T in IDS]
    for t in range(IDS.shape[1] - 1):
        logp_BV, state = mixture.step(IDS[:, t], state)
        for b in range(2):
            assert logp_BV[b].exp().numpy() == pytest.approx(expected[b][t], rel=1e-4, abs=1e-9)
            if IDS[b, t + 1] not in CONTEXT_IDS:
                assert nats_BT[b, t + 1] == pytest.approx(-np.log(expected[b][t, IDS[b, t + 1]]), rel=1e-5)


@given(st.integers(0, 300), st.lists(st.integers(0, 10), max_size=4), st.sampled_from([linear, log_linear]))
@examples(30)
def test_a_text_may_be_cut_anywhere(seed, cuts, make):
    mixture = make(seed)
    whole, _ = mixture.score(IDS, mixture.start(2))
    state, parts = mixture.start(2), []
    for chunk in np.split(IDS, sorted(cuts), axis=1):
        nats_BT, state = mixture.score(chunk, state)
        parts.append(nats_BT)
    assert np.concatenate(parts, 1) == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize("make", [linear, log_linear])
def test_contributions_sum_to_the_log_probability(make):
    mixture = make()
    nats_BT, _ = mixture.score(IDS, mixture.start(2))
    found, _ = mixture.attribute(IDS, mixture.start(2))
    assert found.names == ("table0", "table1", "table2")
    assert found.nats_BT.tolist() == nats_BT.tolist()
    assert found.contribution_BTP.sum(-1) + found.normaliser_BT == pytest.approx(-nats_BT, rel=1e-12, abs=1e-12)
    given_BT = np.isin(IDS, sorted(CONTEXT_IDS))
    assert not found.contribution_BTP[given_BT].any()
    if make is linear:
        expected = WEIGHTS * np.exp(-found.part_nats_BTP) * np.exp(nats_BT)[..., None]
        assert found.share_BTP[~given_BT] == pytest.approx(expected[~given_BT], rel=1e-9)
        assert found.share_BTP[~given_BT].sum(-1) == pytest.approx(1.0)
    else:
        assert found.share_BTP is None


def test_a_log_linear_mixture_can_be_asked_for_the_very_first_token():
    mixture = log_linear()
    words = np.array(WORDS)[:, None]
    nats_V1, _ = mixture.score(words, mixture.start(len(words)))
    assert np.exp(-nats_V1).sum() == pytest.approx(1.0, abs=1e-9)
    fresh_and_not = type(mixture.start(1)).join([mixture.start(1), mixture.step(np.array([BOS]), mixture.start(1))[1]])
    nats_21, _ = mixture.score(np.array([[9], [9]]), fresh_and_not)
    assert nats_21[0, 0] == pytest.approx(nats_V1[WORDS.index(9), 0], rel=1e-9)
    assert nats_21[1, 0] == pytest.approx(mixture.score(np.array([[BOS, 9]]), mixture.start(1))[0][0, 1], rel=1e-9)


def test_few_streams_at_a_time_get_distributions_and_all_get_the_same_numbers(monkeypatch):
    mixture = log_linear()
    ids_BT = np.concatenate([IDS, IDS[:, ::-1], IDS[:, [*range(5, 10), *range(5)]], IDS[:1]])
    whole, state = mixture.score(ids_BT, mixture.start(7))
    rows, there = [], mixture.models[0].step
    mixture.models[0].step = lambda ids_B, own: (rows.append(len(ids_B)), there(ids_B, own))[1]
    monkeypatch.setattr("models.mixture.log_linear_lm.ENTRIES", 3 * SIZE)
    sliced, after = mixture.score(ids_BT, mixture.start(7))
    assert sliced.tolist() == whole.tolist()
    assert (max(rows), sum(rows)) == (3, ids_BT.size)
    assert mixture.score(ids_BT, after)[0].tolist() == mixture.score(ids_BT, state)[0].tolist()


def test_a_part_without_weight_changes_nothing_even_where_it_says_impossible():
    one, other = table_part(1), table_part(2)
    other.model.p_VV[:] = 0
    other.model.p_VV[:, EOS] = 1
    mixture = LinearMixture([one, other], Fixed(np.array([1.0, 0.0])))
    assert mixture.score(IDS, mixture.start(2))[0] == pytest.approx(one.model.score(IDS, one.model.start(2))[0])
    found, _ = mixture.attribute(IDS, mixture.start(2))
    assert not np.isnan(found.contribution_BTP).any()


def test_parts_of_different_vocabularies_are_refused():
    other = Part("wide", None, type(table_part(0).model).random(SIZE + 1, 1))
    with pytest.raises(ModelError, match="one vocabulary; they have table0 14, wide 15"):
        LinearMixture([table_part(0), other], Fixed(np.array([0.5, 0.5])))


# Tuning


@pytest.mark.parametrize("method", ["linear", "gated", "log_linear"])
def test_weights_are_tuned_on_the_held_out_text_and_beat_each_part_there(method, tmp_path):
    texts, held_out = documents(80, 1), Stream(documents(40, 2))
    ngram = NGramLM.from_counts(count_ngrams(Stream(texts), 3, SIZE, CONTEXT_IDS))
    parts = [Part("kn", NGramSpec(order=3), ngram), table_part(5, sharpness=0.4)]
    spec = MixtureSpec(parts=("kn", "table5"), method=method)
    result = fit_mixture(spec, parts, held_out, FitContext(tmp_path))
    summary = result.summary
    scored = sum(int((~np.isin(held_out.document(i), sorted(CONTEXT_IDS))).sum()) for i in range(40))
    assert summary["tokens"] == scored
    nats = [result.model.score(held_out.document(i)[None].astype(int), result.model.start(1))[0] for i in range(40)]
    assert summary["validation/nats"] == pytest.approx(sum(n.sum() for n in nats) / scored, rel=1e-6)
    best_part = min(summary["validation/perplexity_of/kn"], summary["validation/perplexity_of/table5"])
    assert summary["validation/perplexity"] <= best_part
    if method == "gated":
        assert summary["validation/perplexity"] <= summary["validation/perplexity_linear"]
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 1
    assert summary["converged"] == 1
    lengths = [name for name in summary if name.startswith("gain/kn/context_")]
    assert [name.removeprefix("gain/kn/context_") for name in lengths] == ["1", "2"]
    if method == "log_linear":  # on about as many tokens as it was tuned on
        return
    assert sum(summary[f"gain_tokens/context_{length}"] for length in (1, 2)) == scored
    row = gain_table(result.model, held_out).row(1, named=True)
    assert [summary[f"gain/{name}/context_2"] for name in ("kn", "table5")] == pytest.approx(
        [row["gain kn"], row["gain table5"]], rel=1e-6
    )


@pytest.mark.parametrize("method", ["linear", "gated", "log_linear"])
def test_rounds_that_were_too_few_are_told(method, tmp_path, monkeypatch):
    for limit in ("weights.ROUNDS", "fitting.ROUNDS", "context_weights.STEPS", "fitting.STEPS", "log_linear.STEPS"):
        monkeypatch.setattr(f"models.mixture.{limit}", 1)
    ngram = NGramLM.from_counts(count_ngrams(Stream(documents(80, 1)), 3, SIZE, CONTEXT_IDS))
    parts = [Part("kn", NGramSpec(order=3), ngram), table_part(5, sharpness=0.4)]
    spec = MixtureSpec(parts=("kn", "table5"), method=method)
    summary = fit_mixture(spec, parts, Stream(documents(40, 2)), FitContext(tmp_path)).summary
    assert (summary["rounds"], summary["converged"]) == (1, 0)


def test_without_an_ngram_model_there_are_no_gains_by_context(tmp_path):
    spec, parts = MixtureSpec(parts=("a", "b")), [table_part(1), table_part(2)]
    summary = fit_mixture(spec, parts, Stream(documents(40, 2)), FitContext(tmp_path)).summary
    assert not [name for name in summary if name.startswith("gain")]


@pytest.mark.parametrize("positions", [9, 40, 10_000])
def test_exponents_are_tuned_on_distributions_from_all_over_the_text(positions, tmp_path):
    held_out, parts = Stream(documents(50, 2, longest=30)), [table_part(1), table_part(2, history=True)]
    logp_PNV, targets_N = _distributions([part.model for part in parts], held_out, positions)
    tokens = len(held_out.ids) - 2 * len(held_out)
    assert logp_PNV.shape == (2, len(targets_N), len(WORDS))
    assert len(targets_N) == tokens if positions > tokens else 0.5 * positions <= len(targets_N) <= positions
    assert logp_PNV.double().exp().sum(2).flatten().tolist() == pytest.approx([1.0] * 2 * len(targets_N), abs=1e-5)
    if positions > tokens:
        nats_1T, _ = parts[0].model.score(held_out.ids[None].astype(int), parts[0].model.start(1))
        seen = logp_PNV[0, torch.arange(tokens), targets_N].double().sum()
        assert -float(seen) == pytest.approx(nats_1T.sum(), rel=1e-5)


def test_a_log_linear_mixture_of_a_model_with_impossible_words_is_refused(tmp_path):
    part = table_part(1)
    part.model.p_VV[:, 9] = 0
    spec, held_out = MixtureSpec(parts=("a", "b"), method="log_linear"), Stream(documents(5, 1))
    with pytest.raises(ModelError, match="gives some word probability 0"):
        fit_mixture(spec, [part, table_part(2)], held_out, FitContext(tmp_path))


@pytest.mark.parametrize("limit", [1, 100, 400])
def test_about_so_many_tokens_as_wanted_are_tuned_on_in_whole_reviews(limit):
    held_out = Stream(documents(60, 2, longest=30))
    taken = [row_T[: int(np.flatnonzero(row_T == EOS)[0]) + 1] for b in batches(held_out, limit) for row_T in b.ids_BT]
    reviews = {tuple(held_out.document(i).tolist()) for i in range(60)}
    assert {tuple(row_T.tolist()) for row_T in taken} <= reviews
    assert abs(sum(map(len, taken)) - limit) < 120  # a few reviews of up to 33 tokens


@pytest.mark.parametrize("held_out", [[], [[BOS, 3]]])
def test_without_held_out_tokens_there_is_nothing_to_tune_on(held_out, tmp_path):
    spec, parts = MixtureSpec(parts=("a", "b")), [table_part(1), table_part(2)]
    with pytest.raises(ModelError, match="no held-out token"):
        fit_mixture(spec, parts, Stream(held_out), FitContext(tmp_path))


def test_gains_are_told_apart_by_known_context():
    texts, test = documents(80, 1), Stream(documents(30, 3))
    ngram = NGramLM.from_counts(count_ngrams(Stream(texts), 3, SIZE, CONTEXT_IDS))
    parts = [Part("kn", NGramSpec(order=3), ngram), table_part(5, sharpness=0.4)]
    table = gain_table(LinearMixture(parts, Fixed(np.array([0.5, 0.5]))), test)
    whole, groups = table.row(-1, named=True), table.head(-1)
    assert whole["context"] is None
    assert groups["tokens"].sum() == whole["tokens"] == sum(len(test.document(i)) - 2 for i in range(30))
    nats = (groups["perplexity"].log() * groups["tokens"]).sum() / whole["tokens"]
    assert np.exp(nats) == pytest.approx(whole["perplexity"])
    assert whole["gain kn"] == pytest.approx(1 - whole["perplexity"] / whole["perplexity kn"])
    assert (table["share kn"] + table["share table5"]).to_list() == pytest.approx([1.0] * table.height)
    with pytest.raises(ModelError, match="need an n-gram model among the parts"):
        gain_table(linear(), test)


def test_the_gpu_part_decides_where_distributions_are_mixed():
    """Without a GPU: the "meta" device stands for any that is not the processor."""
    mixture = linear()
    there = mixture.models[1].step
    mixture.models[1].step = lambda ids_B, state: (there(ids_B, state)[0].to("meta"), state)
    distributions, _ = mixture._stepped(IDS[:, 0], mixture.start(2))
    assert {logp_BV.device.type for logp_BV in distributions} == {"meta"}


def test_mixed_nats_of_one_part_are_its_own():
    nats_TP = np.array([[3.0], [np.inf], [0.0]])
    assert mixed_nats(nats_TP, np.zeros(1)).tolist() == [3.0, np.inf, 0.0]


def test_probabilities_far_below_the_smallest_float32_keep_their_logarithm():
    parts = [table_part(1), table_part(2)]
    for part in parts:
        part.model.step = lambda ids_B, state: (torch.full((1, SIZE), -200.0), state)  # type: ignore[method-assign]
    mixture = LinearMixture(parts, Fixed(np.array([0.5, 0.5])))
    assert mixture.step(np.array([BOS]), mixture.start(1))[0].tolist() == [pytest.approx([-200.0] * SIZE)]
