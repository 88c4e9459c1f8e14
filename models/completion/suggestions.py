"""Suggest the next words of a text, or the completions of the word being typed, with exact probabilities.

With a subword vocabulary a word is several tokens, so the most probable words are searched character by character.

**Token healing.** With parts of words, texts also go on inside the word at the end of a prompt (`ways_on`). The usual
tokens of "the food was gre" end with " gre". After that token a model expects nothing of "great", which its training
text has as the token " great". So the tokens of an unfinished word are not fixed: given its characters, each way to cut
them has a probability, which is summed over all that may follow (`spellings.py`). A way is drawn, and the text goes on
from there. Together, the texts are those of the model that begin with the characters of the prompt; the text before the
word counts as cut in the usual way.

Whoever writes a whole word without a space means that word: one that is likely to be finished, as `/suggest` decides
it, is read as it is.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from ..bundles.bundle import Bundle
from ..options import Count
from ..sampling_options import require_allowed
from ..text.given import given_text
from ..tokens.special import UNK
from ..tokens.vocabulary import Vocabulary
from ..tokens.word_pieces import pieces_of
from ..tokens.words import WordUnit
from .reading import Ids, PrefixReader, Readers, Search, Steps, read_beside, result_of, run_together
from .spellings import EXACT, Cutoffs, Node, Spellings, texts_of
from .typed import TextStart, Typed, divide, with_typed_capitals, words_of

MOST_BEGINNINGS = 2_048
"""Maximum number of beginnings of words that a search visits; words not found by then are part of `rest`."""
FEW_BEGINNINGS = 4
"""Beginnings that are read in one batch however improbable some are: reading one takes almost as long."""
LETTERS = np.array([byte >= 128 or chr(byte).isalnum() or chr(byte) == "'" for byte in range(256)])
"""Bytes that may be in a word."""
FINISHED_SHARE = 0.01
"""A known word at the end of a text counts as finished if that is at least so probable, or if no longer word that
begins so is more frequent: "the food was" is, also where the model expects "wash". The limit is low, because a caller
who gives a text without a space at its end usually means whole words."""
FINISHED_SUBWORDS = 0.1
"""The limit `FINISHED_SHARE` for a subword vocabulary. It is higher, because such a vocabulary knows no words."""


def likely_words(
    ways: Spellings,
    start: Node,
    k: int,
    cutoffs: Cutoffs,
) -> Search[dict[str, float]]:
    """Return the most probable words that continue a node, by best-first search over characters.

    A word cannot be more probable than its beginning, so the search ends when k words are found that are more probable
    than all beginnings that are left. The model reads the beginnings where tokens end in batches: a few, or more of
    about equal probability. Much less probable ones may not be needed once the words of this batch are known.
    """
    words: dict[str, float] = {}
    numbers = count()
    heap = [(-start.mass, 0, start, -1)]

    def grow(node: Node, least: float) -> None:
        word = _whole(node.text).strip()
        if node.read and any(char.isalnum() for char in word) and (p := ways.finished(node)) > 0:
            words[word] = p
        for mass, byte in _longer(ways, node, least):
            heapq.heappush(heap, (-mass, next(numbers), node, byte))

    visited = 0
    while visited < MOST_BEGINNINGS:
        best = heapq.nlargest(k, words.values())
        least = max(cutoffs.word * start.mass, best[-1] if len(best) == k else 0.0)
        unread: list[Node] = []
        lowest = least
        while heap and len(unread) < cutoffs.width and visited < MOST_BEGINNINGS:
            if -heap[0][0] <= (least if len(unread) < FEW_BEGINNINGS else lowest):
                break
            visited += 1
            mass, _, before, byte = heapq.heappop(heap)
            node: Node | None = before
            if byte >= 0:
                node = ways.child(before, byte, start.mass)
            if node is None:
                continue
            if not node.ended:
                grow(node, least)
                continue
            unread.append(node)
            if len(unread) == 1:
                lowest = max(lowest, -mass * cutoffs.alike)
        if not unread:
            break
        yield from ways.extend(unread)
        for node in unread:
            grow(node, least)

    return words


def _whole(text: bytes) -> str:
    """Return a text, or "" if it ends within a character: without that part it would pass for a shorter word."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return ""


def _longer(
    ways: Spellings,
    node: Node,
    least: float,
) -> Iterator[tuple[float, int]]:
    """Yield the bytes that continue a word, with the probabilities of the longer beginnings above *least*."""
    mass_C = ways.next_bytes(node)
    for byte in np.flatnonzero((mass_C > least) & LETTERS).tolist():
        if byte < 128:
            last = ""
        else:
            last = (node.text + bytes([byte])).decode("utf-8", "ignore")[-1:]

        if not last or last.isalnum() or last in "'’ ":
            yield float(mass_C[byte]), byte


@dataclass(frozen=True)
class Suggestions:
    """Words that may come next, with their probabilities, most probable first, and the remaining probability.

    Args:
        words: Words and probabilities; with `rest` they sum to 1.
        rest: Probability of all that is not listed.
        typed: The characters at the end of the text with which all of the words begin; accepting a word replaces them.
            Empty: the words come after the text.
        space: What to write before a word when it is accepted: a space, or nothing.
        finished: Probability that the word at the end of the text is finished; 1 if the text ends with something else.
        otherwise: The suggestions if the text is read the other way; only if they were requested.
    """

    words: list[tuple[str, float]]
    rest: float
    typed: str = ""
    space: str = ""
    finished: float = 1.0
    otherwise: Suggestions | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the suggestions as JSON values, as the command line and the server show them."""
        words = [{"word": word, "probability": probability} for word, probability in self.words]
        return {
            "words": words,
            "rest": self.rest,
            "typed": self.typed,
            "space": self.space,
            "finished": self.finished,
            "otherwise": self.otherwise and self.otherwise.as_json(),
        }


def suggest(
    bundle: Bundle,
    prompt: str,
    k: int = 5,
    stars: int | None = None,
    both: bool = False,
    readers: Readers | None = None,
    cutoffs: Cutoffs = EXACT,
) -> Suggestions:
    """Return the k most probable words to write next, given exactly the characters that are typed.

    - "the food was gre" ends in the middle of a word: the suggestions are its completions (`typed` is "gre"), with
      P(word | the text before it, the word begins with "gre").
    - "the food was" ends with a known word: the suggestions are next words, given that this word is finished. The
      probability that it is, and not the beginning of "wasn't", is `finished`. If it is below `FINISHED_SHARE`, the word is
      completed, unless the vocabulary holds no more frequent word that begins so.
    - "the food was ": the space finishes the word. The suggestions are next words, given that one begins here, so they
      are a little more probable than without the space: no comma or full stop can follow.

    With a word vocabulary, the probabilities are the model's own. Upper and lower case are equal if the vocabulary
    folds case, and a suggestion has the usual case of its word. With a subword vocabulary, the probability of a word is
    the sum over all ways to cut it into tokens, followed by a token that does not continue the word. Punctuation, line
    breaks, the end of the review and unknown words count as `rest`, so an unknown beginning gets no words and a rest of
    1.

    Args:
        prompt: The text so far.
        k: Maximum number of words.
        stars: Rating of the review; 0: a review without one; None: any, the average over those of the training reviews.
        both: If the text ends in a word, also return the other suggestions as `otherwise`: completions or next words.
        readers: What earlier searches with this bundle have read; default: nothing.
        cutoffs: What a subword vocabulary may leave out; what is left out is missing from the probabilities of words.

    Raises:
        ModelError: kind "input": k is below 1, or the rating is not valid.
    """
    return result_of(
        suggestion_steps(
            bundle,
            prompt,
            k,
            stars,
            both,
            readers,
            cutoffs,
        )
    )


def suggestion_steps(
    bundle: Bundle,
    prompt: str,
    k: int = 5,
    stars: int | None = None,
    both: bool = False,
    readers: Readers | None = None,
    cutoffs: Cutoffs = EXACT,
) -> Steps[Suggestions]:
    """Search as `suggest` does and return the suggestions; yield before each batch that the model reads.

    Args: as for `suggest`.
    """
    typed, reader = _divide(
        bundle,
        prompt,
        k,
        stars,
        readers,
    )
    vocabulary = bundle.vocabulary
    if not typed.word:
        return (
            yield from run_together(
                reader,
                _next(
                    bundle,
                    typed,
                    k,
                    reader,
                    cutoffs,
                ),
            )
        )[0]

    beside = []
    if both:
        beside = [read_beside(typed.ids)]

    if vocabulary.word_unit:
        if not beside and _is_frequent(vocabulary, typed.word):  # then the next words are asked for
            beside = [read_beside(typed.ids)]
        yield from run_together(reader, read_beside(typed.context), *beside)
        known = _known_words(
            vocabulary,
            vocabulary.word_unit,
            reader([typed.context])[0].p_V,
            typed,
            k,
        )
        finished = known.finished
        completing = _as_search(known)
    else:
        spelled, *_ = yield from run_together(
            reader, spelled_word(vocabulary, typed, reader, cutoffs), *beside
        )
        finished = spelled.finished if spelled else 0.0
        completing = _complete_words(spelled, typed, k, cutoffs)
        if spelled:
            cutoffs = cutoffs.after(finished)

    whole = _is_whole(vocabulary, typed.word, finished)
    following = _next(
        bundle,
        typed,
        k,
        reader,
        cutoffs,
    )
    first, second = (following, completing) if whole else (completing, following)
    chosen, *others = yield from run_together(reader, first, *([second] if both else []))
    return replace(chosen, finished=finished, otherwise=others[0] if both else None)


def _as_search(suggestions: Suggestions) -> Search[Suggestions]:
    """Return known suggestions in the form of a search that reads nothing."""
    yield from ()
    return suggestions


def _is_whole(
    vocabulary: Vocabulary,
    word: str,
    finished: float,
) -> bool:
    """Return whether a word counts as finished, which has this probability."""
    if vocabulary.word_unit is None:
        return finished >= FINISHED_SUBWORDS

    if _is_frequent(vocabulary, word):
        return True
    return finished >= FINISHED_SHARE and bool((vocabulary.encode(word) != UNK).all())


def _is_frequent(vocabulary: Vocabulary, word: str) -> bool:
    """Return whether a word vocabulary holds a word, and no more frequent one that begins so."""
    beginning = "".join(pieces_of(word, vocabulary.spec.lowercase))
    begun = words_of(vocabulary).beginning_with(beginning.encode())
    # The vocabulary lists the most frequent first.
    return len(begun) > 0 and vocabulary.encode(word).tolist() == [begun.min()]


def next_words(
    bundle: Bundle,
    prompt: str,
    k: int = 5,
) -> Suggestions:
    """Return the k most probable next words after *prompt*, given that the word at its end is finished; see `suggest`."""
    typed, reader = _divide(bundle, prompt, k, None)
    return result_of(
        run_together(
            reader,
            _next(
                bundle,
                typed,
                k,
                reader,
                EXACT,
            ),
        )
    )[0]


def _divide(
    bundle: Bundle,
    prompt: str,
    k: int,
    stars: int | None,
    readers: Readers | None = None,
) -> tuple[Typed, PrefixReader]:
    reader, prefix = (readers or Readers(bundle)).of(stars)
    require_allowed("k", k, Count)
    return divide(bundle.vocabulary, given_text(prompt), prefix), reader


def _next(
    bundle: Bundle,
    typed: Typed,
    k: int,
    reader: PrefixReader,
    cutoffs: Cutoffs,
) -> Search[Suggestions]:
    if unit := bundle.vocabulary.word_unit:
        yield [typed.ids]
        p_V = reader([typed.ids])[0].p_V
        suggestions = _best(
            k,
            *_whole_words(
                bundle.vocabulary,
                unit,
                p_V,
                typed,
                k,
            ),
        )
        begun = not len(texts_of(bundle.vocabulary).after(typed.text).beginning_with(b" "))
    else:
        suggestions = _best(
            k,
            *(
                yield from _spelled_words(
                    bundle.vocabulary,
                    typed,
                    k,
                    reader,
                    cutoffs,
                )
            ),
        )
        begun = typed.begun

    return replace(suggestions, space="" if typed.spaced or begun else " ")


def _best(
    k: int,
    masses: dict[str, float],
    whole: float,
) -> Suggestions:
    """Return the k best words, relative to the probability of all that the typed characters allow."""
    ranked = heapq.nsmallest(k, masses.items(), key=lambda item: (-item[1], item[0]))
    best = []
    if whole > 0:
        best = [(word, min(1.0, p / whole)) for word, p in ranked]

    return Suggestions(best, max(0.0, 1.0 - sum(probability for _, probability in best)))


def _whole_words(
    vocabulary: Vocabulary,
    unit: WordUnit,
    p_V: np.ndarray,
    typed: Typed,
    k: int,
) -> tuple[dict[str, float], float]:
    """Return displayed word → probability, and the probability of all that may follow the text."""
    allowed_V = vocabulary.word_start_V
    whole = 1.0
    index = texts_of(vocabulary).after(typed.text)
    spaced = index.beginning_with(b" ")
    if typed.spaced and len(spaced):
        spaced_V = np.zeros(vocabulary.size, bool)
        spaced_V[spaced] = True
        allowed_V = allowed_V & spaced_V
        whole = float(p_V[spaced_V].sum() + p_V[UNK])

    candidates = np.flatnonzero(allowed_V)
    ranked = candidates[np.argsort(-p_V[candidates], kind="stable")]
    writer = unit.page_after(typed.text)
    # Entries that look the same in text count as one word.
    masses: defaultdict[str, float] = defaultdict(float)
    for token in ranked[: 2 * k]:
        shown = writer.shown(vocabulary.token(token))
        masses[shown.strip() or shown] += float(p_V[token])

    return masses, whole


class SpelledWord(NamedTuple):
    """All ways to spell the typed word, and the probability that it is finished."""

    ways: Spellings
    node: Node
    finished: float


def spelled_word(
    vocabulary: Vocabulary,
    typed: Typed,
    reader: PrefixReader,
    cutoffs: Cutoffs,
) -> Search[SpelledWord | None]:
    """Spell the typed word; None if no token sequence covers it."""
    ways = Spellings(
        vocabulary,
        reader,
        typed.context,
        typed.before,
        cutoffs,
    )
    node = yield from ways.descend(typed.characters)
    if node is None:
        return None
    yield from ways.extend([node])
    return SpelledWord(ways, node, min(1.0, ways.finished(node) / node.mass))


def _complete_words(
    spelled: SpelledWord | None,
    typed: Typed,
    k: int,
    cutoffs: Cutoffs,
) -> Search[Suggestions]:
    """Return the words of a subword vocabulary that begin with the typed one."""
    if spelled is None:
        return Suggestions([], 1.0, typed.word, finished=0.0)
    words = yield from likely_words(spelled.ways, spelled.node, k, cutoffs)
    return replace(_best(k, words, spelled.node.mass), typed=typed.word, finished=spelled.finished)


def _known_words(
    vocabulary: Vocabulary,
    unit: WordUnit,
    p_V: np.ndarray,
    typed: Typed,
    k: int,
) -> Suggestions:
    """Return the words that begin with the typed one; the rest is the probability of unknown words that do."""
    beginning = "".join(pieces_of(typed.word, vocabulary.spec.lowercase))
    ids = words_of(vocabulary).beginning_with(beginning.encode())
    begun, _, ends = unit.spelling.following(beginning, unit.unknown_words(typed.before))
    unknown = float(p_V[UNK]) * begun
    finished = unknown * ends
    finished += sum(float(p_V[token]) for token in ids[:1] if vocabulary.token(token) == beginning)
    writer = unit.page_after(typed.text[: len(typed.text) - len(typed.word)])
    masses: defaultdict[str, float] = defaultdict(float)
    for token in ids[np.argsort(-p_V[ids], kind="stable")][: 2 * k]:
        word = vocabulary.token(token)
        masses[with_typed_capitals(writer.shown(word).strip(), word, typed.word, beginning)] += (
            float(p_V[token])
        )

    whole = float(p_V[ids].sum()) + unknown
    return replace(
        _best(k, masses, whole), typed=typed.word, finished=finished / whole if whole > 0 else 0.0
    )


def _spelled_words(
    vocabulary: Vocabulary,
    typed: Typed,
    k: int,
    reader: PrefixReader,
    cutoffs: Cutoffs,
) -> Search[tuple[dict[str, float], float]]:
    """Return word → probability, and the probability that a new word or mark follows, for a subword vocabulary."""
    ways = Spellings(
        vocabulary,
        reader,
        typed.ids,
        typed.text,
        cutoffs,
    )
    yield from ways.extend([ways.root])
    whole = 1.0
    if typed.word:
        whole = ways.finished(ways.root)

    start: Node | None = ways.root
    if typed.spaced or not typed.begun:
        start = ways.child(ways.root, ord(" "))
    if start is None:
        return {}, whole

    words = yield from likely_words(ways, start, k, cutoffs)
    if typed.spaced:
        return words, start.mass
    return words, whole


class Way(NamedTuple):
    """A way to continue the last word of a prompt: its probability, given the text before, and the tokens that it begins with."""

    mass: float
    start: TextStart


def ways_on(
    vocabulary: Vocabulary,
    usual: TextStart,
    prefix: Ids,
    reader: PrefixReader,
) -> Search[list[Way]]:
    """Search the ways to divide the last word of a prompt into tokens and continue it.

    It is the usual way alone if the word is finished, or there is no word.

    Args:
        vocabulary: Of the model.
        usual: The prompt as it is usually cut.
        prefix: Tokens before those of the prompt.
        reader: Reads token sequences.
    """
    typed = usual.open
    closed = usual._replace(open=None)
    if typed is None:
        return [Way(1.0, closed)]

    context = prefix + typed.context
    spelled = yield from spelled_word(vocabulary, replace(typed, context=context), reader, EXACT)
    if spelled is None or spelled.finished >= FINISHED_SUBWORDS:
        return [Way(1.0, closed)]

    node = spelled.node
    ways = [Way(read.weight, closed._replace(ids=read.ids[len(prefix) :])) for read in node.read]
    for source in node.sources:
        if source.start == len(node.text):  # after the word, where any token may come
            continue
        _, high, longer = source.index.place(node.text[source.start :])
        if longer < high and (mass := source.between(longer, high)) > 0:
            path = source.ids[len(context) :]
            first = tuple(source.index.ids_E[longer:high].tolist())
            read = b"".join(map(vocabulary.entry, path)).decode("utf-8", "ignore")
            word = typed.characters.decode()[len(read) :]
            ways.append(
                Way(
                    mass,
                    closed._replace(
                        ids=typed.context + path,
                        first=first,
                        word=word,
                        path=path,
                    ),
                )
            )

    return ways
