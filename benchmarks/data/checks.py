"""Measure the suites "raw" and "clean" on synthetic reviews: ours on polars against Great Expectations on pandas.

python -m benchmarks.data.checks --quick --write
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet  # noqa: F401  both routes read with it, so its memory counts as that of the bare process

from benchmarks.harness import (
    Ratio,
    Report,
    Run,
    arguments,
    finish,
    interleave,
    ratio,
    say,
    summary,
)
from reviewlm.core.config.sections.data import ChecksConfig
from reviewlm.data_checks.checks import RUNS, Check, Table, measure
from reviewlm.data_checks.gx import great_expectations, judge
from reviewlm.data_checks.suites import PRIVATE, suite_of
from tests.data_checks.test_equal_to_pandas import counterpart, validate_on_pandas

great_expectations()
SUITES = ("raw", "clean")
PART_ROWS = 100_000
GOAL = 5.0
NOTES = (
    "Time: wall seconds of loading from Parquet and judging; the start of the process and the import of Great "
    "Expectations are not in it. `pandas_cpu` is the same in CPU seconds.",
    "Memory: highest resident memory above that of the process before the call, with Great Expectations, pandas, "
    "polars and pyarrow imported. Of both suites together the higher one counts, and the times are added.",
    "The same expectations for both, which hold or fail alike on both. Runs of words and characters, which only we "
    "measure, are given to pandas as numbers; the shares of the splits and the texts in two of them, which only we "
    "measure too, are in our time.",
)
ONLY_OURS = ("count_of", "share_of", "share", "rows")


def write_reviews(
    folder: Path,
    rows: int,
    seed: int = 1,
) -> None:
    """Write tables "raw" (parts, as from ingestion) and "clean" with reviews of about 100 words by Zipf's law."""
    draw = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlu"))
    lengths = draw.integers(1, 10, 5000)
    words = np.array(["".join(draw.choice(letters, length)) for length in lengths], dtype=object)
    weights = 1 / np.arange(1, len(words) + 1)
    for suite in SUITES:
        (folder / suite).mkdir(parents=True)

    for part, first in enumerate(range(0, rows, PART_ROWS)):
        count = min(PART_ROWS, rows - first)
        sizes = np.clip(draw.lognormal(4.3, 0.8, count).astype(int), 3, 900)
        drawn = words[draw.choice(len(words), int(sizes.sum()), p=weights / weights.sum())]
        ends = np.cumsum(sizes)
        # One review in twenty has a letter that is not ASCII, as in real reviews.
        closing = [
            ". Très bon!" if share < 0.05 else ". Very good!" for share in draw.random(count)
        ]
        texts = [
            " ".join(drawn[e - size : e]) + last
            for e, size, last in zip(ends, sizes, closing, strict=True)
        ]
        numbers = pl.Series(np.arange(first, first + count))
        ids = pl.select(
            pl.format("{}xxxxxxxxxxxxxx", numbers.cast(pl.String).str.zfill(8))
        ).to_series()
        raw = pl.DataFrame(
            {
                "review_id": ids,
                "user_id": ids.reverse(),
                "business_id": ids.str.slice(4),
                "stars": pl.Series(draw.integers(1, 6, count), dtype=pl.Float32),
                "text": texts,
                "date": pl.Series(draw.integers(int(1.1e15), int(1.6e15), count)).cast(
                    pl.Datetime("us")
                ),
                "source": pl.Series(["reviews.json"] * count),
                "line": numbers,
            }
        )
        raw.write_parquet(
            folder / "raw" / f"part-{part:05d}.parquet", compression="zstd", compression_level=1
        )
        raw.select(
            "review_id",
            "text",
            pl.col("stars").cast(pl.Int8),
            (pl.col("text").str.len_bytes() + 1).alias("bytes"),
            split=pl.Series(draw.choice(["train", "validation", "test"], count, p=[0.8, 0.1, 0.1])),
        ).write_parquet(
            folder / "clean" / f"part-{part:05d}.parquet", compression="zstd", compression_level=1
        )


def _suite(stage: str, folder: Path) -> tuple[Table, list[Check]]:
    table = Table.of(folder / stage, PRIVATE)
    return table, suite_of(stage, ChecksConfig(), {"rows": table.height, "quarantined": 0})[0]


def by_polars(stage: str, folder: Path) -> dict[str, Any]:
    """Measure all checks of a table on polars and let them be judged."""
    table, checks = _suite(stage, folder)
    measured = measure(table, checks, {"quarantined": 0})
    held = sum(judge(one).success for one in measured if one.check.kind not in ONLY_OURS)
    return {
        "rows": table.height,
        "expectations": len(measured),
        "held": held,
    }


def by_pandas(stage: str, folder: Path) -> dict[str, Any]:
    """Load the columns of the suite with pandas, and validate them with Great Expectations."""
    table, checks = _suite(stage, folder)
    checks = [check for check in checks if check.kind not in ONLY_OURS]
    wanted = list(dict.fromkeys(check.column for check in checks))
    frame = pd.read_parquet(folder / stage, columns=[name for name in wanted if name not in RUNS])
    # Runs have no counterpart on pandas, so they are computed for it.
    frame[list(RUNS)] = table.rows(RUNS).collect(engine="streaming").to_numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expectations = [counterpart(check, table.schema[check.column]) for check in checks]
        results = validate_on_pandas(frame, expectations, {"result_format": "SUMMARY"})

    return {
        "rows": len(frame),
        "expectations": len(results),
        "held": sum(bool(each.success) for each in results),
    }


def main() -> None:
    """Run the benchmark and show the ratios."""
    parser = arguments(__doc__ or "")
    parser.add_argument(
        "--rows",
        type=int,
        default=0,
        help="reviews (default 1,000,000; 150,000 with --quick)",
    )
    args = parser.parse_args()
    rows = args.rows or (150_000 if args.quick else 1_000_000)
    folder = Path(tempfile.mkdtemp(prefix="checks-"))
    try:
        write_reviews(folder, rows)
        say(f"{rows:,} reviews written")
        contenders = {
            f"{stage} {name}": partial(by_engine, stage, folder)
            for stage in SUITES
            for name, by_engine in (("polars", by_polars), ("pandas", by_pandas))
        }
        runs = interleave(contenders, threads=2, repeats=args.repeats)
    finally:
        shutil.rmtree(folder)

    for stage in SUITES:
        if (
            len(
                {
                    run.result["held"]
                    for name in ("polars", "pandas")
                    for run in runs[f"{stage} {name}"]
                }
            )
            > 1
        ):
            raise SystemExit(f"the verdicts on '{stage}' differ: the figures compare nothing")

    finish(
        args,
        Report(
            "checks",
            f"Data checks of {rows:,} reviews: polars in chunks beside Great Expectations on pandas",
            summary(runs),
            _ratios(runs),
            packages=("great-expectations", "polars", "pandas", "pyarrow"),
            notes=NOTES,
        ),
    )


def _ratios(runs: dict[str, list[Run]]) -> dict[str, Ratio]:
    """Return the ratios of both suites together and of each suite."""
    ratios = {}
    for suites, name in ((SUITES, ""), *(((stage,), f"_{stage}") for stage in SUITES)):
        ours, theirs = (
            _together([runs[f"{stage} {route}"] for stage in suites])
            for route in ("polars", "pandas")
        )
        both = {"ours": ours, "pandas": theirs}
        ratios[f"checks.pandas_time{name}"] = ratio(both, "ours", "pandas", GOAL)
        ratios[f"checks.pandas_cpu{name}"] = ratio(
            both,
            "ours",
            "pandas",
            None,
            "cpu",
        )
        ratios[f"checks.pandas_memory{name}"] = ratio(
            both,
            "ours",
            "pandas",
            GOAL,
            "peak_mib",
        )

    return ratios


def _together(of_suites: list[list[Run]]) -> list[Run]:
    """Return for each round the summed times and the peak memory above that of the process before the call."""
    together = []
    for turn in zip(*of_suites, strict=True):
        peak = max(run.peak_mib - run.base_mib for run in turn)
        together.append(Run(sum(run.wall for run in turn), sum(run.cpu for run in turn), peak))
    return together


if __name__ == "__main__":
    main()
