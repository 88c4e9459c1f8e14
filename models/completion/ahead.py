"""Read ahead while a typist pauses: search as for the text with each of its most probable next letters."""

from __future__ import annotations

import numpy as np

from ..bundles.bundle import Bundle
from .reading import PrefixReader, Readers, Search, Steps, run_together
from .spellings import Cutoffs, Spellings
from .suggestions import suggestion_steps
from .typed import Typed, divide

LEAST = 0.01
"""Letters below this probability are not read ahead."""


def ahead_steps(
    bundle: Bundle, prompt: str, k: int, stars: int | None, both: bool, readers: Readers, cutoffs: Cutoffs,
    letters: int,
) -> Steps[None]:  # fmt: skip
    """Let the readers read what suggestions after the next letter will need; yield before each batch.

    The answers do not change, they only need fewer steps of the model. A model of words needs few anyway, so nothing is
    read ahead for it.

    Args:
        bundle, prompt, k, stars, both, readers, cutoffs: As for `suggest`, of the text so far.
        letters: Maximum number of letters that are tried, the most probable first.
    """
    if not letters or bundle.vocabulary.word_unit:
        return
    reader, prefix = readers.of(stars)
    typed = divide(bundle.vocabulary, prompt, prefix)
    [likely] = yield from run_together(reader, next_letters(bundle, typed, reader, cutoffs))
    for letter, probability in likely[:letters]:
        if probability >= LEAST:
            yield from suggestion_steps(bundle, prompt + letter, k, stars, both, readers, cutoffs)


def next_letters(
    bundle: Bundle, typed: Typed, reader: PrefixReader, cutoffs: Cutoffs
) -> Search[list[tuple[str, float]]]:
    """Return the ASCII characters that may follow a text, with their probabilities, the most probable first.

    Only for subword vocabularies.
    """
    context, before = (typed.context, typed.before) if typed.word else (typed.ids, typed.text)
    ways = Spellings(bundle.vocabulary, reader, context, before, cutoffs)
    node = yield from ways.descend(typed.characters if typed.word else b" " * typed.spaced)
    if node is None:
        return []
    yield ways.unread([node])
    ways.extend([node])
    p_C = ways.next_bytes(node)[:128] / node.mass
    return [(chr(byte), float(p_C[byte])) for byte in np.argsort(-p_C, kind="stable").tolist() if p_C[byte] > 0]
