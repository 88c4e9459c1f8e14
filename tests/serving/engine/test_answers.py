"""Contents of an answer: its tokens with their log-probabilities, the echoed prompt, how it ended and what it took."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from models.completion.suggestions import completions
from models.sampling import Sampling
from models.tokens.special import EOS, UNK
from models.tokens.vocabulary import page
from serving.engine.requests import Generation, Piece, StreamEnded
from serving.engine.ticket import Ticket
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


def test_a_word_that_the_prompt_begins_has_the_probabilities_of_its_completions():
    bundle, prompt = bundle_of("mixture"), "We went to the p"
    token = pieces_of(Bench(bundle), Generation(prompt, 4, 0, 1, logprobs=20)).tokens[0]
    words = completions(bundle, prompt, 20, 4).words
    whole = sum(probability for _, probability in words)
    assert {word.lower() for word, _ in words} == {"phoenix", "pizza", "place", "prices"}
    expected = {word[1:]: np.log(probability / whole) for word, probability in words}
    assert token.top == {text: pytest.approx(logp, abs=1e-5) for text, logp in expected.items()}
    assert token.top[token.text] == token.logprob


def test_the_log_probabilities_are_those_before_the_sampling_options():
    bundle = bundle_of("ngram")
    request = Generation("The soup", 3, 0, 1, Sampling(0.2, 1), 0, logprobs=2)
    token = pieces_of(Bench(bundle), request).tokens[0]
    ids = np.array([[*bundle.vocabulary.prefix(3), *bundle.vocabulary.encode("The soup")]])
    state = bundle.model.score(ids[:, :-1], bundle.model.start(1))[1]
    logp_V = bundle.model.step(ids[:, -1], state)[0][0]
    assert token.logprob == pytest.approx(float(logp_V.max()))
    assert sorted(token.top.values(), reverse=True) == pytest.approx(logp_V.topk(2).values.tolist())


@pytest.mark.parametrize("prompt", ["The soup was great", "The soup was gre"])
@pytest.mark.parametrize("kind", ["ngram", "lstm", "mixture"])
def test_an_echoed_prompt_has_the_log_probabilities_of_a_score(kind, prompt):
    bundle = bundle_of(kind)
    whole = pieces_of(Bench(bundle), Generation(prompt, 4, max_tokens=0, logprobs=0, echo=True))
    scored = bundle.score_text(prompt, 4).per_token[:-1]
    assert (whole.text, whole.finish, whole.completion_tokens) == (prompt, "length", 0)
    assert [token.logprob for token in whole.tokens] == pytest.approx([-nats for _, nats in scored], abs=1e-5)
    assert whole.prompt_tokens == len(scored)


@pytest.mark.parametrize("unit", ["word", "bpe", "char"])
def test_the_tokens_of_an_echoed_prompt_are_its_parts_also_unknown_words(unit):
    bundle, prompt = bundle_of("ngram", unit), "The  zqxv SOUP, 日本 so"
    tokens = pieces_of(Bench(bundle), Generation(prompt, 4, max_tokens=0, logprobs=2, echo=True)).tokens
    assert [token.id for token in tokens] == bundle.vocabulary.encode(page(bundle.vocabulary, prompt)).tolist()
    assert "".join(token.text for token in tokens) == prompt
    assert all(prompt[token.offset :].startswith(token.text) for token in tokens)
    assert all(token.top[token.text] == token.logprob for token in tokens)
    if unit == "word":
        assert [token.text for token in tokens if token.id == UNK] == ["  zqxv", " 日本"]


def test_a_token_that_finishes_a_word_has_its_probability_given_the_tokens_before_it_and_the_prompts_characters():
    bundle, prompt, ways = bundle_of("mixture", "bpe"), "We went to the p", Counter()
    usual = bundle.vocabulary.encode(prompt)
    bench = Bench(bundle)
    for seed in range(40):
        whole = pieces_of(bench, Generation(prompt, 3, 0, 3, seed=seed, logprobs=400, echo=True))
        assert whole.prompt_tokens == len(usual)
        assert 1 <= whole.completion_tokens <= 3
        assert whole.text == "".join(token.text for token in whole.tokens if token.id != EOS)
        assert [token.text for token in whole.tokens[: len(usual)]] == [bundle.vocabulary.token(i) for i in usual]
        for first in whole.tokens[len(usual) :][:1]:
            assert (first.offset, first.top[first.text]) == (len(prompt), first.logprob)
            ways["<eos>" in first.top] += 1
            if "<eos>" not in first.top:  # else the way ended with the prompt, and any token could come
                assert sum(np.exp(list(first.top.values()))) == pytest.approx(1, abs=1e-4)
                assert {"hoenix", "izza", "lace", "rices"} & set(first.top)
    assert ways[False] > ways[True] > 0


def test_an_answer_says_how_it_ended_and_what_it_took():
    bundle = bundle_of("ngram")
    ends = [pieces_of(Bench(bundle), Generation("The soup", 3, 0, 40, seed=seed)) for seed in range(20)]
    assert {"stop"} <= {whole.finish for whole in ends} <= {"stop", "length"}
    for whole in ends:
        assert (whole.completion_tokens == 40) if whole.finish == "length" else (0 < whole.completion_tokens <= 40)
        assert whole.prompt_tokens == 2
    stopped = pieces_of(Bench(bundle), Generation("The soup", 3, 0, 40, seed=1, stop=(" ",)))
    assert stopped.finish == "stop"


def test_an_echo_comes_first():
    bundle = bundle_of("ngram")
    plain = pieces_of(Bench(bundle), Generation("The soup", 3, 0, 9, seed=2))
    echoed = pieces_of(Bench(bundle), Generation("The soup", 3, 0, 9, seed=2, echo=True))
    assert echoed.text == "The soup" + plain.text
    assert replace(echoed, text=plain.text) == plain


def test_a_failed_text_is_told_the_reason():
    bench = Bench(bundle_of("ngram"))
    ticket = bench.begin(Generation("The soup", 3, max_tokens=5))
    bench.scheduler.end_all("closed", "the server ends")
    with pytest.raises(StreamEnded, match="the server ends") as caught:
        ticket.result()
    assert caught.value.reason == "closed"
    assert bench.scheduler.live == 0


def test_pieces_that_wait_are_given_as_one():
    ticket = Ticket()
    for piece in (Piece("a"), Piece("b"), Piece("c", finish="stop", completion_tokens=3)):
        ticket.write(piece)
    assert list(ticket) == [Piece("abc", finish="stop", completion_tokens=3)]
