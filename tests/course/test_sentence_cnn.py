"""The convolutional network of Kim 2014, against its formula."""

from __future__ import annotations

import pytest
import torch

from course.sentence_cnn import SentenceCNN

V, E = 40, 5
LENGTHS = torch.tensor([3, 9, 1, 6])


@pytest.mark.parametrize("width", [2, 3, 4, 5])
def test_a_convolution_is_a_layer_on_the_concatenated_words_of_each_window(width: int) -> None:
    """h_t = relu(W (x_t, …, x_{t+k−1}) + b), windows inside the sequence; a short sequence has one, filled with 0."""
    torch.manual_seed(1)
    network = SentenceCNN(V, E, (width,), 3).double()
    ids = torch.randint(9, V, (4, 9))
    weight, bias = network.convolutions[0].weight, network.convolutions[0].bias
    W = weight.transpose(1, 2).flatten(1)  # type: ignore[union-attr, operator]  # as a matrix on joined embeddings
    found = network(ids, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        x = network.embedding.weight[ids[row, :length]]
        x = torch.cat([x, x.new_zeros(max(0, width - length), E)])
        windows = torch.stack([x[t : t + width].flatten() for t in range(len(x) - width + 1)])
        h = torch.relu(windows @ W.T + bias)
        torch.testing.assert_close(found[row], torch.cat([h.amax(0), h.mean(0)]), rtol=1e-12, atol=1e-12)
