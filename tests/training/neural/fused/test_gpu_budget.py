"""What an update asks of a GPU: operators to launch, and waits of the host, counted on a pretended GPU."""

from dataclasses import replace

import pytest
import torch
from torch import distributed

from reviewlm.models.neural.architectures import RecurrentNetwork
from reviewlm.models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec
from reviewlm.models.streams import unigram_counts
from reviewlm.training.neural.batches import Plan
from reviewlm.training.neural.data_parallel import Group, Ranks
from reviewlm.training.neural.fused.chosen_layers import train_with_own_layers
from reviewlm.training.neural.state import TrainingState
from reviewlm.training.neural.step import TrainingStep
from tests.models.neural.made_streams import walks

V = 60
GPU = torch.device("cuda", 0)
MOST_WAITS, MOST_OPERATORS = 3, 200
TRAINING = TrainingSpec(
    batch=64,
    bptt_len=35,
    state_reset_prob=0.02,
)
SPEC = RecurrentSpec(
    kind="lstm",
    layers=2,
    hidden=8,
    embedding=8,
    dropout=0.2,
    objective=ObjectiveSpec(head=20),
    training=TRAINING,
)


@pytest.fixture(scope="module")
def stream():
    return walks(7_000, V, 1)


def updates(
    counts,
    stream,
    spec,
    number=3,
    ranks_of=lambda parameters: Ranks(),
):
    """Operators and waits of each update, from the second one on."""
    torch.manual_seed(1)
    training, found = spec.training, []
    network = RecurrentNetwork(spec, torch.from_numpy(unigram_counts(stream, V))).to(GPU).train()
    train_with_own_layers(network)
    state = TrainingState(network, training, 100, ranks_of(list(network.parameters())))
    step = TrainingStep(state, lambda figures: None)
    windows = Plan(stream, training).rest_of_epoch(0)
    for _ in range(1 + number):
        counts.clear()
        step(*next(windows))
        state.metrics.updates += 1
        found.append((sum(counts.operators.values()), sum(counts.waits.values())))
    return found[1:]


@pytest.mark.slow
def test_an_update_stays_within_its_budget(counts, stream):
    for operators, waits in updates(counts, stream, SPEC):
        assert operators <= MOST_OPERATORS
        assert waits <= MOST_WAITS, counts.waits


@pytest.mark.slow
def test_of_several_ranks_the_host_waits_once_more_for_the_one_exchange(
    counts,
    stream,
    monkeypatch,
):
    """The other rank is pretended, too: it has no token, so that the sums are those of this one."""
    sent = []
    monkeypatch.setattr(distributed, "get_rank", lambda: 0)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed, "broadcast", lambda tensor, source: None)
    monkeypatch.setattr(distributed, "all_reduce", sent.append)
    whole = replace(SPEC, training=replace(TRAINING, state_reset_prob=0.0))
    # This rank reads 64 of the 128 rows.
    half = replace(whole, training=replace(whole.training, batch=128))
    [(_, alone)] = updates(counts, stream, whole, 1)
    [(_, together)] = updates(
        counts,
        stream,
        half,
        1,
        Group,
    )
    assert together == alone + 1, counts.waits
    assert len(sent) == 2  # one for each update
    assert all(tensor.is_cuda for tensor in sent)
