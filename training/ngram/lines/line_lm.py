"""Implement an n-gram model of text lines with its own words, as in ARPA files and other n-gram programs.

It has the interface of all models. In addition it reads lines, and reports as KenLM's `query` does:

    perplexity               10 ^ (−Σ log10 p / T),            T = words + one `</s>` per line
    perplexity_without_oov   the same without unknown words

A model with probabilities is sampled from its probabilities. Stupid back-off has scores: they rank the next words too,
and lines are sampled in proportion to the scores of each step.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from reviewlm.models.atomic_files import new_folder
from reviewlm.models.base import ModelError, translate_read_errors
from reviewlm.models.ngram.lm import NGramLM, NGramState
from reviewlm.models.ngram.tables import Precision, Tables
from reviewlm.models.options import Count
from reviewlm.models.sampling_options import require_allowed
from reviewlm.models.text.normal_form import require_unicode
from reviewlm.training.ngram.lines.text_corpus import (
    BEGIN,
    END,
    GIVEN_OF_LINES,
    MARKS,
    UNK,
    LineCorpus,
)
from reviewlm.training.ngram.measure import Scores, score_chunks, total

if TYPE_CHECKING:
    import torch

_FREE = -1
_FIRST_WORDS = "".join(f"{mark}\n" for mark in MARKS)
WORDS = "words.txt"
FACTS = "lines.json"


class WordTable:
    """The id of each word, and at `address` an array (int64) that compiled code reads.

    It holds the address of the slots, their number − 1, the address of the words (UTF-8, a line each), V, and the ids
    of unknown words, of the begin and of the end. A slot has the FNV-1a hash of a word and `place · 2³² + id`, where
    the place is that of its first byte; −1: a free slot. At least half of the slots are free. Ids from V on are the
    marks as words of a text: `<unk>` is an unknown word, the others are not text.

    The addresses are right as long as this object is alive.

    Args:
        kernels: The module `sentence_kernels`.
        words: Each word and then a line feed; less than 2 GiB.
    """

    def __init__(self, kernels: Any, words: str) -> None:
        encoded = f"{words}{_FIRST_WORDS}".encode()
        lines = encoded.count(b"\n")
        self._words_B = np.frombuffer(encoded, np.uint8)
        self._slot_S2: np.ndarray = np.full((1 << (2 * lines - 1).bit_length(), 2), _FREE, np.int64)
        text = self._words_B.ctypes.data
        slots = self._slot_S2.ctypes.data
        numbers = slots, len(self._slot_S2) - 1, text, lines - len(MARKS), UNK, BEGIN, END
        self._numbers = np.array(numbers, np.int64)
        self.address = int(self._numbers.ctypes.data)
        kernels.fill_words(text, len(encoded), self.address, self._slot_S2)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self._words_B.nbytes + self._slot_S2.nbytes


class LineLM(NGramLM):
    """A back-off model and the words of its ids; ids 0, 1, 2 are `<unk>`, `<s>`, `</s>`.

    Args:
        tables: log p and back-off weights.
        words: The word of every id, or a text with one word per line, which is split at the first access of `words`.
        normalised: See `NGramLM`.
    """

    def __init__(
        self,
        tables: Tables,
        words: Sequence[str] | str,
        normalised: bool = True,
    ) -> None:
        super().__init__(tables, normalised)
        self._words = words

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The word of every id."""
        return tuple(self._words.split("\n")[:-1] if isinstance(self._words, str) else self._words)

    @cached_property
    def _compiled_scorer(self) -> tuple[Any, Any, int, int, WordTable]:
        """The compiled scores of a sentence, and what they read."""
        self._require_probabilities()
        from reviewlm.training.ngram.lines import sentence_kernels as kernels  # imports numba

        words = self._words
        if not isinstance(words, str):
            words = "".join(f"{word}\n" for word in words)

        table = WordTable(kernels, words)
        return *kernels.functions(), self.tables.packed.address, table.address, table

    def __getstate__(self) -> dict[str, Any]:
        # The compiled scorer holds addresses of this object.
        return {name: value for name, value in self.__dict__.items() if name != "_compiled_scorer"}

    @classmethod
    def from_arpa(cls, path: Path) -> LineLM:
        """Read an ARPA file of any toolkit; see `read_arpa` in `arpa_reader.py`, also for errors."""
        # Only here: it needs polars, which takes longer to load than most models.
        from reviewlm.training.ngram.arpa_reader import read_arpa

        return cls(*read_arpa(path))

    def to_arpa(self, path: Path) -> None:
        """Write an ARPA file; see `write_arpa` in `arpa_writer.py`.

        Raises:
            ModelError: The model has scores (stupid back-off), which ARPA readers would read as probabilities.
        """
        from reviewlm.training.ngram.arpa_writer import write_arpa

        self._require_probabilities()
        write_arpa(path, self.tables, self.words)

    def save(self, folder: Path, precision: Precision | None = None) -> None:
        """Write tables and words as a new folder; see `Tables.save`.

        Raises:
            ModelError: See `new_folder`.
        """
        with new_folder(folder) as new:
            words = "".join(f"{word}\n" for word in self.words).encode()
            (new / WORDS).write_bytes(words)
            facts = {"normalised": self.normalised, "words_bytes": len(words)}
            (new / FACTS).write_text(json.dumps(facts) + "\n", encoding="utf-8")
            super().save(new, precision)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a model that `save` wrote, memory-mapped.

        Raises:
            ModelError: Files are missing, damaged, or do not fit each other; kind "bundle".
        """
        with translate_read_errors(f"the model {folder}"):
            tables = Tables.load(folder)

        with translate_read_errors(f"{folder} is not a model of lines: it"):
            raw = (folder / WORDS).read_bytes()
            words = raw.decode()
            facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
            normalised = bool(facts["normalised"])
            size = facts["words_bytes"]

        number = words.count("\n")
        if number != tables.vocabulary_size or not words.endswith("\n"):
            raise ModelError(
                f"{folder / WORDS} has {number} words, the tables {tables.vocabulary_size}",
                "bundle",
            )
        if len(raw) != size:
            raise ModelError(
                f"{folder / WORDS} has {len(raw)} bytes; {size} were written", "bundle"
            )
        if not words.startswith(_FIRST_WORDS):
            raise ModelError(
                f"{folder / WORDS} does not begin with the words {', '.join(MARKS)}", "bundle"
            )

        return cls(tables, words, normalised)

    def read_lines(self, lines: Iterable[str]) -> LineCorpus:
        """Return lines as ids of this model; unknown words are `<unk>`."""
        return LineCorpus.read(lines, self.words, "unknown")

    def token_nats(self, text: LineCorpus) -> np.ndarray:
        """Return −log p of every id of a text read with this model's words, (T,) float64; 0 at the begins."""
        return np.concatenate([np.zeros(0), *score_chunks(self, text.ids)])

    def score_text(self, text: LineCorpus) -> Scores:
        """Score a text read with this model's words; memory does not grow with the text."""
        return total(text.ids, score_chunks(self, text.ids), GIVEN_OF_LINES, UNK)

    def log_probability(self, sentence: str) -> float:
        """Return log p of a sentence and its end, in nats; divide by ln 10 for the score of the module `kenlm`.

        This is the fastest way to score single sentences; texts of many lines are faster with `score_text`. The first
        call takes half a second: it imports numba and makes the table of words.

        Raises:
            ModelError: `<s>` or `</s>` is in the sentence, it is not Unicode (`require_unicode`), or the model has no
                probabilities (kind "input").
        """
        score, _, tables, words, _ = self._compiled_scorer
        logp: float = score(_utf8(sentence), tables, words)
        if logp != logp:  # NaN
            self.read_lines([sentence])  # says which mark is in it
        return logp

    def token_scores(self, sentence: str) -> list[tuple[float, int, bool]]:
        """Return the scores of the words of a sentence and of its end, as `full_scores` of the module `kenlm` does.

        Each is log p after the words before it, in nats; the length of the longest seen n-gram that ends with it, from
        which log p comes; and whether it is an unknown word.

        Raises:
            ModelError: See `log_probability`.
        """
        _, scores, tables, words, _ = self._compiled_scorer
        rows: list[tuple[float, int, bool]] = scores(_utf8(sentence), tables, words)
        if not rows:
            self.read_lines([sentence])
        return rows


def _utf8(sentence: str) -> bytes:
    """Return a sentence in UTF-8; see `require_unicode`."""
    try:
        return sentence.encode()
    except UnicodeEncodeError:
        require_unicode(sentence)
        raise


def next_words(
    model: LineLM,
    prompt: str,
    k: int = 5,
) -> list[tuple[str, float]]:
    """Return the k words (or `</s>`, the end of the line) that the model ranks first after *prompt*, best first.

    Each word has its probability, or with stupid back-off its score (scores do not sum to 1). `<unk>` and words with
    probability 0 are left out.

    Raises:
        ModelError: k is below 1, or `<s>` or `</s>` is in the prompt; kind "input".
    """
    require_allowed("k", k, Count)
    logs_V = _read(model, prompt, 1)[0][0].numpy().astype(np.float64)
    logs_V[[UNK, BEGIN]] = -np.inf
    best = np.argsort(-logs_V, kind="stable")[:k]
    possible = [token for token in best if logs_V[token] > -np.inf]
    return [(model.words[token], float(np.exp(logs_V[token]))) for token in possible]


def write_lines(
    model: LineLM,
    n: int = 1,
    prompt: str = "",
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    max_tokens: int = 100,
    seed: int = 0,
) -> list[str]:
    """Return n lines that begin with *prompt*, each up to its end or *max_tokens* words; see `models/sampling`.

    Raises:
        ModelError: A parameter is out of its range, or `<s>` or `</s>` is in the prompt; kind "input".
    """
    from reviewlm.models.sampling.batch import SampledText, TextBatch, draws_of
    from reviewlm.models.sampling_options import Sampling

    require_allowed("n", n, Count)
    require_allowed("max_tokens", max_tokens, Count)
    sampling = Sampling(temperature, top_k, top_p)
    uniforms_BT = draws_of(seed).random((max_tokens, n)).T
    batch: TextBatch[SampledText] = TextBatch(model.step, (UNK, BEGIN), model.normalised)
    texts = [SampledText(sampling, iter(uniforms_T.tolist()), []) for uniforms_T in uniforms_BT]
    batch.join(texts, *_read(model, prompt, n))
    lines = {id(text): prompt.split() for text in texts}
    for text, token in batch.write(max_tokens):
        if token != END:
            lines[id(text)].append(model.words[token])

    return [" ".join(words) for words in lines.values()]


def _read(
    model: LineLM,
    prompt: str,
    streams: int,
) -> tuple[torch.Tensor, NGramState]:
    """Return the log-probabilities (or log scores) after `<s>` and the prompt, and the state, for *streams* streams."""
    ids_T = LineCorpus.read([prompt], model.words, marks="unknown").ids[:-1]
    ids_BT = np.tile(ids_T.astype(np.int64), (streams, 1))
    state = model.read(ids_BT[:, :-1], model.start(streams))
    return model.step(ids_BT[:, -1], state)
