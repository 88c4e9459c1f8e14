"""Keys saved by typing letter by letter at the real endpoint are those that the simulated typist saves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import pytest
from made_versions import MadeSource
from served import answering

from evaluation.scoring.keystrokes import SHOWN, usefulness
from evaluation.scoring.observe import observe
from evaluation.scoring.score import TOKEN_NATS, score_stream
from models.base import FitContext
from models.bundles.bundle import Bundle
from models.ngram.lm import NGramLM
from models.specs import NGramSpec, VocabularySpec
from models.streams import TokenStream, unigram_counts, write_stream
from models.text.normal_form import NormalForm
from models.tokens.vocabulary import SPECIAL, Vocabulary

FOODS, TASTES = ("soup", "salad", "salmon", "sandwich", "pizza", "pasta"), ("great", "greasy", "good", "gone", "cold")
TRAIN = [f"the {food} was {taste} and we {verb} it" for food in FOODS for taste in TASTES for verb in ("liked", "left")]
HELD_OUT = [
    "the pasta was gone and we left", "we liked the salmon", "it was the sandwich and it was greasy",
    "the soup the salad the soup", "great pizza",
]  # fmt: skip


def reviews(texts: list[str]) -> pl.DataFrame:
    frame = pl.DataFrame({"review_id": [f"{number:03d}" for number in range(len(texts))], "text": texts})
    return frame.with_columns(stars=pl.lit(5, pl.Int8), bytes=pl.col("text").str.len_bytes().cast(pl.Int64) + 1)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A trigram model of sentences without marks, which compete with words for a place on the simulated keyboard."""
    folder = tmp_path_factory.mktemp("model")
    vocabulary, spec = Vocabulary.train(TRAIN, VocabularySpec(min_count=1), NormalForm()), NGramSpec(order=3)
    write_stream(folder / "train", vocabulary, [reviews(TRAIN)])
    stream = TokenStream.open(folder / "train")
    model = NGramLM.fit(spec, vocabulary, stream, stream, FitContext(folder)).model
    return Bundle(spec, vocabulary, model, digest="0" * 64, stars_prior=(0, 0, 0, 0, 0, 1.0))


@pytest.fixture(scope="module")
def client(bundle: Bundle) -> Iterator[httpx.Client]:
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


def test_keys_saved_at_the_endpoint_are_those_of_the_simulation(
    bundle: Bundle, client: httpx.Client, tmp_path: Path
) -> None:
    write_stream(tmp_path / "stream", bundle.vocabulary, [reviews(HELD_OUT)])
    stream, every = TokenStream.open(tmp_path / "stream"), np.arange(len(HELD_OUT))
    score_stream(bundle, stream, tmp_path, observed=every.tolist())
    counts_V = unigram_counts(stream, bundle.vocabulary.size)
    rows = observe(bundle, stream, every, pl.read_parquet(tmp_path / TOKEN_NATS), counts_V)
    simulated = rows.filter(pl.col("id") >= len(SPECIAL))["keys_spared"].to_list()
    typed = [keys for text in HELD_OUT for keys in keys_spared(client, text)]
    assert typed == simulated
    assert len({*typed}) > 3
    size = sum(len(text) + 1 for text in HELD_OUT)
    assert usefulness(rows, size)["keystroke_savings"] == sum(typed) / size > 0.3
