"""Compare the keys saved at a served model with those that the simulated typist saves, word by word.

    python -m benchmarks.serving.keystrokes --home HOME --reviews HOME/store/prepare/DIGEST/clean.parquet --write

A typist at `POST /suggest` of `reviewlm serve` writes reviews key by key and takes a word as soon as it is among the
three that are shown, if that saves keys. The simulation (`evaluation/scoring/observe.py`) takes the same decisions
from the model's distributions, without a server and without the search for words. The server offers words only, while
the keyboard of the evaluation offers punctuation marks, too. So the simulation is made with both keyboards; the one of
words must save the keys that the typist saves, token by token. The vocabulary must be one of words.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl

import reviewlm
from benchmarks.harness import Ratio, Report, arguments, finish, say
from benchmarks.serving.servers import ours
from reviewlm.evaluation.scoring.observe import SUGGESTIONS_SHOWN, Keyboard
from reviewlm.evaluation.statistics.bootstrap import Bootstrap
from reviewlm.models.base import predictions
from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.tokens.special import CONTEXT_IDS, SPECIAL, UNK
from reviewlm.models.tokens.word_pieces import cut, fold_texts

Shown = Callable[[str, str, int], Sequence[str]]
"""Words that are shown after a text, of which the last characters are typed of a word; the rating of the review."""


@dataclass(frozen=True)
class Written:
    """One token of a review: its id, the keys of its characters, and those that the typist and simulations save."""

    token: int
    keys: str
    typed: int
    simulated: int
    with_marks: int


def compared(
    bundle: Bundle,
    text: str,
    stars: int,
    keyboard: Keyboard,
    shown: Shown,
) -> list[Written]:
    """Return each token of a review with the keys saved."""
    ids = [token for token in bundle.vocabulary.encode(text).tolist() if token not in CONTEXT_IDS]
    words, all_entries = (
        simulate(
            bundle,
            ids,
            stars,
            keyboard,
            marks,
        )
        for marks in (False, True)
    )
    found: list[Written] = []
    written = ""
    before = bundle.vocabulary.prefix(stars)[-1]
    for place, (token, keys) in enumerate(zip(ids, keys_of(text), strict=True)):
        typed = 0
        if token >= len(SPECIAL) and keyboard.word_V[token]:
            space = "" if keyboard.spaced_V[before] else keys[: len(keys) - len(keys.lstrip())]
            needed = " " if keyboard.spaced_V[before] else ""
            typed = keys_spared(
                written + space,
                keys.lstrip(),
                needed,
                stars,
                shown,
            )
        found.append(
            Written(
                token,
                keys,
                typed,
                words[place],
                all_entries[place],
            )
        )
        written = written + keys
        before = token

    return found


def keys_of(text: str) -> list[str]:
    """Return the characters of each token of a text, with the space before it."""
    straight = fold_texts([text], False)[0]
    place = 0
    found: list[str] = []
    for piece in cut(fold_texts([text], False))[0]:
        end = straight.index(piece, place) + len(piece)
        found.append(text[place:end])
        place = end
    return found


def keys_spared(
    written: str,
    word: str,
    space: str,
    stars: int,
    shown: Shown,
) -> int:
    """Type a word key by key, take it as soon as it is shown and that saves keys, and return the keys saved."""
    keys = [*space, *word]
    for pressed in range(len(keys) - 1):
        typed = "".join(keys[:pressed])
        if word.lower() in shown(written + typed, typed.strip(), stars):
            return len("".join(keys).encode()) - len(typed.encode()) - 1
    return 0


def simulate(
    bundle: Bundle,
    ids: Sequence[int],
    stars: int,
    keyboard: Keyboard,
    marks: bool,
) -> list[int]:
    """Return the keys that the simulated typist saves in each token, with or without marks among what is shown."""
    stream_BT = np.array([[*bundle.vocabulary.prefix(stars), *ids]])
    wanted_BT = np.ones_like(stream_BT, bool)
    wanted_BT[:, :2] = False
    saved: dict[int, int] = {}
    for part in predictions(bundle.model, stream_BT, wanted_BT):
        target_N = stream_BT[0, part.position_N]
        before_N = stream_BT[0, part.position_N - 1]
        own_N1 = np.take_along_axis(part.logp_NV, target_N[:, None], 1)
        lower_NV = np.arange(part.logp_NV.shape[1]) < target_N[:, None]
        better_NV = (part.logp_NV > own_N1) | ((part.logp_NV == own_N1) & lower_NV)
        offered_V = np.ones(better_NV.shape[1], bool) if marks else keyboard.word_V
        known_N = ~np.isneginf(own_N1[:, 0]) & (target_N != UNK) & offered_V[target_N]
        spared_N = keyboard.spared_keys(
            better_NV & offered_V, np.where(known_N, target_N, UNK), before_N
        )
        saved |= dict(zip((part.position_N - 2).tolist(), spared_N.tolist(), strict=True))

    return [saved[place] for place in range(len(ids))]


@contextmanager
def served(home: Path, model: str) -> Iterator[Shown]:
    """Start `reviewlm serve`, and give the words that its answers show."""
    with ours(home, 0, model=model, cores=1) as server, _client(server.port) as client:

        def shown(
            text: str,
            typed: str,
            stars: int,
        ) -> list[str]:
            asked = {
                "prompt": text,
                "k": SUGGESTIONS_SHOWN,
                "stars": stars,
                "both": True,
            }
            answer = client.post("/suggest", json=asked).raise_for_status().json()
            readings = [
                one for one in (answer, answer["otherwise"]) if one and one["typed"] == typed
            ]
            return [word["word"].lower() for one in readings for word in one["words"]]

        yield shown


def _client(port: int) -> httpx.Client:
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark and report."""
    parser = arguments(__doc__ or "")
    parser.add_argument(
        "--home",
        type=Path,
        required=True,
        help="home folder with the registered model",
    )
    parser.add_argument("--model", default="reviewlm-demo", help="registered model")
    parser.add_argument(
        "--reviews",
        type=Path,
        required=True,
        help="a clean.parquet; its test reviews are typed",
    )
    parser.add_argument(
        "--count",
        type=int,
        default=40,
        help="reviews that are typed",
    )
    args: argparse.Namespace = parser.parse_args(argv)
    os.environ["REVIEWLM_HOME"] = str(args.home)
    opened = reviewlm.load(f"models:/{args.model}@champion")
    keyboard = Keyboard(opened.bundle.vocabulary)
    chosen = (
        pl.read_parquet(args.reviews).filter(pl.col("split") == "test").sample(args.count, seed=1)
    )
    rows: list[dict[str, int]] = []
    with served(args.home, args.model) as shown:
        for text, stars in chosen.select("text", "stars").iter_rows():
            tokens = compared(
                opened.bundle,
                text,
                stars,
                keyboard,
                shown,
            )
            rows.append(
                {
                    "bytes": len(text.encode()) + 1,
                    "tokens": len(tokens),
                    "keys": sum(one.typed for one in tokens),
                    "simulated": sum(one.simulated for one in tokens),
                    "marks": sum(one.with_marks for one in tokens),
                    "differ": sum(one.typed != one.simulated for one in tokens),
                }
            )
            say(str(rows[-1]))

    every = pl.DataFrame(rows)
    equal = Ratio(
        round(int(every["keys"].sum()) / int(every["simulated"].sum()), 4),
        1.0,
        "simulation of words",
    )
    title = "Keys saved at the endpoint and in the simulation"
    finish(
        args,
        Report(
            "keystrokes",
            title,
            table(every),
            {"endpoint.simulation": equal},
            ("torch", "uvicorn"),
        ),
    )


def table(rows: pl.DataFrame) -> dict[str, Any]:
    """Return the savings of the typist and of both simulations, with their intervals over the reviews."""
    boot = Bootstrap(
        ((name, rows[name].to_numpy()) for name in rows.columns),
        confidence=0.95,
        resamples=10_000,
        seed=1,
    )
    found: dict[str, Any] = {}
    kinds = {
        "endpoint": "keys",
        "simulation, words": "simulated",
        "simulation, words and marks": "marks",
    }
    for name, column in kinds.items():
        one = boot.interval(partial(_share, column))
        found[name] = {
            "keystroke_savings": round(one.estimate, 4),
            "interval": [round(one.low, 4), round(one.high, 4)],
        }

    found["words"] = {
        "reviews": len(rows),
        "tokens": int(rows["tokens"].sum()),
        "differ": int(rows["differ"].sum()),
    }
    return found


def _share(column: str, sums: Mapping[Any, Any]) -> Any:
    return sums[column] / sums["bytes"]


if __name__ == "__main__":
    main()
