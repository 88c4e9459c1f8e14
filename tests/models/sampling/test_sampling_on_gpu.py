"""On a GPU, texts are those of the processor."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from reviewlm.models.sampling import generate
from tests.marked_cases import long_but
from tests.serving.engine.small_models import bundle_of

GPU = torch.device("cuda", 0)
OPTIONS = {
    "plain": {},
    "likeliest": {"temperature": 0.0},
    "top-k": {"temperature": 1.3, "top_k": 12},
    "top-p": {"temperature": 0.8, "top_p": 0.95},
    "min-p": {"min_p": 0.02},
    "typical": {"typical_p": 0.9},
    "looking back": {"repetition_penalty": 1.3, "no_repeat_ngram_size": 3},
    "stop": {"stop": ("the", ".")},
    "watermark": {"watermark": "secret"},
    "prompt": {"prompt": "We went to Phoenix! Gr", "stars": 2},
}


def moved(bundle):
    """The same bundle with its network on the GPU."""
    network = deepcopy(bundle.model.network)
    return replace(
        bundle,
        model=type(bundle.model)(bundle.model.spec, network.to(GPU), bundle.model.vocabulary_size),
    )


@pytest.mark.gpu
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("kind", long_but(["lstm", "gru", "nplm"], {"lstm"}))
def test_texts_are_those_of_the_processor(kind, options):
    bundle = bundle_of(kind)
    expected = generate(
        bundle,
        7,
        max_tokens=35,
        seed=1,
        **options,
    )
    assert (
        generate(
            moved(bundle),
            7,
            max_tokens=35,
            seed=1,
            **options,
        )
        == expected
    )
