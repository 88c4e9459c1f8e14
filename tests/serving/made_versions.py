"""A registry in memory, and tiny models that write only the words of their own version."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from reviewlm.core.config.sections.execution import ServingConfig
from reviewlm.core.errors import InputError
from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.specs import NGramSpec, VocabularySpec
from reviewlm.models.streams import TokenStream, write_stream
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.serving.metrics import Metrics
from reviewlm.serving.versions.open_version import Contents
from reviewlm.serving.versions.versions import Versions
from reviewlm.training.context import FitContext
from reviewlm.training.fit import fit_model
from reviewlm.training.vocabularies.learn import learn_vocabulary

FOODS = ("pizza", "soup", "salad", "burger", "tacos", "noodles", "waffles", "curry")
TASTES = ("good", "cold", "great", "fine", "bad", "hot")

RECORDED: dict[str, Any] = {
    "links": {
        "Report of its run": "http://127.0.0.1:5000/#/experiments/1/runs/f0/artifacts/report.html"
    },
    "family": "synthetic",
    "adaptation": "static",
    "since": "2026-11-24T06:30:27+00:00",
    "data": {"made_from": "demo, embedded corpus", "digest": "36b8207984c9d0de"},
    "rules": [
        {
            "rule": "not below the floor",
            "outcome": "passed",
            "why": "+0.2232 bits per byte above the floor, interval +0.2128 to +0.2347",
        },
        {
            "rule": "copied span",
            "outcome": "failed",
            "why": "the longest copied passage has 30 words",
        },
        {
            "rule": "drift",
            "outcome": "not applicable",
            "why": "drift was not measured: there is no champion",
        },
    ],
    "figures": [
        {"name": "challenger, open bits per byte", "value": "0.483316"},
        {"name": "champion, open bits per byte", "value": "0.494012"},
        {"name": "passed over", "value": "'lstm+cache' adapts to the text"},
        {"name": "gain over the champion", "value": "2.165%"},
        {"name": "gain over the champion, confidence", "value": "95%"},
        {"name": "gain over the champion, lower end", "value": "1.21%"},
        {"name": "gain over the champion, upper end", "value": "3.104%"},
        {"name": "test reviews", "value": "680"},
    ],
    "history": [
        {
            "event": 2,
            "when": "2026-11-25T09:12:00+00:00",
            "who": "weekly",
            "decision": "promoted",
            "version": 2,
            "against": 1,
            "why": "better",
            "state": "overtaken",
            "run_id": "r2",
        },
        {
            "event": 1,
            "when": "2026-11-24T06:30:27+00:00",
            "who": "weekly",
            "decision": "promoted",
            "version": 1,
            "against": None,
            "why": "first model, no rule failed",
            "state": "carried out",
            "run_id": "r1",
        },
    ],
}
"""What the registry records about a version, as `tracking/registry/version_card.py` gives it."""


def food_of(number: int) -> str:
    """The word that only this version writes."""
    return FOODS[(number - 1) % len(FOODS)]


@cache
def bundle_of(
    number: int,
    unit: str = "word",
    one_star: bool = False,
) -> Bundle:
    """A bigram model of six sentences about the food of a version, with five stars, and maybe of six with one."""
    texts = [f"The {food_of(number)} was {taste} and the staff was friendly." for taste in TASTES]
    stars = [5] * len(texts)
    if one_star:
        texts += [f"Never the {food_of(number)}, it was {taste}." for taste in TASTES]
        stars += [1] * len(TASTES)
    vocabulary = learn_vocabulary(
        texts,
        VocabularySpec(
            unit=unit,
            size=300,
            min_count=1,
        ),
        NormalForm(),
    )
    spec = NGramSpec(order=2)
    reviews = pl.DataFrame({"review_id": texts, "text": texts}).with_columns(
        stars=pl.Series(stars, dtype=pl.Int8), bytes=pl.col("text").str.len_bytes() + 1
    )
    with tempfile.TemporaryDirectory() as folder:
        write_stream(Path(folder, "stream"), vocabulary, [reviews])
        stream = TokenStream.open(Path(folder, "stream"))
        model = fit_model(
            spec,
            vocabulary,
            stream,
            stream,
            FitContext(Path(folder)),
        ).model
    shares = tuple(stars.count(each) / len(stars) for each in range(6))
    return Bundle(
        spec,
        vocabulary,
        model,
        digest=f"{number:064d}",
        stars_prior=shares,
    )


class MadeSource:
    """A registry in memory: set `aliases`, and put what cannot be opened into `broken`."""

    name = "reviewlm"

    def __init__(self, **aliases: int) -> None:
        self.aliases, self.count = dict(aliases), max(aliases.values(), default=1)
        self.deleted: set[int] = set()
        self.siblings: dict[str, int] = {}  # "1/kn5": the number of a bundle
        self.broken: dict[int, Exception] = {}
        self.unreachable: Exception | None = None
        self.make: Callable[[int], Bundle] = bundle_of
        self.opened: list[int] = []
        self.own: MadeSource | None = None  # the user's model, if this is the demo's
        self.open_gate = threading.Event()
        self.open_gate.set()

    def successor(self) -> MadeSource | None:
        return self.own

    def contents(self) -> Contents:
        if self.unreachable:
            raise self.unreachable
        times = {
            str(number): datetime(2026, 11, number, tzinfo=UTC)
            for number in range(self.count, 0, -1)
            if number not in self.deleted
        }
        times |= {key: times[key.partition("/")[0]] for key in self.siblings}
        return Contents({alias: str(number) for alias, number in self.aliases.items()}, times)

    def open(self, key: str) -> Bundle:
        self.open_gate.wait(10)
        number = self.siblings.get(key) or int(key)
        self.opened.append(number)
        if number in self.broken:
            raise self.broken[number]
        return replace(self.make(number))

    def card(self, key: str) -> dict[str, Any]:
        if key not in self.contents().created:
            raise InputError(f"there is no version {key}")
        return {"verdict": f"version {key}", **RECORDED}


def made_versions(source: MadeSource, **settings: object) -> Versions:
    """Versions of a source, which look at it only when the test says so."""
    options = ServingConfig.model_validate(
        {
            "poll_seconds": 3_600,
            "threads": 1,
            **settings,
        }
    )
    return Versions(source, options, Metrics())


@contextmanager
def running(versions: Versions) -> Iterator[Versions]:
    """Start versions, and close them at the end of the block."""
    versions.start()
    try:
        yield versions
    finally:
        versions.close()
