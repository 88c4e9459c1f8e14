"""A text that is written piece by piece: the pieces are the text of `generate`, and come while it is written."""

import pytest

from reviewlm.models.sampling import generate, stream
from tests.marked_cases import slow_but
from tests.models.sampling.small_bundles import bundle_of

TEXTS = [
    "The soup was great, so we went back.",
    "We went to Phoenix! Great pizza",
    "(In Phoenix) the staff was slow.",
    "\"Don't go (really)\", they said: 5-star food, it's $3.50!\n\nWe'd re-order - e.g. crème brûlée...",
]


@pytest.mark.parametrize("unit", slow_but(["word", "bpe", "char"], {"bpe"}))
@pytest.mark.parametrize("prompt", slow_but(["", "The soup", "We went ("], {"We went ("}))
def test_the_pieces_are_the_generated_text(unit: str, prompt: str) -> None:
    bundle = bundle_of(unit, 0, 0.3, TEXTS)
    for seed in range(25):
        pieces = list(
            stream(
                bundle,
                3,
                prompt,
                max_tokens=40,
                seed=seed,
            )
        )
        assert (
            "".join(pieces)
            == generate(
                bundle,
                1,
                3,
                prompt,
                max_tokens=40,
                seed=seed,
            )[0]
        )
