"""The tokens of a prompt are found in it as it was sent, whatever its normal form and its vocabulary make of it."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from reviewlm.models.tokens.vocabulary import page
from reviewlm.serving.engine.token_places import token_places
from tests.examples import examples
from tests.serving.engine.small_models import vocabulary_of

SIGNS = st.one_of(
    st.sampled_from(
        [
            "The",
            "soup",
            " ",
            "  ",
            "zqx",
            "Zürich",
            "İzmir",
            "ΣΑΣ",
            "é",
            "e\u0301",
            "\n\n\n",
            "\t",
            "&amp;",
            "a@b.org",
            "“so”",
            "'s",
            "...",
            "3.50",
            "日本",
            "👍",
            "\u200b",
            "â€™",
            "good.Bad",
        ]
    ),
    st.text(max_size=3),
)


def parts(unit: str, prompt: str) -> tuple[list[str], list[int]]:
    """The part of the prompt that each token stands for, and the tokens."""
    vocabulary = vocabulary_of(unit)
    ids = vocabulary.encode(page(vocabulary, prompt)).tolist()
    places = token_places(vocabulary, prompt, ids)
    return [prompt[begin:end] for begin, end in pairwise([*places, len(prompt)])], ids


@examples(300)
@given(unit=st.sampled_from(["word", "bpe", "unigram", "char"]), signs=st.lists(SIGNS, max_size=12))
def test_the_parts_of_any_prompt_are_the_prompt(unit: str, signs: list[str]) -> None:
    prompt = "".join(signs)
    found, ids = parts(unit, prompt)
    assert len(found) == len(ids)
    assert "".join(found) == (prompt if ids else "")
