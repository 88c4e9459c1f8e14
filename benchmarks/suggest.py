"""Measure how long a typist waits for the next words: every key press is one call of the serving engine.

    python -m benchmarks.suggest --quick
    python -m benchmarks.suggest --source REVIEWS.csv --keep FOLDER --write
    python -m benchmarks.suggest --source REVIEWS.csv --keep FOLDER --pause 150 --units BPE

The texts are typed letter by letter, with what `POST /suggest` asks for by default: quick cutoffs, and both readings of
a text that ends in a word. A session is one text on a reader that has read nothing yet. Without `--pause`, a letter
follows at once on the answer to the last one, so nothing is read ahead. With it, the typist waits so long, and the
engine reads ahead meanwhile as the server does (`serving.read_ahead`). The models are a network, and
its gated mixture with a Kneser-Ney 5-gram model, each of words and of parts of words (BPE). They are fitted for some
minutes on the given reviews, because the search for words visits fewer beginnings the surer a model is. `--keep` names
a folder for the fitted models; where they are there, they are used again.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep, thread_time
from typing import Any

import numpy as np

from benchmarks.harness import Ratio, Report, arguments, finish, say
from benchmarks.small_text import ask_for_reviews, opened, prepare
from core.config.sections.serving import ServingConfig
from models.base import FitContext
from models.bundles.bundle import Bundle, load_bundle, save_bundle
from models.completion.ahead import ahead_steps
from models.completion.reading import Readers
from models.completion.spellings import QUICK
from models.completion.suggestions import suggest
from models.specs import MixtureSpec, ModelSpec, NGramSpec, RecurrentSpec, TrainingSpec, VocabularySpec, model_class
from serving.engine.engine import Engine, EngineContext
from serving.engine.requests import EngineLimits
from serving.engine.search import Search

GOAL_MS = 15.0
"""The 95th percentile of a key press."""
SHOWN = 5
TEXTS = (
    "The food was great and the service was very friendly.", "We waited for an hour, and the soup was cold",
    "I love this place! They have the best breakfast in town", "My husband ordered the chicken, which was dry.",
    "Would not recommend it to anyone who is hungry",
)  # fmt: skip
VOCABULARIES = {
    "words": VocabularySpec(size=20_000, min_count=2), "BPE": VocabularySpec(unit="bpe", size=4_000, min_count=2),
}  # fmt: skip
LSTM = RecurrentSpec(
    layers=2, hidden=384, embedding=256, training=TrainingSpec(epochs=2, batch=32, learning_rate=3e-3, evaluations=2)
)
SPECS: dict[str, ModelSpec] = {
    "kn5": NGramSpec(name="kn5", order=5), "lstm": LSTM,
    "mixture": MixtureSpec(name="mixture", parts=("kn5", "lstm"), method="gated"),
}  # fmt: skip
SHARES = [0.0, 0.1, 0.1, 0.15, 0.3, 0.35]
"""Shares of the ratings 0 to 5; without a rating, a text is read with each of five."""


def fitted(folder: Path, source: Path | None, reviews: int, unit: str) -> Iterator[tuple[str, Bundle]]:
    """Yield the network and the mixture of one kind of vocabulary; fit what is not in the folder yet."""
    if not (folder / "mixture").exists():
        folder.mkdir(parents=True, exist_ok=True)
        prepare(folder, source, reviews, options=VOCABULARIES[unit])
        vocabulary, train, held_out = opened(folder)
        for name, spec in SPECS.items():
            say(f"{unit}: {name} is fitted")
            parts = {part: folder / part for part in ("kn5", "lstm")}
            context = FitContext(folder / f"work {name}", threads=2, parts=parts)
            model = model_class(spec.kind).fit(spec, vocabulary, train, held_out, context).model
            save_bundle(folder / name, spec, vocabulary, model, [(TEXTS[0], 5)], {"stars_prior": SHARES})
    for name in ("lstm", "mixture"):
        yield f"{name}, {unit}", load_bundle(folder / name)


@dataclass(frozen=True)
class KeyPress:
    """What one key press took, in milliseconds: until the answer was there, and of the engine's processor time."""

    wall_ms: float
    cpu_ms: float


def key_presses(engine: Engine, text: str, stars: int | None, pause_ms: float = 0.0) -> list[KeyPress]:
    """Type a text letter by letter in a session of its own, with a pause after each answer in which is read ahead."""
    readers = Readers(engine.bundle, engine.run(lambda context: context.read).result())
    found = []
    for end in range(1, len(text) + 1):

        def asked(context: EngineContext, prompt: str = text[:end]) -> float:
            began = thread_time()
            suggest(engine.bundle, prompt, SHOWN, stars, True, readers, QUICK)
            if pause_ms:
                wanted = (prompt, SHOWN, stars, True, readers, QUICK, ServingConfig().read_ahead)
                context.when_idle(Search(lambda _: ahead_steps(engine.bundle, *wanted)))
            return thread_time() - began

        began = perf_counter()
        seconds = engine.run(asked).result()
        found.append(KeyPress(1000 * (perf_counter() - began), 1000 * seconds))
        sleep(pause_ms / 1000)
    engine.run(lambda context: context.when_idle(lambda _: None)).result()  # the text ends here
    return found


def figures(presses: Sequence[KeyPress]) -> dict[str, Any]:
    """Return the median and the 95th percentile of the waiting times and of the processor times."""
    times = {"ms": [press.wall_ms for press in presses], "cpu_ms": [press.cpu_ms for press in presses]}
    return {
        f"p{share} {name}": round(float(np.percentile(values, share)), 1)
        for name, values in times.items() for share in (50, 95)
    } | {"key presses": len(presses)}  # fmt: skip


def measured(
    bundles: dict[str, Bundle], repeats: int, texts: Sequence[str], pause_ms: float = 0.0
) -> dict[str, dict[str, Any]]:
    """Type the texts with each model, with a rating and without one; the models take turns."""
    engines = {name: Engine(bundle, EngineLimits()) for name, bundle in bundles.items()}
    found: dict[tuple[str, int | None], list[KeyPress]] = {}
    for turn in range(repeats + 1):
        for text in texts if turn else texts[:1]:  # the first round warms up
            for name, engine in engines.items():
                for stars in (5, None):
                    presses = key_presses(engine, text, stars, pause_ms)
                    found.setdefault((name, stars), []).extend(presses if turn else [])
        say(f"{turn}/{repeats}")
    for engine in engines.values():
        engine.close()
    return {f"{name}, {'any rating' if stars is None else 'rated'}": figures(of) for (name, stars), of in found.items()}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark and report."""
    parser = arguments(__doc__ or "")
    ask_for_reviews(parser, 10_000)
    parser.add_argument("--keep", type=Path, help="folder of the fitted models")
    parser.add_argument("--pause", type=float, default=0.0, help="milliseconds between an answer and the next letter")
    parser.add_argument("--units", nargs="+", default=list(VOCABULARIES), choices=list(VOCABULARIES))
    args: argparse.Namespace = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        kept, reviews = args.keep or Path(folder), 600 if args.quick else args.reviews
        bundles = {
            name: bundle
            for unit in args.units for name, bundle in fitted(kept / unit, args.source, reviews, unit)
        }  # fmt: skip
        rows = measured(bundles, 1 if args.quick else args.repeats, TEXTS[:2] if args.quick else TEXTS, args.pause)
    ratios = {name: Ratio(round(GOAL_MS / row["p95 ms"], 2), 1.0, f"{GOAL_MS:g} ms") for name, row in rows.items()}
    notes = (
        "Milliseconds of a key press, which is one call of the engine of one thread; CPU time is that of its thread.",
        "Ratio: goal / 95th percentile; 1 or more meets it.",
        f"Pause between an answer and the next letter: {args.pause:g} ms.",
    )
    finish(args, Report("suggest", "Next words while a text is typed", rows, ratios, ("torch", "numba"), notes))


if __name__ == "__main__":
    main()
