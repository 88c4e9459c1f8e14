"""Find where the tokens of a prompt begin in it, though models read its normal form, and words in lower case."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reviewlm.models.tokens.vocabulary import Vocabulary, page
from reviewlm.models.tokens.word_pieces import pieces_of, straighten_quotes

NEAR = 4
WINDOW = 1_024
"""Characters that must agree where both texts go on after a difference, and how far on the prompt is searched."""
AHEAD = 4
"""Characters of the normal form that may stand for something else in the prompt before they agree again."""


def token_places(
    vocabulary: Vocabulary,
    prompt: str,
    ids: Sequence[int],
) -> list[int]:
    """Return where each token of a prompt begins in it, in characters.

    The parts between the places are the prompt: a token has the space before its word, an unknown word its letters,
    the first token all that is before it, the last one all that follows. Where the normal form differs, the places are
    those of the nearest characters that agree.

    Args:
        vocabulary: Of the model.
        prompt: Any text.
        ids: The tokens of `page(vocabulary, prompt)`.
    """
    if not len(ids):
        return []

    text = page(vocabulary, prompt)
    if vocabulary.word_unit:
        places = _of_words(text, vocabulary.spec.lowercase)
    else:
        places = _of_bytes(vocabulary, text, ids)

    if text != prompt:
        agreeing = _agreeing(text, prompt)
        places = [agreeing[place] for place in places]

    return [0, *places[1:]]


def places_of_ids(vocabulary: Vocabulary, ids: Sequence[int]) -> tuple[str, list[int]]:
    """Return the text of tokens, and where each begins in it; an unknown word adds nothing."""
    write = vocabulary.writer()
    text = ""
    places = []
    for token in ids:
        places.append(len(text))
        text += write(token)
    return text, places


def _of_words(text: str, fold: bool) -> list[int]:
    """Return where the pieces of a text in normal form begin, each with the white space before it."""
    straight = straighten_quotes(text)
    places = []
    end = 0
    folded = straight
    if fold:
        folded = straight.lower()

    for piece in pieces_of(text, fold):
        places.append(end)
        body = piece.strip(" ")
        at = folded.find(body, end)
        # The final sigma, which Python folds as polars does not.
        end = at + len(body) if at >= 0 else end

    if len(folded) == len(text):
        return places

    of_folded = [place for place, sign in enumerate(straight) for _ in sign.lower()] + [len(text)]
    return [of_folded[place] for place in places]


def _of_bytes(
    vocabulary: Vocabulary,
    text: str,
    ids: Sequence[int],
) -> list[int]:
    """Return where the tokens of a text begin that are its bytes; within a character, at its beginning."""
    widths = [len(vocabulary.entry(token)) for token in ids]
    starts = np.cumsum([0, *widths[:-1]])
    raw = np.frombuffer(text.encode(), np.uint8)
    if len(raw) > len(text):
        starts = (np.cumsum((raw & 0xC0) != 0x80) - 1)[starts]
    return [int(start) for start in starts]


def _agreeing(text: str, prompt: str) -> list[int]:
    """Return the place in the prompt for each place in its normal form, its end included; they never go back."""
    places = []
    at = 0
    for place, sign in enumerate(text):
        if not sign.isspace():
            while at < len(prompt) and prompt[at].isspace():
                at += 1
        if (
            at < len(prompt)
            and prompt[at] != sign
            and (again := _again(text, prompt, place, at)) is not None
        ):
            at = again
        places.append(min(at, len(prompt)))
        at += at < len(prompt) and prompt[at] == sign

    return [*places, len(prompt)]


def _again(
    text: str,
    prompt: str,
    place: int,
    at: int,
) -> int | None:
    """Return where the prompt goes on as its normal form does here; None: this character stands for another one."""
    nearest = None
    least = WINDOW
    for more in range(AHEAD):
        near = text[place + more : place + more + NEAR]
        whole = len(near) == NEAR or not more  # a short end would be found anywhere
        start = -1
        if whole:
            start = prompt.find(near, at, at + least + NEAR)

        if start >= 0 and start - at + more < least:
            nearest = start if more == 0 else None
            least = start - at + more

    return nearest
