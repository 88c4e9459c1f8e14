"""Use a fitted model in Python: open it by its name or folder, write reviews, suggest next words, score texts, save it."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, overload

from reviewlm.core.config.section import MAX_TOKENS, SEED, TEMPERATURE, TOP_P
from reviewlm.core.config.sections.evaluation import DEMO_MODEL
from reviewlm.core.environment import HOME_VARIABLE
from reviewlm.core.errors import ArtifactError, BundleError, converted_errors
from reviewlm.models.text.given import given_path, given_text, given_texts
from reviewlm.options import configure, is_folder, open_registered, run_checked

if TYPE_CHECKING:
    import numpy as np

    from reviewlm.core.config.run_config import RunConfig
    from reviewlm.core.store import Artifact
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

BUNDLE = "bundle"
SCHEME = "models:/"
log = logging.getLogger(__name__)


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

        texts = run_checked(
            lambda: generate(
                self.bundle,
                n,
                stars,
                prompt,
                max_tokens,
                seed,
                stop,
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                min_p=min_p,
                typical_p=typical_p,
                repetition_penalty=repetition_penalty,
                no_repeat_ngram_size=no_repeat_ngram_size,
                watermark=watermark,
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

        pieces = stream(
            self.bundle,
            stars,
            prompt,
            max_tokens,
            seed,
            stop,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            typical_p=typical_p,
            repetition_penalty=repetition_penalty,
            no_repeat_ngram_size=no_repeat_ngram_size,
            watermark=watermark,
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
            lambda: beam_search(self.bundle, width, n, stars, prompt, require, max_tokens)
        )
        self._warn_of_unseen(prompt, stars)
        return texts

    def suggest(
        self, prompt: str, k: int = 5, stars: int | None = None, both: bool = False
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

        suggestions = run_checked(lambda: suggest(self.bundle, prompt, k, stars, both))
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
    from reviewlm.models.atomic_files import new_folder
    from reviewlm.models.bundles.bundle import save_bundle

    facts = {**bundle.facts, "stars_prior": bundle.stars_prior}
    with new_folder(folder) as new:
        save_bundle(new, bundle.spec, bundle.vocabulary, bundle.model, PROBES, facts)


def load(
    model: str | int | Path = "champion",
    home: str | Path | None = None,
    preset: str = "small",
    settings: Sequence[str] = (),
) -> LoadedModel:
    """Open a registered model, or the bundle in a folder.

    Until a run of your own reviews has registered a version, the demo's is opened, with a warning. `repr` of the model,
    and a line of the log (logger "reviewlm.loaded_model", level INFO), say which one it is.

    Args:
        model: Alias or number of a version ("champion", 3), `NAME` of a registered model, `NAME@ALIAS`, `NAME/3`; or
            the folder of a bundle, as a path with a separator.
        home: Home folder with the registry, for this process from now on. Default: `REVIEWLM_HOME`, else that of the
            preset.
        preset: A preset of `config/`, or the path of a TOML file; it names the registered model.
        settings: Settings that replace those of the preset, each "key=value".

    Raises:
        ReviewLMError: There is no such model or folder, or it cannot be opened.
    """
    with converted_errors():
        reference = _reference(model)
        overrides = _overrides(settings)
        given_text(preset, "preset")
        if isinstance(reference, Path) or is_folder(reference):
            return open_folder(Path(reference))
        if home is not None:
            os.environ[HOME_VARIABLE] = str(given_path(home, "home").resolve())

    return open_model(configure(preset, overrides, create=False), reference)


def _reference(model: object) -> str | Path:
    """Return the name of a version, or the path of a folder."""
    if isinstance(model, Integral) and not isinstance(model, bool):
        return str(model)
    if isinstance(model, str):
        given_path(model, "model")
        return model.removeprefix("file://")

    return given_path(model, "model")


def _overrides(settings: object) -> list[str]:
    """Return settings that replace those of a preset, each "key=value"."""
    if settings is None:
        return []
    return given_texts(settings, "settings")


def open_model(config: RunConfig, model: str) -> LoadedModel:
    """Open a registered model, or the bundle in a folder; names and errors are those of `load`."""
    if is_folder(model):
        return open_folder(Path(model))
    from reviewlm.tracking.tags import MADE_FROM

    bundle, version = open_registered(config, model)
    lm = LoadedModel(
        version.name,
        int(version.version),
        bundle,
        version.tags.get(MADE_FROM, ""),
        version.created,
    )
    log.info("opened %r from %s", lm, config.home)
    if version.name == DEMO_MODEL and not model.removeprefix(SCHEME).startswith(DEMO_MODEL):
        warnings.warn(
            f"{lm!r} is the demo's model, because there is no '{config.promotion.model_name}' of your own in "
            f"{config.home.absolute()}. `reviewlm run --input FILES` makes one; "
            f"load({version.name!r}) opens the demo's without this warning",
            stacklevel=3,
        )

    return lm


def prepared_of(home: Path, bundle: Bundle) -> Artifact:
    """Return the prepared reviews that a model was fitted on.

    Raises:
        ArtifactError: They are not in the store.
    """
    from reviewlm.core.store import Store

    store = Store.of(home)
    digest = str(bundle.facts.get("clean_digest", ""))
    if not digest or (artifact := store.find("prepare", digest)) is None:
        raise ArtifactError(
            f"The reviews of '{bundle.spec.name}' are not in the store",
            where=store.root,
            remedy="set REVIEWLM_HOME to the home folder of its run, or name others: --input FILES",
        )

    return artifact


def open_folder(folder: Path) -> LoadedModel:
    """Open a fitted model: its bundle, or the folder of a fit that contains the bundle.

    Raises:
        BundleError: There is no such folder, or it has no readable bundle.
    """
    if not folder.is_dir():
        raise BundleError(
            "There is no such folder", where=folder, remedy="name the folder of a fitted model"
        )
    from reviewlm.models.bundles.bundle import load_bundle

    bundle = run_checked(
        lambda: load_bundle(folder / BUNDLE if (folder / BUNDLE).is_dir() else folder)
    )
    return LoadedModel(bundle.spec.name, None, bundle)
