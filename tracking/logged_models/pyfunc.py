"""Serve a bundle as an MLflow pyfunc model: `mlflow models serve`, `mlflow.pyfunc.load_model`, the MLflow UI.

MLflow copies this file next to the model and runs the copy. So it imports only the standard library, pandas, MLflow and
the copy of `models/` that is part of the model, under a name with its digest (see `tracking/logged_models/export.py`).

The input has one column, `text`; each row gets one answer. Called without MLflow (`unwrap_python_model().predict`), it
also takes a text, a list or a column of texts, or a dictionary with the key `text`; anything else is an error. The
parameter `task` selects the kind of answer:

    generate  `text` is the beginning of a review ("" for none)   → {"texts": n whole reviews}
    suggest   `text` is the text typed so far                     → {"words": [{"word", "probability"}], "rest",
                                                                     "typed", "finished"}
    score     `text` is a whole review                            → {"open_bits_per_byte", "bits_per_byte", "oov",
                                                                     "tokens", "bytes", "nats", "spelling_nats",
                                                                     "surface_nats", "perplexity",
                                                                     "per_token": [{"token", "nats"}]}
    classify  `text` is a whole review; of a classifier, which    → {"label", "labels": [{"label", "score",
              has this task alone and no parameters                  "probability"}]}, without "probability" if the
                                                                     classifier has none

Compare models by `open_bits_per_byte`: it includes the cost of spelling out-of-vocabulary words. Their number is `oov`.
In `nats`, `bits_per_byte` and `perplexity` these words cost almost nothing. `spelling_nats` is what the tokens leave out:
the letters of these words, and `surface_nats` for capital letters, spaces and quotes.

`predict_stream({"text": …}, params)` yields the text of `generate` with n = 1 piece by piece.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

COLUMN = "text"
DIGITS = 12
DEFAULTS: dict[str, Any] = {
    "task": "generate",
    "stars": None,
    "n": 1,
    "temperature": 0.8,
    "top_k": 0,
    "top_p": 0.95,
    "max_tokens": 300,
    "seed": 1,
    "k": 5,
    "min_p": 0.0,
    "typical_p": 1.0,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "stop": [],
    "watermark": "",
}
"""Parameters of a language model."""
NOT_OF_SAMPLING = ("task", "k")


class SourceLoader(SourceFileLoader):
    """Loader that compiles the source of a module and neither reads nor writes bytecode (`.pyc`)."""

    def path_stats(self, path: str) -> NoReturn:
        """Raise OSError: without the time of the source, Python ignores cached bytecode."""
        raise OSError(f"no bytecode of {path} is used")


class SourceFinder(MetaPathFinder):
    """Finder of the modules of one package: from their sources in one folder, and nowhere else."""

    def __init__(self, package: str, folder: Path) -> None:
        self.package = package
        self.folder = folder

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Return the place of a module of the package; None for modules of other packages."""
        first, *below = fullname.split(".")
        if first != self.package:
            return None

        place = self.folder.joinpath(*below)
        if place.is_dir():
            file = place / "__init__.py"
        else:
            file = place.with_suffix(".py")

        if not file.is_file():
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)

        return spec_from_file_location(
            fullname,
            file,
            loader=SourceLoader(fullname, str(file)),
            submodule_search_locations=[str(place)] if place.is_dir() else None,
        )


def open_code(package: str) -> None:
    """Let Python import a copied package from its sources only, after comparing them with the digest in its name.

    Raises:
        MlflowException: The package is missing, or its sources are not those that were registered.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise MlflowException(f"the model's code, the package {package}, is missing")

    folder = Path(spec.origin).parent
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        name = file.relative_to(folder).as_posix()
        digest.update(f"{name}\0".encode() + file.read_bytes() + b"\0")

    if package != f"lm_{digest.hexdigest()[:DIGITS]}":
        raise MlflowException(
            f"the model's code in {folder} has changed since the model was registered, so it is not run; restore it "
            "from a backup, or register the model again"
        )

    known = [finder for finder in sys.meta_path if isinstance(finder, SourceFinder)]
    if package not in [finder.package for finder in known]:
        sys.meta_path.insert(0, SourceFinder(package, folder))


class ReviewModel(PythonModel):
    """A bundle with the code that was exported with it."""

    def load_context(self, context: PythonModelContext) -> None:
        """Open the bundle with the vendored package, which scores the probe texts again and refuses a difference."""
        package = context.model_config["package"]
        folder = Path(context.artifacts["bundle"])
        open_code(package)
        self._error = import_module(f"{package}.base").ModelError
        self._given_texts = import_module(f"{package}.text.given").given_texts
        if context.model_config["family"] == "classifier":
            self._defaults: dict[str, Any] = {"task": "classify"}
            self._tasks: dict[str, Any] = {"classify": self._classify}
            self._bundle = import_module(f"{package}.classification.bundle").load_classifier(folder)
        else:
            self._defaults = DEFAULTS
            self._tasks = {
                "generate": self._generate,
                "suggest": self._suggest,
                "score": self._score,
            }
            self._sampling = import_module(f"{package}.sampling")
            self._unseen = import_module(f"{package}.bundles.bundle").unseen_warnings
            self._bundle = import_module(f"{package}.bundles.bundle").load_bundle(folder)

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> list[dict[str, Any]]:
        """Answer every row of the column `text`.

        Args:
            context: Not used; MLflow passes it by this name.
            model_input: A table or dictionary with the column `text`, several texts, or one.
            params: See `DEFAULTS`. An unknown name and a value out of range are errors. MLflow's own doors (`predict`
                and `predict_stream` of a loaded model, its server) remove a parameter or column that the signature does
                not declare, e.g. a misspelt `temprature`, before they call the model, and log a warning.

        Returns:
            One dictionary per row. Each answer also holds its `text`; `bundle`, the first digits of the digest that the
            registered version has as a tag; and `warnings` if the request has a rating or a script that the model did
            not see in training. An answer never depends on other rows: each row starts from the same seed and a new
            hidden state, with an empty cache if the model has one. Rows are scored side by side, which may change the
            last digits of a network's scores.
        """
        options = self._options(params)
        if options["task"] not in self._tasks:
            raise _bad(f"task is {options['task']!r}; it must be one of {sorted(self._tasks)}")

        texts = self._texts(model_input)
        try:
            answers = self._tasks[options["task"]](texts, options)
            return [
                self._answer(text, facts, options)
                for text, facts in zip(texts, answers, strict=True)
            ]
        except self._error as error:
            raise self._refusal(error) from error

    def predict_stream(
        self,
        context: PythonModelContext,
        model_input: Any,
        params: dict[str, Any] | None = None,
    ) -> Iterator[str]:
        """Write one review piece by piece.

        Args:
            context: Not used; MLflow passes it by this name.
            model_input: `{"text": …}`, the beginning of the review; MLflow passes one input only.
            params: As for `predict`; `task` must be "generate" and `n` 1.

        Yields:
            The next piece. All pieces together are the text that `predict` returns.
        """
        options = self._options(params)
        if options["task"] != "generate" or options["n"] != 1:
            request = f"task is {options['task']!r} and n is {options.get('n')}"
            raise _bad(f"{request}; only task 'generate' with n = 1 can be streamed")

        prompts = self._texts(model_input)
        if len(prompts) != 1:
            raise _bad(f"the input has {len(prompts)} texts; only one can be streamed")

        [prompt] = prompts
        chosen = {}
        for name, value in options.items():
            if name not in (*NOT_OF_SAMPLING, "n"):
                chosen[name] = value

        try:
            yield from self._sampling.stream(self._bundle, prompt=prompt, **chosen)
        except self._error as error:
            raise self._refusal(error) from error

    def _texts(self, model_input: Any) -> list[str]:
        """Return the texts of an input; anything that is not certainly texts is an error."""
        texts = model_input
        if isinstance(texts, dict) or hasattr(texts, "columns"):
            names = list(texts if isinstance(texts, dict) else texts.columns)
            if names.count(COLUMN) != 1:
                raise _bad(f"the input has the columns {names}; it must have one column {COLUMN!r}")
            texts = texts[COLUMN]
        elif isinstance(texts, list) and texts and all(isinstance(row, dict) for row in texts):
            texts = [row.get(COLUMN) for row in texts]

        try:
            several: list[str] = self._given_texts(
                [texts] if isinstance(texts, str) else texts, COLUMN
            )
        except self._error as error:
            raise self._refusal(error) from error

        return several

    def _refusal(self, error: Any) -> MlflowException:
        if error.kind == "input":
            return _bad(str(error))
        return MlflowException(str(error))

    def _answer(
        self,
        text: str,
        facts: dict[str, Any],
        options: dict[str, Any],
    ) -> dict[str, Any]:
        answer = {
            "text": text,
            "bundle": self._bundle.digest[:DIGITS],
            **facts,
        }
        warnings = []
        if "stars" in options:
            warnings = self._unseen(self._bundle, text, options["stars"])

        return answer | ({"warnings": warnings} if warnings else {})

    def _generate(self, texts: list[str], options: dict[str, Any]) -> Iterator[dict[str, Any]]:
        chosen = {name: value for name, value in options.items() if name not in NOT_OF_SAMPLING}
        for text in texts:
            written = self._sampling.generate(self._bundle, prompt=text, **chosen)
            # Plain strings, so that an answer can be pickled for another process.
            yield {"texts": list(map(str, written))}

    def _suggest(self, texts: list[str], options: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for text in texts:
            shown = self._sampling.suggest(
                self._bundle, text, k=options["k"], stars=options["stars"]
            )
            words = [
                {"word": word, "probability": float(probability)}
                for word, probability in shown.words
            ]
            yield {
                "words": words,
                "rest": float(shown.rest),
                "typed": shown.typed,
                "finished": float(shown.finished),
            }

    def _score(self, texts: list[str], options: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for score in self._bundle.score_texts(texts, stars=options["stars"]):
            answer: dict[str, Any] = {}
            answer["open_bits_per_byte"] = float(score.open_bits_per_byte)
            answer["bits_per_byte"] = float(score.bits_per_byte)
            answer |= {name: int(getattr(score, name)) for name in ("oov", "tokens", "bytes")}
            for name in ("nats", "spelling_nats", "surface_nats"):
                answer[name] = float(getattr(score, name))

            answer["perplexity"] = math.exp(min(score.nats / score.tokens, 700.0))
            answer["per_token"] = [
                {"token": token, "nats": float(nats)} for token, nats in score.per_token
            ]
            yield answer

    def _classify(self, texts: list[str], options: dict[str, Any]) -> Iterator[dict[str, Any]]:
        answer = self._bundle.classify(texts)
        names = self._bundle.labels
        for row in range(len(texts)):
            figures = zip(names, answer.scores_NK[row], answer.probabilities_NK[row], strict=True)
            labels = [
                {
                    "label": name,
                    "score": float(score),
                    "probability": float(chance),
                }
                for name, score, chance in figures
            ]
            yield {"label": names[answer.answers_N[row]], "labels": labels}

    def _options(self, params: dict[str, Any] | None) -> dict[str, Any]:
        """Return the parameters of a request with the defaults of the others; an unknown one is an error."""
        given = params or {}
        if unknown := sorted(given.keys() - self._defaults.keys()):
            raise _bad(
                f"unknown parameter {', '.join(map(repr, unknown))}; known are {', '.join(self._defaults)}"
            )
        return {**self._defaults, **given}


def _bad(what: str) -> MlflowException:
    return MlflowException.invalid_parameter_value(what)


set_model(ReviewModel())
