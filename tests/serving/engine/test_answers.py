"""Contents of an answer: its tokens with their log-probabilities, the echoed prompt, how it ended and what it took."""

from __future__ import annotations

import pytest

from models.sampling import Sampling
from models.tokens.special import EOS
from serving.engine.requests import Generation
from tests.serving.driven_engine import Bench
from tests.serving.engine.small_models import bundle_of


def pieces_of(bench, request):
    ticket = bench.begin(request)
    bench.finish()
    return ticket.result()


@pytest.mark.parametrize("unit", ["word", "bpe", "char"])
def test_tokens_of_an_answer_spell_its_text_and_have_the_models_probabilities(unit):
    bundle = bundle_of("lstm", unit)
    for seed in range(8):
        whole = pieces_of(Bench(bundle), Generation("The soup", 3, 0, 20, Sampling(0.7), seed, ("we",), logprobs=3))
        written = [token for token in whole.tokens if token.id != EOS]
        ends = [token for token in whole.tokens if token.id == EOS]
        spelled = "".join(token.text for token in written)
        assert spelled.startswith(whole.text)  # the last token may hold the beginning of the stop string
        assert all(token.offset < len(whole.text) or not token.text for token in written)
        assert [token.offset for token in written] == [
            sum(len(token.text) for token in written[:index]) for index in range(len(written))
        ]
        assert ends in ([], list(whole.tokens[-1:]))
        assert [(token.text, token.offset) for token in ends] == [("<eos>", len(whole.text))] * len(ends)
        for token in whole.tokens:
            assert len(token.top) in (3, 4)  # the token itself is always there
            assert token.top[token.text] == token.logprob <= max(token.top.values()) < 0


@pytest.mark.parametrize("unit", ["word", "bpe", "char"])
def test_a_token_that_is_among_the_likeliest_is_there_by_the_text_that_it_adds(unit):
    """A client looks a token up among the likeliest: with its space, and its capital after a full stop."""
    bundle, found = bundle_of("ngram", unit), {}
    for seed in range(6):
        asked = Generation("The soup was gre", 3, 0, 30, Sampling(0.9), seed, logprobs=3, echo=True)
        for token in pieces_of(Bench(bundle), asked).tokens[1:]:
            assert token.top[token.text] == token.logprob
            found[token.text] = token.logprob
    assert any(text.startswith(" ") for text in found)
    assert any(text.strip().istitle() for text in found) or unit == "char"
    assert len(found) > 8


@pytest.mark.parametrize("prompt", ["The soup was great", "The soup was gre"])
@pytest.mark.parametrize("kind", ["ngram", "lstm", "mixture"])
def test_an_echoed_prompt_has_the_log_probabilities_of_a_score(kind, prompt):
    bundle = bundle_of(kind)
    whole = pieces_of(Bench(bundle), Generation(prompt, 4, max_tokens=0, logprobs=0, echo=True))
    scored = bundle.score_text(prompt, 4).per_token[:-1]
    assert (whole.text, whole.finish, whole.completion_tokens) == (prompt, "length", 0)
    assert [token.logprob for token in whole.tokens] == pytest.approx([-nats for _, nats in scored], abs=1e-5)
    assert whole.prompt_tokens == len(scored)


def test_an_answer_says_how_it_ended_and_what_it_took():
    bundle = bundle_of("ngram")
    ends = [pieces_of(Bench(bundle), Generation("The soup", 3, 0, 40, seed=seed)) for seed in range(20)]
    assert {"stop"} <= {whole.finish for whole in ends} <= {"stop", "length"}
    for whole in ends:
        assert (whole.completion_tokens == 40) if whole.finish == "length" else (0 < whole.completion_tokens <= 40)
        assert whole.prompt_tokens == 2
    stopped = pieces_of(Bench(bundle), Generation("The soup", 3, 0, 40, seed=1, stop=(" ",)))
    assert stopped.finish == "stop"
