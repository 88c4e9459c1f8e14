"""The bidirectional encoder: torch's packed layer exactly, blind to padding; and why it is no language model."""


import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from models.base import ModelError
from models.neural.layers.bidirectional import BidirectionalEncoder
from models.neural.recurrent import RecurrentNetwork
from models.specs import RecurrentSpec

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


@pytest.mark.parametrize("lengths", [[3, 9, 0, 6], [3, 10, 1, 6], [3, 9, 1]])
def test_impossible_lengths_are_refused(lengths):
    with pytest.raises(ModelError, match="each between 1 and 9"):
        make()(random_inputs(), torch.tensor(lengths))


def random_text(count, length, tokens=20):
    """Independent, equally likely tokens: nobody can predict them better than log(tokens) nats each."""
    return torch.randint(9, 9 + tokens, (count, length), generator=torch.Generator().manual_seed(3))


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
