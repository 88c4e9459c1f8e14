"""Measure how long a typist waits for the next words: every key press is one call of the engine, or one request.

    python -m benchmarks.serving.suggest --quick
    python -m benchmarks.serving.suggest --source REVIEWS.csv --keep FOLDER --write
    python -m benchmarks.serving.suggest --source REVIEWS.csv --keep FOLDER --http --long 2000 --write

The texts are typed letter by letter, with what `POST /suggest` asks for by default: quick cutoffs, and both readings of
a text that ends in a word. A session is one text on a reader that has read nothing yet, and a letter follows at once on
the answer to the last one. The models are a network, and its gated mixture with a Kneser-Ney 5-gram model, each of
words and of parts of words (BPE). They are fitted for some minutes on the given reviews, because the search for words
visits fewer beginnings the surer a model is. `--keep` names a folder for the fitted models; where they are there, they
are used again.

With `--http`, the same keys are pressed at `POST /suggest` of `reviewlm serve` on this machine, with one worker of one
thread and its default settings, over one connection; the time includes JSON on both sides. Each round has a new server,
so that each text is new to it. `--long N` puts other N characters of reviews before each text. They are there at its
first key press, whose time is shown by itself, too.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any

import numpy as np

from benchmarks.harness import Ratio, Report, arguments, finish, say
from benchmarks.serving.made_home import made_texts, make_home
from benchmarks.serving.servers import ours
from benchmarks.small_text import ask_for_reviews, opened, prepare, read_reviews
from reviewlm.models.bundles.bundle import Bundle, load_bundle, save_bundle
from reviewlm.models.completion.reading import Readers
from reviewlm.models.completion.spellings import QUICK
from reviewlm.models.completion.suggestions import suggest
from reviewlm.models.specs import (
    MixtureSpec,
    ModelSpec,
    NGramSpec,
    RecurrentSpec,
    TrainingSpec,
    VocabularySpec,
)
from reviewlm.serving.engine.engine import Engine, EngineContext
from reviewlm.serving.engine.requests import EngineLimits
from reviewlm.training.context import FitContext
from reviewlm.training.fit import fit_model

GOAL_MS = 15.0
"""The 95th percentile of a key press."""
SHOWN = 5
TEXTS = (
    "The food was great and the service was very friendly.",
    "We waited for an hour, and the soup was cold",
    "I love this place! They have the best breakfast in town",
    "My husband ordered the chicken, which was dry.",
    "Would not recommend it to anyone who is hungry",
)
WARM = "My first time here."
REVIEWS = 5_000
"""Reviews of which the text before the typed ones is taken."""
VOCABULARIES = {
    "words": VocabularySpec(size=20_000, min_count=2),
    "BPE": VocabularySpec(
        unit="bpe",
        size=4_000,
        min_count=2,
    ),
}
LSTM = RecurrentSpec(
    layers=2,
    hidden=384,
    embedding=256,
    training=TrainingSpec(
        epochs=2,
        batch=32,
        learning_rate=3e-3,
        evaluations=2,
    ),
)
SPECS: dict[str, ModelSpec] = {
    "kn5": NGramSpec(name="kn5", order=5),
    "lstm": LSTM,
    "mixture": MixtureSpec(
        name="mixture",
        parts=("kn5", "lstm"),
        method="gated",
    ),
}
SHARES = [0.0, 0.1, 0.1, 0.15, 0.3, 0.35]
"""Shares of the ratings 0 to 5; without a rating, a text is read with each of five."""


def fitted(
    folder: Path,
    source: Path | None,
    reviews: int,
    unit: str,
) -> Iterator[tuple[str, Bundle]]:
    """Yield the network and the mixture of one kind of vocabulary; fit what is not in the folder yet."""
    if not (folder / "mixture").exists():
        folder.mkdir(parents=True, exist_ok=True)
        prepare(folder, source, reviews, options=VOCABULARIES[unit])
        vocabulary, train, held_out = opened(folder)
        for name, spec in SPECS.items():
            say(f"{unit}: {name} is fitted")
            parts = {part: folder / part for part in ("kn5", "lstm")}
            context = FitContext(folder / f"work {name}", threads=2, parts=parts)
            model = fit_model(
                spec,
                vocabulary,
                train,
                held_out,
                context,
            ).model
            save_bundle(
                folder / name,
                spec,
                vocabulary,
                model,
                [(TEXTS[0], 5)],
                {"stars_prior": SHARES},
            )

    for name in ("lstm", "mixture"):
        yield f"{name}, {unit}", load_bundle(folder / name)


@dataclass(frozen=True)
class KeyPress:
    """What one key press took.

    Args:
        wall_ms: Milliseconds until the answer was there.
        cpu_ms: Milliseconds of the engine's processor time; None: not known, of a server.
        first: Whether it is the first one of its text.
    """

    wall_ms: float
    cpu_ms: float | None
    first: bool = False


def key_presses(
    engine: Engine,
    text: str,
    stars: int | None,
    before: str = "",
) -> list[KeyPress]:
    """Type a text letter by letter in a session of its own.

    *before* is a text that is already there.
    """
    readers = Readers(engine.bundle, engine.run(lambda context: context.read).result())
    found = []
    for end in range(1, len(text) + 1):

        def asked(context: EngineContext, prompt: str = before + text[:end]) -> float:
            began = thread_time()
            suggest(
                engine.bundle,
                prompt,
                SHOWN,
                stars,
                True,
                readers,
                QUICK,
            )
            return thread_time() - began

        began = perf_counter()
        seconds = engine.run(asked).result()
        found.append(KeyPress(1000 * (perf_counter() - began), 1000 * seconds, end == 1))

    return found


def http_key_presses(
    server: HTTPConnection,
    text: str,
    stars: int | None,
    before: str = "",
) -> list[KeyPress]:
    """Type a text letter by letter at a server, as `key_presses` does.

    Raises:
        RuntimeError: An answer is an error.
    """
    found = []
    for end in range(1, len(text) + 1):
        began = perf_counter()
        asked = {
            "prompt": before + text[:end],
            "k": SHOWN,
            "stars": stars,
            "both": True,
        }
        server.request(
            "POST", "/suggest", json.dumps(asked).encode(), {"Content-Type": "application/json"}
        )
        answer = server.getresponse()
        told = json.loads(answer.read())
        if answer.status != 200:
            raise RuntimeError(f"status {answer.status}: {told}")
        found.append(KeyPress(1000 * (perf_counter() - began), None, end == 1))

    return found


def figures(presses: Sequence[KeyPress]) -> dict[str, Any]:
    """Return the median and the 95th percentile of the waiting times and of the processor times."""
    times = {
        "ms": [press.wall_ms for press in presses],
        "cpu_ms": [one.cpu_ms for one in presses if one.cpu_ms is not None],
        "ms, first": [press.wall_ms for press in presses if press.first],
    }
    return {
        f"p{share} {name}": round(float(np.percentile(values, share)), 1)
        for name, values in times.items()
        if values
        for share in (50, 95)
    } | {"key presses": len(presses)}


def measured(
    bundles: dict[str, Bundle],
    repeats: int,
    texts: Sequence[str],
    before: Sequence[str],
) -> dict[str, dict[str, Any]]:
    """Type the texts with each model, with a rating and without one; the models take turns.

    *before* has a text for each text of each round.
    """
    engines = {name: Engine(bundle, EngineLimits()) for name, bundle in bundles.items()}
    found: dict[tuple[str, int | None], list[KeyPress]] = {}
    for turn in range(repeats + 1):
        for number, text in enumerate(texts if turn else texts[:1]):  # the first round warms up
            for name, engine in engines.items():
                for stars in (5, None):
                    presses = key_presses(engine, text, stars, before[turn * len(texts) + number])
                    found.setdefault((name, stars), []).extend(presses if turn else [])
        say(f"{turn}/{repeats}")

    for engine in engines.values():
        engine.close()

    return rows_of(found)


def measured_over_http(
    bundles: dict[str, Bundle],
    repeats: int,
    texts: Sequence[str],
    before: Sequence[str],
) -> dict[str, dict[str, Any]]:
    """Type the texts at a server of each model, as `measured` does; each round has new servers."""
    found: dict[tuple[str, int | None], list[KeyPress]] = {}
    with tempfile.TemporaryDirectory(prefix="reviewlm-suggest-") as folder:
        home = Path(folder)
        for number, bundle in enumerate(bundles.values()):
            make_home(home, bundle, f"suggest-{number}")
        for turn in range(repeats):
            for served_as, name in enumerate(bundles):
                started = ours(home, 0, model=f"suggest-{served_as}", cores=1)
                with (
                    started as served,
                    closing(HTTPConnection("127.0.0.1", served.port, timeout=60)) as server,
                ):
                    for stars in (5, None):
                        http_key_presses(server, WARM, stars)
                    for number, text in enumerate(texts):
                        for stars in (5, None):
                            there = before[turn * len(texts) + number]
                            presses = http_key_presses(server, text, stars, there)
                            found.setdefault((name, stars), []).extend(presses)
            say(f"{turn + 1}/{repeats}")

    return rows_of(found)


def rows_of(found: dict[tuple[str, int | None], list[KeyPress]]) -> dict[str, dict[str, Any]]:
    """Return the figures of each model, with a rating and without one."""
    return {
        f"{name}, {'any rating' if stars is None else 'rated'}": figures(of)
        for (name, stars), of in found.items()
    }


def beginnings(
    source: Path | None,
    characters: int,
    count: int,
) -> list[str]:
    """Return so many different texts from the last reviews of a file, or of made-up ones, each of so many characters.

    A word that is cut at the end of a text is left out.
    """
    if not characters:
        return [""] * count

    texts = made_texts(REVIEWS) if source is None else read_reviews(source)["text"].to_list()
    text = " ".join(" ".join(texts[-REVIEWS:]).split())
    if len(text) < characters * count:
        raise SystemExit(
            f"{count} times --long {characters} are more than the {len(text):,} characters of the reviews"
        )

    parts = [text[number * characters : (number + 1) * characters] for number in range(count)]
    return [part.rpartition(" ")[0] + " " for part in parts]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark and report."""
    parser = arguments(__doc__ or "")
    ask_for_reviews(parser, 10_000)
    parser.add_argument("--keep", type=Path, help="folder of the fitted models")
    parser.add_argument(
        "--units",
        nargs="+",
        default=list(VOCABULARIES),
        choices=list(VOCABULARIES),
    )
    parser.add_argument("--http", action="store_true", help="press the keys at `reviewlm serve`")
    parser.add_argument(
        "--long",
        type=int,
        default=0,
        metavar="N",
        help="characters before each text (default 0)",
    )
    args: argparse.Namespace = parser.parse_args(argv)
    rounds = 1 if args.quick else args.repeats
    texts = TEXTS[:2] if args.quick else TEXTS
    before = beginnings(args.source, args.long, (rounds + 1) * len(texts))
    with tempfile.TemporaryDirectory() as folder:
        kept = args.keep or Path(folder)
        reviews = 600 if args.quick else args.reviews
        bundles = {
            name: bundle
            for unit in args.units
            for name, bundle in fitted(kept / unit, args.source, reviews, unit)
        }
        rows = (measured_over_http if args.http else measured)(bundles, rounds, texts, before)

    rows = {
        name: {
            "over": "HTTP" if args.http else "engine",
            "characters before": max(map(len, before)),
            **row,
        }
        for name, row in rows.items()
    }
    ratios = {
        name: Ratio(round(GOAL_MS / row["p95 ms"], 2), 1.0, f"{GOAL_MS:g} ms")
        for name, row in rows.items()
    }
    notes = (
        "Milliseconds of a key press, which is one call of the engine of one thread, or one request over HTTP with its "
        "JSON; CPU time is that of the engine's thread. First: the first key press of each text, with all before it.",
        "Ratio: goal / 95th percentile; 1 or more meets it.",
    )
    title = "Next words while a text is typed"
    finish(
        args,
        Report(
            "suggest",
            title,
            rows,
            ratios,
            ("torch", "numba", "uvicorn"),
            notes,
        ),
    )


if __name__ == "__main__":
    main()
