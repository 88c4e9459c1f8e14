"""Measure what a served model answers to one client and to many at once: suggestions, scores, completions, streams.

    python -m benchmarks.serving.clients [--home HOME --model NAME] [--quick] [--repeats N] [--write] [--json]

Each client sends its next request when it has read the answer to the last one. No two requests have the same text: all
are cut out of made-up reviews. `--home` and `--model` name a registered model, such as that of the demo; without them,
an LSTM is served whose weights were drawn. *CPU* is the processor time of the server for one request.

The ratios: requests of 8 clients beside those of one (suggestions), of 64 beside those of 8 (completions); goal by
figure for waiting and processor times. 1 or more, or the number named as the goal, means that it is reached.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.harness import Ratio, Report, arguments, finish, say
from benchmarks.serving.http_load import Load, post, send_all
from benchmarks.serving.made_home import NAME, made_bundle, made_texts, make_home
from benchmarks.serving.servers import Served, ours

BEGUN, SCORED = 7, 60
"""Words of a prompt, and of a text to score."""
TOKENS = 40
SUGGEST, SCORE, COMPLETIONS = "/suggest", "/score", "/v1/completions"
P95_MS, SCORE_MS, FIRST_MS = 150.0, 5.0, 150.0
SUGGEST_TIMES, COMPLETION_TIMES = 3.0, 2.0


@dataclass(frozen=True)
class Row:
    """Some clients that ask for the same thing.

    Attributes:
        name: Name of the row.
        path: What is asked.
        clients: How many ask at a time.
        requests: How many requests all of them send.
        words: Words of each text.
        more: Fields of the request besides its text.
    """

    name: str
    path: str
    clients: int
    requests: int
    words: int
    more: Mapping[str, Any]


WRITTEN = {"max_tokens": TOKENS, "stars": 4}
ROWS = (
    Row(
        "suggest, 1 client",
        SUGGEST,
        1,
        60,
        BEGUN,
        {},
    ),
    Row(
        "suggest, 8 clients",
        SUGGEST,
        8,
        160,
        BEGUN,
        {},
    ),
    Row(
        "score without stars, 64 clients",
        SCORE,
        64,
        256,
        SCORED,
        {},
    ),
    Row(
        "completions, 1 client",
        COMPLETIONS,
        1,
        30,
        BEGUN,
        WRITTEN,
    ),
    Row(
        "completions, 8 clients",
        COMPLETIONS,
        8,
        160,
        BEGUN,
        WRITTEN,
    ),
    Row(
        "completions, 64 clients",
        COMPLETIONS,
        64,
        512,
        BEGUN,
        WRITTEN,
    ),
    Row(
        "streams, 64 clients",
        COMPLETIONS,
        64,
        128,
        BEGUN,
        {**WRITTEN, "stream": True},
    ),
)


@dataclass(frozen=True)
class Figures:
    """What one round of a row took.

    Attributes:
        per_s: Requests answered in a second.
        cpu_ms: Processor milliseconds of the server for one request.
        p95_ms: 95th percentile of the milliseconds to the end of an answer.
        first_ms: The same to its first text.
    """

    per_s: float
    cpu_ms: float
    p95_ms: float
    first_ms: float


def words_of(texts: Sequence[str], count: int) -> Iterator[str]:
    """Yield different texts of so many words, one cut out after another."""
    words = " ".join(texts).split()
    for begin in range(0, len(words) - count, count):
        yield " ".join(words[begin : begin + count])


def measure(
    server: Served,
    row: Row,
    texts: Iterator[str],
    share: float = 1.0,
) -> Figures:
    """Send the requests of a row, or a share of them.

    Raises:
        RuntimeError: An answer is an error.
    """
    field = "texts" if row.path == SCORE else "prompt"
    requests = []
    for text in islice(texts, max(row.clients, int(row.requests * share))):
        asked = [text] if row.path == SCORE else text
        requests.append(post(row.path, {field: asked, **row.more}))

    before = server.cpu()
    load = send_all(server.port, requests, row.clients)
    cpu = server.cpu() - before
    if failed := [answer for answer in load.answers if answer.status != 200]:
        raise RuntimeError(f"{row.name}: status {failed[0].status}: {failed[0].body[:300]!r}")

    return Figures(
        per_s=len(requests) / load.seconds,
        cpu_ms=1000 * cpu / len(requests),
        p95_ms=_percentile(load),
        first_ms=load.first_ms(0.95),
    )


def _percentile(load: Load) -> float:
    ranked = sorted(1000 * (answer.ended - answer.sent) for answer in load.answers)
    return ranked[int(0.95 * (len(ranked) - 1))]


def measured(
    home: Path,
    model: str,
    repeats: int,
    share: float = 1.0,
) -> dict[str, Figures]:
    """Return the medians of some rounds of each row; the first round of a new server warms it up."""
    texts = made_texts(8_000)
    streams = {words: words_of(texts, words) for words in (BEGUN, SCORED)}
    rounds: dict[str, list[Figures]] = {row.name: [] for row in ROWS}
    with ours(home, 0, model=model) as server:
        for turn in range(repeats + 1):
            for row in ROWS:
                warms = 0.0 if turn == 0 else share
                found = measure(server, row, streams[row.words], warms)
                if turn:
                    rounds[row.name].append(found)
            say(f"{turn}/{repeats}")

    return {name: _medians(found) for name, found in rounds.items()}


def _medians(rounds: Sequence[Figures]) -> Figures:
    return Figures(
        per_s=median(one.per_s for one in rounds),
        cpu_ms=median(one.cpu_ms for one in rounds),
        p95_ms=median(one.p95_ms for one in rounds),
        first_ms=median(one.first_ms for one in rounds),
    )


def table_of(found: Mapping[str, Figures]) -> dict[str, dict[str, float]]:
    """Return the figures as rows of a table."""
    return {
        name: {
            "requests_per_s": round(one.per_s, 1),
            "cpu_ms": round(one.cpu_ms, 2),
            "p95_ms": round(one.p95_ms, 1),
            "first_p95_ms": round(one.first_ms, 1),
        }
        for name, one in found.items()
    }


def ratios_of(found: Mapping[str, Figures]) -> dict[str, Ratio]:
    """Return the ratios that have a goal."""
    one, eight = found["suggest, 1 client"], found["suggest, 8 clients"]
    fewer, more = found["completions, 8 clients"], found["completions, 64 clients"]
    score = found["score without stars, 64 clients"]
    first = found["streams, 64 clients"].first_ms
    return {
        "clients.suggest": _ratio(eight.per_s, one.per_s, SUGGEST_TIMES, "one client"),
        "clients.suggest.p95": _ratio(P95_MS, eight.p95_ms, 1.0, f"{P95_MS:g} ms"),
        "clients.score.cpu": _ratio(SCORE_MS, score.cpu_ms, 1.0, f"{SCORE_MS:g} ms"),
        "clients.completions": _ratio(more.per_s, fewer.per_s, COMPLETION_TIMES, "8 clients"),
        "clients.streams.first": _ratio(FIRST_MS, first, 1.0, f"{FIRST_MS:g} ms"),
    }


def _ratio(
    our_value: float,
    theirs: float,
    goal: float,
    peer: str,
) -> Ratio:
    return Ratio(round(our_value / max(theirs, 1e-3), 3), goal, peer)


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the benchmark with the options of the command line."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--home", type=Path, help="home folder with a registered model")
    parser.add_argument("--model", default=NAME, help="name of the registered model")
    args: argparse.Namespace = parser.parse_args(argv)
    share = 0.25 if args.quick else 1.0
    with tempfile.TemporaryDirectory(prefix="reviewlm-clients-") as folder:
        home = args.home or Path(folder)
        if args.home is None:
            make_home(home, made_bundle(made_texts(8_000)), int8_loss=0.0)
        found = measured(home, args.model, 1 if args.quick else args.repeats, share)

    report = Report(
        "clients",
        "One client and many at a served model",
        table_of(found),
        ratios_of(found),
        ("torch", "numba", "uvicorn"),
        notes=(__doc__ or "").split("\n\n")[2:],
    )
    return finish(args, report)


if __name__ == "__main__":
    main()
