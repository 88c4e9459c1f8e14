"""Any plain text will do: a model trained on a file of lines prefers its style, and what it writes is told by it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from core.config.sections.data import CleanConfig, SplitConfig
from core.config.sections.source import SourceConfig
from corpus.cleaning.clean import prepare
from corpus.ingestion.ingest import ingest
from corpus.splitting.split import iter_split
from models.bundles.bundle import Bundle
from models.sampling import generate
from models.specs import NGramSpec, VocabularySpec
from models.streams import TokenStream, write_stream
from models.text.normal_form import NormalForm
from models.tokens.vocabulary import Vocabulary
from tests.marked_cases import long_but
from training.context import FitContext
from training.fit import fit_model

THINGS = ["bread", "soup", "rice", "cake", "fish", "corn"]
MANNERS = ["slowly", "gently", "twice", "again"]
# The same words in both: only their order, the style, tells one from the other.
STYLES = {
    "recipe": "{manner} stir the {one} , then add the {other} to the {third} .",
    "saga": "the {one} then stir to the {other} , {manner} add the {third} .",
}


def lines(style: str, seed: int, count: int = 240) -> list[str]:
    """Write different lines of one style: half of all that it can say."""
    words = [(*things, manner) for things in permutations(THINGS, 3) for manner in MANNERS]
    chosen = np.random.default_rng(seed).permutation(len(words))[:count]
    names = ("one", "other", "third", "manner")
    return [STYLES[style].format(**dict(zip(names, words[i], strict=True))) for i in chosen]


@dataclass(frozen=True)
class Learnt:
    """Of one style: a model that writes, a model of other lines that judges, and held-out lines."""

    writer: Bundle
    judge: Bundle
    held_out: list[str]


def texts_of(folder: Path, name: str, split: str) -> list[str]:
    return pl.concat(iter_split(folder / name / "clean", split))["text"].to_list()


def fit(folder: Path, vocabulary: Vocabulary, texts: list[str], order: int) -> Bundle:
    frame = pl.DataFrame({"review_id": [str(i) for i in range(len(texts))], "text": texts})
    write_stream(folder, vocabulary, [frame.with_columns(stars=pl.lit(0), bytes=pl.col("text").str.len_bytes() + 1)])
    stream, spec = TokenStream.open(folder), NGramSpec(order=order)
    return Bundle(spec, vocabulary, fit_model(spec, vocabulary, stream, stream, FitContext(folder)).model)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Learnt]:
    folder = tmp_path_factory.mktemp("styles")
    for seed, style in enumerate(STYLES):
        (folder / f"{style}.txt").write_text("\n".join(lines(style, seed)), encoding="utf-8")
        ingest([folder / f"{style}.txt"], folder / style / "parts", SourceConfig())
        (folder / style / "clean").mkdir()
        shares = SplitConfig(validation=0.4, test=0.2)
        prepare(folder / style / "parts", folder / style / "clean", CleanConfig(), shares)
    every_line = [text for style in STYLES for text in texts_of(folder, style, "train")]
    vocabulary = Vocabulary.train(every_line, VocabularySpec(size=200, min_count=3), NormalForm())
    return {
        style: Learnt(
            fit(folder / style / "writer", vocabulary, texts_of(folder, style, "train"), 3),
            fit(folder / style / "judge", vocabulary, texts_of(folder, style, "validation"), 2),
            texts_of(folder, style, "test"),
        )
        for style in STYLES
    }


def nats(bundle: Bundle, texts: list[str]) -> np.ndarray:
    return np.array([bundle.score_text(text).nats for text in texts])


@pytest.mark.long
@pytest.mark.parametrize("own", long_but(STYLES, [next(iter(STYLES))]))
def test_held_out_lines_cost_the_model_of_their_own_style_least(learnt: dict[str, Learnt], own: str) -> None:
    (other,) = set(STYLES) - {own}
    texts = learnt[own].held_out
    assert len(texts) > 20
    assert (nats(learnt[own].writer, texts) < nats(learnt[other].writer, texts)).all()


@pytest.mark.long
@pytest.mark.parametrize("own", STYLES)
def test_what_a_model_writes_is_taken_for_its_own_style(learnt: dict[str, Learnt], own: str) -> None:
    """The judges have read other lines than the writers, and fewer words at a time; "Rice ." has no style."""
    (other,) = set(STYLES) - {own}
    written = [text for text in generate(learnt[own].writer, n=100, seed=4, max_tokens=30) if len(text.split()) > 7]
    assert len(written) > 30
    assert (nats(learnt[own].judge, written) < nats(learnt[other].judge, written)).mean() > 0.95
