"""Contents of an answer: its tokens with their log-probabilities, the echoed prompt, how it ended and what it took."""

from __future__ import annotations

import pytest

from reviewlm.models.sampling import Sampling
from reviewlm.models.tokens.special import EOS
from reviewlm.serving.engine.requests import Generation
from tests.serving.driven_engine import Bench
from tests.serving.engine.small_models import bundle_of


def pieces_of(bench, request):
    ticket = bench.begin(request)
    bench.finish()
    return ticket.result()


UNITS = pytest.mark.parametrize("unit", ["word", "bpe", "char"])


def answers_of(unit):
    """Yield answers of different seeds that end at a stop string or at their greatest length."""
    bundle = bundle_of("lstm", unit)
    for seed in range(8):
        asked = Generation(
            "The soup",
            3,
            0,
            20,
            Sampling(0.7),
            seed,
            ("we",),
            logprobs=3,
        )
        yield pieces_of(Bench(bundle), asked)


@UNITS
def test_tokens_of_an_answer_spell_its_text(unit):
    for whole in answers_of(unit):
        written = [token for token in whole.tokens if token.id != EOS]
        spelled = "".join(token.text for token in written)
        # the last token may hold the beginning of the stop string
        assert spelled.startswith(whole.text)
        assert all(token.offset < len(whole.text) or not token.text for token in written)
        assert [token.offset for token in written] == [
            sum(len(token.text) for token in written[:index]) for index in range(len(written))
        ]


@UNITS
def test_the_end_of_an_answer_is_its_last_token(unit):
    for whole in answers_of(unit):
        ends = [token for token in whole.tokens if token.id == EOS]
        assert ends in ([], list(whole.tokens[-1:]))
        expected = [("<eos>", len(whole.text))] * len(ends)
        assert [(token.text, token.offset) for token in ends] == expected


@UNITS
def test_tokens_of_an_answer_have_the_models_probabilities(unit):
    for whole in answers_of(unit):
        for token in whole.tokens:
            assert len(token.top) in (3, 4)  # the token itself is always there
            assert token.top[token.text] == token.logprob <= max(token.top.values()) < 0
