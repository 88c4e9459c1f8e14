"""The bidirectional encoder: torch's packed layer exactly, blind to padding; and why it is no language model."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from models.base import ModelError
from models.neural.layers.bidirectional import BidirectionalEncoder
from models.neural.recurrent import RecurrentNetwork
from models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec

E, H, T = 4, 5, 9
LENGTHS = torch.tensor([3, 9, 1, 6])
B = len(LENGTHS)


def make(kind="lstm", layers=2, cells="fused", inputs=E, **options):
    torch.manual_seed(1)
    return BidirectionalEncoder(kind, inputs, H, layers, cells, **options).double()


def random_inputs():
    return torch.randn(B, T, E, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def torchs(kind, encoder, layers):
    """torch.nn's bidirectional layer with the encoder's weights."""
    reference = getattr(nn, kind.upper())(E, H, layers, batch_first=True, bidirectional=True, dtype=torch.float64)
    weights = {}
    for direction, suffix in ((encoder.forwards, ""), (encoder.backwards, "_reverse")):
        for index, layer in enumerate(direction):
            for name, value in layer.named_parameters():
                weights[f"{name.removesuffix('_l0')}_l{index}{suffix}"] = value.detach()
    reference.load_state_dict(weights)
    return reference


@pytest.mark.parametrize("cells", ["reference", "fused"])
@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("layers", [1, 2])
def test_outputs_and_summary_equal_torchs_bidirectional_layer_on_packed_sequences(kind, layers, cells):
    encoder, x = make(kind, layers, cells), random_inputs()
    outputs, summary = encoder(x, LENGTHS)
    packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    result, last = torchs(kind, encoder, layers)(packed)
    expected, _ = pad_packed_sequence(result, batch_first=True, total_length=T)
    torch.testing.assert_close(outputs, expected, atol=1e-12, rtol=1e-12)
    h = last[0] if kind == "lstm" else last
    torch.testing.assert_close(summary, torch.cat([h[-2], h[-1]], -1), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("options", [{"kind": "lstm"}, {"kind": "gru", "cells": "reference", "form": "cho"}])
def test_padding_never_changes_a_result_or_gets_a_gradient(options):
    encoder, x = make(**options), random_inputs().requires_grad_()
    outputs, summary = encoder(x, LENGTHS)
    (outputs.square().sum() + summary.sum()).backward()
    padding = torch.arange(T) >= LENGTHS[:, None]
    assert not outputs[padding].any()
    assert not x.grad[padding].any()
    gradients = [parameter.grad.clone() for parameter in encoder.parameters()]
    encoder.zero_grad()
    again, same = encoder(torch.where(padding[..., None], torch.nan, x.detach()), LENGTHS)
    (again.square().sum() + same.sum()).backward()
    assert torch.equal(again, outputs)
    assert torch.equal(same, summary)
    assert all(torch.equal(p.grad, before) for p, before in zip(encoder.parameters(), gradients, strict=True))
    for row, length in enumerate(LENGTHS.tolist()):
        alone, end = encoder(x[row : row + 1, :length].detach(), torch.tensor([length]))
        torch.testing.assert_close(alone[0], outputs[row, :length], atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(end[0], summary[row], atol=1e-12, rtol=1e-12)


def test_dropout_acts_between_layers_in_training_only():
    encoder, x = make(dropout=0.5), random_inputs()
    assert not torch.equal(encoder(x, LENGTHS)[0], encoder(x, LENGTHS)[0])
    encoder.eval()
    assert torch.equal(encoder(x, LENGTHS)[0], make().eval()(x, LENGTHS)[0])


@pytest.mark.parametrize("lengths", [[3, 9, 0, 6], [3, 10, 1, 6], [3, 9, 1]])
def test_impossible_lengths_are_refused(lengths):
    with pytest.raises(ModelError, match="each between 1 and 9"):
        make()(random_inputs(), torch.tensor(lengths))


def test_the_host_does_not_wait_for_a_gpu_that_has_the_lengths(counts):
    encoder, gpu = make(), torch.device("cuda", 0)
    expected = encoder(random_inputs(), LENGTHS)
    x_BTE, lengths_B, encoder = random_inputs().to(gpu), LENGTHS.to(gpu), encoder.to(gpu)
    counts.clear()
    found = encoder(x_BTE, lengths_B)
    assert not counts.waits
    for there, here in zip(found, expected, strict=True):
        torch.testing.assert_close(there.cpu(), here, rtol=1e-5, atol=1e-5)


def test_a_batch_without_a_sequence_is_refused():
    with pytest.raises(ModelError, match="no sequence"):
        make()(random_inputs()[:0], torch.zeros(0, dtype=torch.int64))


@pytest.mark.parametrize("share", [1.5, 1.0, -0.1, math.nan])
def test_a_dropout_that_is_no_share_is_refused(share):
    with pytest.raises(ModelError, match=r"in \[0, 1\)"):
        BidirectionalEncoder("gru", 4, 3, dropout=share)


def random_text(count, length, tokens=20):
    """Independent, equally likely tokens: nobody can predict them better than log(tokens) nats each."""
    return torch.randint(9, 9 + tokens, (count, length), generator=torch.Generator().manual_seed(3))


def trained_loss(features_of, parameters, output, ids_BT, steps=150):
    """Nats per token of predicting token t + 1 from the features of position t, on text seen once per step."""
    optimizer = torch.optim.Adam(parameters, 2e-2)
    for step in range(steps):
        rows = ids_BT[step * 16 : (step + 1) * 16]
        logits = output(features_of(rows)[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


@pytest.mark.long
def test_leak_a_bidirectional_encoders_next_word_loss_collapses_on_text_that_nobody_can_predict():
    """The text is noise, new in every step: log 20 = 3.0 nats is the least that a model can honestly reach."""
    torch.manual_seed(4)
    size, ids = 30, random_text(150 * 16, 12)
    embedding, output = nn.Embedding(size, 16), nn.Linear(2 * 24, size)
    encoder = BidirectionalEncoder("gru", 16, 24)
    lengths = torch.full((16,), 12)
    parameters = [*embedding.parameters(), *encoder.parameters(), *output.parameters()]
    leaked = trained_loss(lambda rows: encoder(embedding(rows), lengths)[0], parameters, output, ids)
    spec = RecurrentSpec(
        kind="gru", hidden=24, embedding=16, tied=False, condition_on_stars=False, dropout=0.0,
        objective=ObjectiveSpec("softmax"), training=TrainingSpec(precision="float32"),
    )  # fmt: skip
    network, own = RecurrentNetwork(spec, torch.ones(size)), nn.Linear(24, size)
    parameters = [*network.embedding.parameters(), *network.layers.parameters(), *own.parameters()]
    honest = trained_loss(lambda rows: network(rows, network.start(16, "cpu"))[0], parameters, own, ids)
    assert honest > math.log(20) - 0.05
    assert leaked < 0.3


def test_the_features_of_a_language_model_do_not_change_with_what_comes_later_and_the_encoders_do():
    network = RecurrentNetwork(RecurrentSpec(layers=2, hidden=8, embedding=6), torch.ones(30)).eval()
    ids = random_text(1, 10)
    changed = ids.clone()
    changed[0, 6] = (ids[0, 6] - 8) % 20 + 9
    ours, theirs = (network(rows, network.start(1, "cpu"))[0] for rows in (ids, changed))
    assert torch.equal(ours[:, :6], theirs[:, :6])
    encoder, rows = make(inputs=6).float(), network.embedding
    ours, theirs = (encoder(rows(words), torch.tensor([10]))[0] for words in (ids, changed))
    assert (ours[:, :6] != theirs[:, :6]).any(-1).all()
