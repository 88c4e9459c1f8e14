"""Keys saved by typing letter by letter at the real endpoint are those that the simulated typist saves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import pytest

from evaluation.scoring.observe import SHOWN, observe, usefulness
from evaluation.scoring.score import TOKEN_NATS, score_stream
from models.bundles.bundle import Bundle
from models.mixture.lm import MixtureLM
from models.mixture.parts import Part
from models.mixture.weights import Fixed
from models.specs import NGramSpec, VocabularySpec
from models.streams import TokenStream, write_stream
from models.text.normal_form import NormalForm
from models.tokens.special import SPECIAL
from tests.serving.made_versions import MadeSource
from tests.serving.served import answering
from training.context import FitContext
from training.fit import fit_model
from training.vocabularies.learn import learn_vocabulary

FOODS, TASTES = ("soup", "salad", "salmon", "sandwich", "pizza", "pasta"), ("great", "greasy", "good", "gone", "cold")
TRAIN = [f"the {food} was {taste} and we {verb} it" for food in FOODS for taste in TASTES for verb in ("liked", "left")]
UNEQUAL = [
    text
    for food, often in zip(FOODS, (7, 5, 4, 3, 2, 1), strict=True)
    for taste, also in zip(TASTES, (6, 5, 3, 2, 1), strict=True)
    for text in (*[f"the {food} was {taste} and we liked it"] * 2, f"we left the {food} and it was {taste}")
    for _ in range(often * also // 4)
]
"""For parts of words: of equally probable ones, the endpoint shows the first of the alphabet, the simulation any."""
HELD_OUT = [
    "the pasta was gone and we left", "we liked the salmon", "it was the sandwich and it was greasy",
    "the soup the salad the soup", "great pizza",
]  # fmt: skip
BYTES = sum(len(text) + 1 for text in HELD_OUT)


def reviews(texts: list[str]) -> pl.DataFrame:
    frame = pl.DataFrame({"review_id": [f"{number:03d}" for number in range(len(texts))], "text": texts})
    return frame.with_columns(stars=pl.lit(5, pl.Int8), bytes=pl.col("text").str.len_bytes().cast(pl.Int64) + 1)


def trained(folder: Path, options: VocabularySpec, mixed: bool, texts: Sequence[str] = ()) -> Bundle:
    """A trigram model of sentences without marks, which compete with words for a place on the simulated keyboard.

    Mixed: half of each probability is a unigram model's.
    """
    texts = texts or (TRAIN if options.unit == "word" else UNEQUAL)
    vocabulary = learn_vocabulary(texts, options, NormalForm())
    write_stream(folder / "train", vocabulary, [reviews(texts)])
    stream, parts = TokenStream.open(folder / "train"), []
    for order in (3, 1) if mixed else (3,):
        spec = NGramSpec(order=order)
        parts.append(Part(f"{order}", spec, fit_model(spec, vocabulary, stream, stream, FitContext(folder)).model))
    model = MixtureLM(parts, Fixed(np.array([0.5, 0.5]))) if mixed else parts[0].model
    return Bundle(parts[0].spec, vocabulary, model, digest="0" * 64, stars_prior=(0, 0, 0, 0, 0, 1.0))


WORDS, PIECES = VocabularySpec(min_count=1), VocabularySpec(unit="bpe", size=600, min_count=1)
"""600 entries are enough for each word of these texts to be one."""


@contextmanager
def served(bundle: Bundle) -> Iterator[httpx.Client]:
    source = MadeSource(champion=1)
    source.make = lambda number: replace(bundle)
    with answering(source) as (address, _), httpx.Client(base_url=address, timeout=60) as client:
        yield client


def shown(client: httpx.Client, text: str, typed: str) -> list[str]:
    """Return the words on the screen after *text*, of which the last *typed* characters begin a word."""
    told = client.post("/suggest", json={"prompt": text, "k": SHOWN, "stars": 5, "both": True}).json()
    readings = [told, told["otherwise"]] if told["otherwise"] else [told]
    [words] = [each["words"] for each in readings if each["typed"] == typed]
    return [word["word"].lower() for word in words]  # the first word of a text has a capital


def keys_spared(client: httpx.Client, text: str) -> list[int]:
    """Type a text key by key and take a word as soon as it is shown and that saves keys; return the keys saved."""
    written, spared = "", []
    for word in text.split():
        space = " " if written else ""
        keys = [*space, *word] if space else list(word)
        for pressed in range(len(keys) - 1):
            typed = "".join(keys[:pressed])
            if word in shown(client, written + typed, typed.strip()):
                spared.append(len(keys) - pressed - 1)
                break
        else:
            spared.append(0)
        written += space + word
    return spared


def simulated(bundle: Bundle, folder: Path) -> pl.DataFrame:
    """Return what the evaluation says of each token of the held-out texts."""
    write_stream(folder / "stream", bundle.vocabulary, [reviews(HELD_OUT)])
    stream, every = TokenStream.open(folder / "stream"), np.arange(len(HELD_OUT))
    score_stream(bundle, stream, folder, observed=every.tolist())
    return observe(bundle, stream, every, pl.read_parquet(folder / TOKEN_NATS))


def by_word(bundle: Bundle, rows: pl.DataFrame) -> list[int]:
    """Return the keys that the simulation saves in each word of the held-out texts."""
    tokens = rows.filter(pl.col("id") >= len(SPECIAL)).select("id", "keys_spared").iter_rows()
    spared = []
    for word in " ".join(HELD_OUT).split():
        written, keys = b"", 0
        while written.strip().decode() != word:
            token, saved = next(tokens)
            written, keys = written + bundle.vocabulary.entry(token), keys + saved
        spared.append(keys)
    return spared


@pytest.mark.parametrize(
    ("options", "mixed"), [(WORDS, False), (WORDS, True), (PIECES, True)], ids=["words", "mixture", "mixture of BPE"],
)  # fmt: skip
def test_keys_saved_at_the_endpoint_are_those_of_the_simulation(
    options: VocabularySpec, mixed: bool, tmp_path: Path
) -> None:
    bundle = trained(tmp_path, options, mixed)
    rows = simulated(bundle, tmp_path)
    with served(bundle) as client:
        typed = [keys for text in HELD_OUT for keys in keys_spared(client, text)]
    assert typed == by_word(bundle, rows)
    assert len({*typed}) > 3
    assert usefulness(rows, BYTES)["keystroke_savings"] == sum(typed) / BYTES > 0.3
