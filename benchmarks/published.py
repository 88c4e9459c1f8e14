"""Recompute published figures: `python -m benchmarks.published` runs and compares the entries of `docs/figures.toml`.

Only figures that take seconds are listed: the floor and the n-gram models of the demo. They are computed by the
functions that the pipeline's stages call, without the store, so that no stored result is used.
"""

from __future__ import annotations

import math
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from benchmarks.harness import ROOT, say
from reviewlm.core.config.presets import load_config
from reviewlm.core.store import sha256_of
from reviewlm.corpus.cleaning.clean import prepare
from reviewlm.corpus.splitting.split import iter_split
from reviewlm.corpus.synthetic.grammar import log_probability
from reviewlm.corpus.synthetic.synth import write_reviews
from reviewlm.evaluation.scoring.metrics import Figures
from reviewlm.evaluation.scoring.score import figures_of_bundle, score_stream
from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.streams import TokenStream, write_stream
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.training.context import FitContext
from reviewlm.training.fit import fit_model
from reviewlm.training.vocabularies.learn import learn_vocabulary
from tests.corpus.data_sets import ingest

TABLE = ROOT / "docs" / "figures.toml"


@dataclass(frozen=True)
class Published:
    """A published figure; the head of `docs/figures.toml` explains the fields."""

    name: str
    page: str
    shown: str
    command: str
    data: str
    data_sha256: str
    seed: int
    commit: str
    date: str
    value: float
    tolerance: float

    def holds(self, found: float) -> bool:
        """Return whether a recomputed figure equals this one."""
        return math.isclose(found, self.value, rel_tol=self.tolerance)

    def is_on_its_page(self, root: Path = ROOT) -> bool:
        """Return whether the page still shows the figure."""
        return self.shown in (root / self.page).read_text(encoding="utf-8")


def published(table: Path = TABLE) -> list[Published]:
    """Return the figures of a table.

    Raises:
        TypeError: An entry is missing or unknown; the message names it.
    """
    return [
        Published(**entry) for entry in tomllib.loads(table.read_text(encoding="utf-8"))["figure"]
    ]


class Demo:
    """The demo's data and n-gram models, made in a folder on first use.

    Args:
        folder: Empty folder.
        preset: Preset that defines corpus, split, vocabulary and models.
        overrides: Settings as `key=value`.
    """

    def __init__(
        self,
        folder: Path,
        preset: str = "demo",
        overrides: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.config = load_config(preset, list(overrides))
        self._figures: dict[str, Figures] = {}

    def value(self, name: str) -> float:
        """Return a figure: "floor", or "MODEL.FIGURE" as in `reviewlm.evaluation.scoring.metrics.Figures`."""
        if name == "floor":
            return self.floor
        model, _, figure = name.partition(".")
        if model not in self._figures:
            self._figures[model] = self._measured(model)
        return float(getattr(self._figures[model], figure))

    @cached_property
    def raw(self) -> Path:
        """Raw file of reviews."""
        file = self.folder / "reviews.jsonl"
        options = self.config.source.synthetic
        write_reviews(
            file,
            options.reviews,
            options.seed,
            options.malformed,
            options.duplicates,
        )
        return file

    @cached_property
    def clean(self) -> Path:
        """Folder of the prepared reviews."""
        dataset = self.folder / "dataset"
        folder = self.folder / "clean"
        config = self.config
        for each in (dataset, folder):
            each.mkdir()

        ingest([self.raw], dataset, config.source)
        prepare(
            dataset,
            folder,
            config.clean,
            config.split,
            selection=config.selection,
            duplicates=config.duplicates,
            threads=1,
        )
        return folder

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Vocabulary of the training split."""
        texts = (
            text for batch in iter_split(self.clean, "train") for text in batch["text"].to_list()
        )
        form = NormalForm(**self.config.clean.model_dump())
        return learn_vocabulary(texts, self.config.vocabulary["word"], form, self.folder)

    def stream(self, split: str) -> TokenStream:
        """Return the token stream of a split."""
        folder = self.folder / "tokens" / split
        if not folder.exists():
            write_stream(folder, self.vocabulary, iter_split(self.clean, split))
        return TokenStream.open(folder)

    @cached_property
    def floor(self) -> float:
        """Bits per byte of the test reviews under the grammar that wrote them."""
        reviews = pl.concat(iter_split(self.clean, "test")).select("text", "stars", "bytes")
        logps = [log_probability(text, stars) for text, stars, _ in reviews.iter_rows()]
        known = [
            (logp, size)
            for logp, size in zip(logps, reviews["bytes"], strict=True)
            if logp is not None
        ]
        return -sum(logp for logp, _ in known) / math.log(2) / sum(size for _, size in known)

    def _measured(self, name: str) -> Figures:
        spec = next(spec for spec in self.config.models if spec.name == name)
        work = self.folder / "fits" / name
        work.mkdir(parents=True)
        context = FitContext(work)
        fitted = fit_model(
            spec,
            self.vocabulary,
            self.stream("train"),
            self.stream("validation"),
            context,
        )
        bundle = Bundle(spec, self.vocabulary, fitted.model)
        return figures_of_bundle(score_stream(bundle, self.stream("test")), bundle)


def main() -> int:
    """Recompute every figure and report those that differ; the exit code is 1 if any does."""
    failed = False
    with tempfile.TemporaryDirectory(prefix="reviewlm-published-") as folder:
        demo = Demo(Path(folder))
        for figure in published():
            found = demo.value(figure.name)
            same_data = sha256_of(demo.raw) == figure.data_sha256
            good = figure.holds(found) and figure.is_on_its_page() and same_data
            failed = failed or not good
            state = "holds" if good else "DIFFERS" if same_data else "DIFFERS (other data)"
            say(
                f"{figure.name:<26} published {figure.value!r:<22} now {found!r:<22} {state}  {figure.page}"
            )

    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
