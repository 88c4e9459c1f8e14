"""On a GPU, real or pretended, texts are those of the processor, and the host waits for blocks of their tokens."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from models.sampling import generate
from models.sampling.batch import BLOCK
from models.tokens.special import EOS
from tests.marked_cases import long_but
from tests.serving.engine.small_models import bundle_of

GPU = torch.device("cuda", 0)
OPTIONS = {
    "plain": {}, "likeliest": {"temperature": 0.0}, "top-k": {"temperature": 1.3, "top_k": 12},
    "top-p": {"temperature": 0.8, "top_p": 0.95}, "min-p": {"min_p": 0.02}, "typical": {"typical_p": 0.9},
    "looking back": {"repetition_penalty": 1.3, "no_repeat_ngram_size": 3}, "stop": {"stop": ("the", ".")},
    "watermark": {"watermark": "secret"}, "prompt": {"prompt": "We went to Phoenix! Gr", "stars": 2},
}  # fmt: skip


def moved(bundle, endless=False):
    """The same bundle with its network on the GPU; *endless*: it writes no `<eos>`."""
    network = deepcopy(bundle.model.network)
    if endless:
        with torch.no_grad():
            network.output.bias[EOS] -= 1e4
    return replace(bundle, model=type(bundle.model)(bundle.model.spec, network.to(GPU), bundle.model.vocabulary_size))


@pytest.mark.gpu
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("kind", long_but(["lstm", "gru", "nplm"], {"lstm"}))
def test_texts_are_those_of_the_processor(kind, options):
    """Of lengths around a block; most texts end inside one."""
    bundle = bundle_of(kind)
    for length in (1, BLOCK - 1, BLOCK, 2 * BLOCK + 3):
        expected = generate(bundle, 7, max_tokens=length, seed=1, **options)
        assert generate(moved(bundle), 7, max_tokens=length, seed=1, **options) == expected


@pytest.mark.parametrize("options", [{}, {"temperature": 0.8, "top_k": 50, "top_p": 0.95, "min_p": 0.01}], ids=str)
@pytest.mark.parametrize("kind", ["lstm", "gru", "nplm"])
def test_the_host_waits_twice_for_a_block(counts, kind, options):
    """For the uniform numbers on their way there, and for the ids on their way back; not for each token."""
    bundle, waits = moved(bundle_of(kind), endless=True), []
    for blocks in (2, 5):
        counts.clear()
        texts = generate(bundle, 4, max_tokens=blocks * BLOCK, seed=1, **options)
        assert all(len(text.split()) > BLOCK for text in texts)
        waits.append(sum(counts.waits.values()))
    assert waits[1] - waits[0] == 3 * 2, counts.waits
