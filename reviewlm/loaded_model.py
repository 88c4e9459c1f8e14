"""Use a fitted model in Python: write reviews, suggest next words, score texts, encode them, save it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from reviewlm.core.config.section import MAX_TOKENS, SEED, TEMPERATURE, TOP_P
from reviewlm.models.text.given import given_path, given_texts
from reviewlm.options import run_checked

if TYPE_CHECKING:
    import numpy as np

    from reviewlm.models.bundles.bundle import Bundle
    from reviewlm.models.bundles.text_scores import TextScore
    from reviewlm.models.completion.beam import FoundText
    from reviewlm.models.completion.suggestions import Suggestions
    from reviewlm.models.sampling import GeneratedText
    from reviewlm.models.sampling.watermark import WatermarkEvidence

PROBES = (
    ("The food was great and the staff were very friendly.", 5),
    ("We waited an hour and the server was rude!", 1),
)
"""Texts and stars whose scores are stored with a saved model and computed again when it is opened."""


@dataclass(frozen=True, repr=False)
class LoadedModel:
    """A fitted language model, ready for use.

    Args:
        name: Name of the registered model, or of the model in a bundle.
        version: Number of the registered version; None for a bundle and for a model fitted in this process.
        bundle: Model and vocabulary.
        made_from: Preset and data of the run that made a registered version; "" for others.
        created: When it was registered, UTC; None for others.
    """

    name: str
    version: int | None
    bundle: Bundle
    made_from: str = ""
    created: datetime | None = None

    def __repr__(self) -> str:
        """Return which model this is."""
        if self.version is None:
            which = self.name
        else:
            which = f"{self.name}/{self.version}"

        spec = self.bundle.spec
        facts = [f"{which}: {spec.name} ({spec.kind})"]
        if self.made_from:
            facts.append(f"made from {self.made_from}")
        if self.created is not None:
            facts.append(f"registered {self.created:%Y-%m-%d %H:%M} UTC")
        return f"<{', '.join(facts)}>"

    def generate(
        self,
        n: int = 1,
        stars: int | None = None,
        prompt: str = "",
        temperature: float = TEMPERATURE,
        top_k: int = 0,
        top_p: float = TOP_P,
        max_tokens: int = MAX_TOKENS,
        seed: int = SEED,
        min_p: float = 0.0,
        typical_p: float = 1.0,
        repetition_penalty: float = 1.0,
        no_repeat_ngram_size: int = 0,
        stop: Sequence[str] = (),
        watermark: str = "",
    ) -> list[GeneratedText]:
        """Return n whole reviews, each with `ended`; same arguments, same reviews as `reviewlm generate`.

        Args:
            n: Number of reviews.
            stars: Rating 1 to 5, 0: unknown; None: drawn as in the training reviews.
            prompt: Beginning of the reviews, which is kept unchanged.
            temperature: Below 1, likely words become likelier; 0: always the likeliest.
            top_k: Number of likeliest words to sample from; 0: all.
            top_p: Use only the likeliest words, up to this total probability.
            max_tokens: Longest review, in tokens; `ended` of a review is False if it is cut there.
            seed: Seed of the random draw.
            min_p: Use only words at least this share as likely as the likeliest; 0: all.
            typical_p: Use only the words whose surprise is nearest to the expected one, up to this total probability.
            repetition_penalty: Above 1, words that the text already has become less likely.
            no_repeat_ngram_size: No sequence of this many tokens occurs twice; 0: no limit.
            stop: A review ends before the first of these strings.
            watermark: Key by which words are drawn, so that `watermarks` recognises the review; empty: none.

        Raises:
            ReviewLMError: An argument is out of its range.
        """
        from reviewlm.models.sampling import generate

        sampling: dict[str, Any] = {
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "min_p": min_p,
            "typical_p": typical_p,
            "repetition_penalty": repetition_penalty,
            "no_repeat_ngram_size": no_repeat_ngram_size,
            "watermark": watermark,
        }
        texts = run_checked(
            lambda: generate(
                self.bundle,
                n,
                stars,
                prompt,
                max_tokens,
                seed,
                stop,
                **sampling,
            )
        )
        self._warn_of_unseen(prompt, stars)
        return texts

    def stream(
        self,
        stars: int | None = None,
        prompt: str = "",
        temperature: float = TEMPERATURE,
        top_k: int = 0,
        top_p: float = TOP_P,
        max_tokens: int = MAX_TOKENS,
        seed: int = SEED,
        min_p: float = 0.0,
        typical_p: float = 1.0,
        repetition_penalty: float = 1.0,
        no_repeat_ngram_size: int = 0,
        stop: Sequence[str] = (),
        watermark: str = "",
    ) -> Iterator[str]:
        """Yield one review piece by piece, as it is written; arguments and text are those of `generate`."""
        from reviewlm.models.sampling import stream

        sampling: dict[str, Any] = {
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "min_p": min_p,
            "typical_p": typical_p,
            "repetition_penalty": repetition_penalty,
            "no_repeat_ngram_size": no_repeat_ngram_size,
            "watermark": watermark,
        }
        pieces = stream(
            self.bundle,
            stars,
            prompt,
            max_tokens,
            seed,
            stop,
            **sampling,
        )
        while (piece := run_checked(lambda: next(pieces, None))) is not None:
            yield piece

        self._warn_of_unseen(prompt, stars)

    def search(
        self,
        width: int = 5,
        n: int = 1,
        stars: int | None = None,
        prompt: str = "",
        require: Sequence[str] = (),
        max_tokens: int = MAX_TOKENS,
    ) -> list[FoundText]:
        """Return the n likeliest reviews that beam search finds; same arguments as `reviewlm generate --beam`.

        Args:
            width: Beginnings that are kept at each step.
            n: Number of reviews, at most *width*.
            stars: Rating 1 to 5, 0: a review without one; None: any.
            prompt: Beginning of the reviews, which is kept unchanged.
            require: Words that each review must contain.
            max_tokens: Longest review, in tokens.

        Raises:
            ReviewLMError: An argument is out of its range, or a required word is unknown.
        """
        from reviewlm.models.completion.beam import beam_search

        texts = run_checked(
            lambda: beam_search(
                self.bundle,
                width,
                n,
                stars,
                prompt,
                require,
                max_tokens,
            )
        )
        self._warn_of_unseen(prompt, stars)
        return texts

    def suggest(
        self,
        prompt: str,
        k: int = 5,
        stars: int | None = None,
        both: bool = False,
    ) -> Suggestions:
        """Return the k most probable words to write next with their probabilities, and the remaining probability.

        "the food was gre" gets completions of "gre", "the food was" next words. A space at the end finishes a word.

        Args:
            prompt: The text so far.
            k: Maximum number of words.
            stars: Rating of the review, 0: without one; None: the average over those of the training reviews.
            both: If the text ends in a word, also return its completions, or the next words, as `otherwise`.
        """
        from reviewlm.models.completion.suggestions import suggest

        suggestions = run_checked(
            lambda: suggest(
                self.bundle,
                prompt,
                k,
                stars,
                both,
            )
        )
        self._warn_of_unseen(prompt, stars)
        return suggestions

    @overload
    def score(self, text: str, stars: int | None = None) -> TextScore: ...  # type: ignore[overload-overlap]

    @overload
    def score(self, text: Sequence[str], stars: int | None = None) -> list[TextScore]: ...

    def score(
        self, text: str | Sequence[str], stars: int | None = None
    ) -> TextScore | list[TextScore]:
        """Return the scores of a text, or of each of several; compare models by `open_bits_per_byte`.

        Texts compare by it only if they are about equally long: a short one also pays for its early end.

        Several texts in one call take far less time than a call for each.

        Args:
            text: A text, or several.
            stars: Rating of them all, 1 to 5, 0: unknown; None: the probability of a text is the average over the
                ratings of the training reviews.

        Raises:
            ReviewLMError: *text* is neither a text nor a list of texts (a table, a dictionary, `None` in the list), or
                *stars* is out of its range.
        """
        if isinstance(text, str):
            score = run_checked(lambda: self.bundle.score_text(text, stars))
            self._warn_of_unseen(text, stars)
            return score

        scores = run_checked(lambda: self.bundle.score_texts(text, stars))
        self._warn_of_unseen("\n".join(text), stars)
        return scores

    def watermarks(self, texts: Sequence[str], key: str) -> list[WatermarkEvidence]:
        """Return for each text what speaks for its having been drawn with a key, as `reviewlm score --watermark`.

        Args:
            texts: Texts of this version, or any others.
            key: The key that `generate` was given as *watermark*.

        Raises:
            ReviewLMError: *texts* is no list of texts.
        """
        from reviewlm.models.sampling.watermark import evidence_of

        several = run_checked(lambda: given_texts(texts))
        return run_checked(
            lambda: [evidence_of(self.bundle.vocabulary, text, key) for text in several]
        )

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return a vector for each text (texts × features, float32); compare vectors of one model by the cosine.

        The vector is the mean of the network's features over the text, which is read without a rating. Equal
        texts have equal vectors, up to rounding, whatever the other texts are.

        Args:
            texts: Texts, which are first brought into normal form; an empty one has a vector too.

        Raises:
            ReviewLMError: The model has no network (n-gram models), or *texts* is no list of texts.
        """
        from reviewlm.models.neural.encoder import Encoder

        return run_checked(lambda: Encoder(self.bundle).encode(texts))

    def save(self, folder: str | Path) -> None:
        """Write the model as a bundle, a new folder of data that `load` opens.

        Raises:
            ReviewLMError: The folder exists or cannot be written.
        """
        run_checked(lambda: _save(self.bundle, given_path(folder, "folder")))

    def _warn_of_unseen(self, text: str, stars: int | None) -> None:
        """Warn, in the caller's line, of a rating or a script that the training reviews did not have."""
        from reviewlm.models.bundles.bundle import unseen_warnings

        for sentence in unseen_warnings(self.bundle, text, stars):
            warnings.warn(sentence, stacklevel=3)


def _save(bundle: Bundle, folder: Path) -> None:
    """Write a bundle with the scores of `PROBES`, whole or not at all."""
    from reviewlm.models.atomic_files import new_folder
    from reviewlm.models.bundles.bundle import save_bundle

    facts = {**bundle.facts, "stars_prior": bundle.stars_prior}
    with new_folder(folder) as new:
        save_bundle(
            new,
            bundle.spec,
            bundle.vocabulary,
            bundle.model,
            PROBES,
            facts,
        )
