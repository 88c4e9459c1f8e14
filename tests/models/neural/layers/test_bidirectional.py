"""The bidirectional encoder: torch's packed layer exactly, blind to padding; and why it is no language model."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from reviewlm.models.neural.labelling.network import SequenceEncoder

E, H, T = 4, 5, 9
LENGTHS = torch.tensor([3, 9, 1, 6])
B = len(LENGTHS)


def make(
    kind="lstm",
    layers=2,
    cells="fused",
    inputs=E,
    **options,
):
    torch.manual_seed(1)
    return SequenceEncoder(
        kind,
        inputs,
        H,
        layers,
        cells,
        bidirectional=True,
        **options,
    ).double()


def random_inputs():
    return torch.randn(
        B,
        T,
        E,
        dtype=torch.float64,
        generator=torch.Generator().manual_seed(2),
    )


def torchs(
    kind,
    encoder,
    layers,
):
    """torch.nn's bidirectional layer with the encoder's weights."""
    reference = getattr(nn, kind.upper())(
        E,
        H,
        layers,
        batch_first=True,
        bidirectional=True,
        dtype=torch.float64,
    )
    weights = {}
    for direction, suffix in ((encoder.layers, ""), (encoder.backwards, "_reverse")):
        for index, layer in enumerate(direction):
            for name, value in layer.named_parameters():
                weights[f"{name.removesuffix('_l0')}_l{index}{suffix}"] = value.detach()
    reference.load_state_dict(weights)
    return reference


@pytest.mark.parametrize("cells", ["reference", "fused"])
@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("layers", [1, 2])
def test_the_encoder_equals_torchs_bidirectional_layer_on_packed_sequences(
    kind,
    layers,
    cells,
):
    encoder, x = make(kind, layers, cells), random_inputs()
    outputs, summary = encoder(x, LENGTHS)
    packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    result, last = torchs(kind, encoder, layers)(packed)
    expected, _ = pad_packed_sequence(result, batch_first=True, total_length=T)
    torch.testing.assert_close(outputs, expected, atol=1e-12, rtol=1e-12)
    h = last[0] if kind == "lstm" else last
    torch.testing.assert_close(summary, torch.cat([h[-2], h[-1]], -1), atol=1e-12, rtol=1e-12)
