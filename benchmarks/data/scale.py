"""Measure time, peak memory and size of every data stage of the pipeline on one big file.

    python -m benchmarks.data.scale [--quick] [--json] [--write] [--reviews 9100000] [--file FILE] [--growth PNG]
                                    [--month 100000]

Writes synthetic reviews (9.1 million are 5.4 GB), runs `reviewlm run --until prepare` on them as a user would, in an
empty home folder, and samples the resident memory of its processes ten times a second: the pipeline with its workers,
and separately Prefect's temporary server. A stage's peak is the highest sum while it ran; the private part of it is
without the pages of mapped files, which the system may take back. The peak of the whole run is never less than the
kernel's own high-water mark of the process. No file is kept unless a folder is named. The columns that begin with run_
are of the command's own process: with `--set execution.cluster=local` the rest is what nodes of a cluster can share.

With --growth, 1 % and 10 % of the file are measured first. The exponent b of seconds = a · reviews^b is fitted between
10 % and the whole file, and projected to 10 and 100 times the reviews.

With --month, a second file with so many new reviews is then added, and the command runs again in the same home, with
both files: the rows "second month". Stages whose results are used again are not in the table. Then the second file is
prepared alone, for a model that starts from the weights of a champion of the first file: the rows "month alone". Its
held-out reviews are compared with all that the champion has learnt from. (That champion is an n-gram model, so the
vocabulary is learnt from the second file.)

There is no peer in this script; *goal* is 1.5 GiB for any stage, for any size of the input, and 60 s for each of these
two ways to take a second month of 100,000 reviews.
"""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.data.growth import SHARES, draw, grown
from benchmarks.data.ingest import folder_for
from benchmarks.harness import Ratio, Report, arguments, finish, say
from benchmarks.process_log import CPU, FIRST, FIRST_CPU, PRIVATE, SERVER, ProcessLog, run_logged
from reviewlm.core.config.presets import load_config
from reviewlm.core.environment import other_home
from reviewlm.core.store import Store
from reviewlm.corpus.synthetic.synth import write_reviews
from reviewlm.tasks.data.prepare import Prepared
from reviewlm.tasks.fitting.fit import fit
from reviewlm.tasks.records.track import parent_run, registry_of, tracker_of
from reviewlm.tracking.tags import MODEL_URI_TAG

REVIEWS = 9_100_000
QUICK_REVIEWS = 250_000
MALFORMED = 0.001
DUPLICATES = 0.005
SEED = 1
GOAL_MIB = 1536.0
GOAL_SECONDS = 60.0
MONTH = "second month: "
ALONE = "month alone: "
UNITS = "word,bpe"
PRESET = 'extends = "full"\nbaseline = "{unit}"\n'
MODEL = """
[vocabulary.{unit}]
unit = "{unit}"
size = 16_000

[[models]]
kind = "ngram"
name = "{unit}"
order = 2
vocabulary = "{unit}"
"""
WARM = """
[[models]]
kind = "lstm"
name = "from the champion"
vocabulary = "{unit}"
hidden = 64
embedding = 64
[models.training]
start = "champion"
"""


def prepare(
    files: list[Path],
    home: Path,
    units: list[str],
    settings: list[str],
    more: str = "",
) -> tuple[ProcessLog, float]:
    """Run `reviewlm run --until prepare` on the files; its progress goes to standard error.

    Args:
        more: Further models of the preset.

    Raises:
        ContenderFailed: The command ended with an error.
    """
    preset = home.parent / "scale.toml"
    models = "".join(MODEL.format(unit=unit) for unit in units)
    preset.write_text(
        PRESET.format(unit=units[0]) + models + more.format(unit=units[0]), encoding="utf-8"
    )
    words = ["run", "--until", "prepare", "--preset", str(preset)]
    for option, values in (("--input", files), ("--set", settings)):
        words += [part for value in values for part in (option, str(value))]

    began = time.time()
    return run_logged(words, {"REVIEWLM_HOME": str(home)}), time.time() - began


def crown(file: Path, home: Path) -> None:
    """Fit an n-gram model of the first file, the only one that is prepared so far, and make it champion ungated."""
    with other_home(home):
        config = load_config(str(home.parent / "scale.toml")).with_input([str(file)])
        spec = config.models[0]
        store = Store.of(config.home)
        [clean] = store.all("prepare")
        tokens = {}
        for stream in store.all("tokens"):
            if stream.facts["unit"] == spec.vocabulary:
                tokens[stream.manifest["options"]["split"]] = stream

        learned = {one.facts["name"]: one for one in store.all("vocabulary")}
        # A fit needs no data card; the clean reviews take its place.
        prepared = Prepared(clean, clean, learned, {spec.vocabulary: tokens})
        with parent_run(config, "train") as run_id:
            fitted = fit.fn(
                config,
                spec,
                prepared,
                run_id,
                {},
            )

        tracker = tracker_of(config.workspace)
        registry = registry_of(config.workspace, config.promotion.model_name)
        version = registry.register(tracker.tag(fitted.run_id, MODEL_URI_TAG), fitted.run_id)
        registry.promote(version, None)


def manifests(home: Path, since: float = 0) -> list[dict[str, Any]]:
    """Return the manifests of all artifacts made *since* a time, in the order of their beginning."""
    found = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in home.glob("store/*/*/manifest.json")
    ]
    return sorted(
        (one for one in found if one["created"] >= since), key=lambda one: float(one["created"])
    )


def stages(
    home: Path,
    log: ProcessLog,
    since: float = 0,
) -> dict[str, dict[str, Any]]:
    """Return seconds, peak memory and size for every artifact made *since* a time, in the order of their beginning."""
    table: dict[str, dict[str, Any]] = {}
    for manifest in manifests(home, since):
        name = _name(manifest)
        number = 2
        while name in table:
            name = f"{_name(manifest)} {number}"
            number = number + 1

        began = manifest["created"]
        ended = began + manifest["seconds"]
        spent, own = (log.at([began, ended], what) for what in (CPU, FIRST_CPU))
        size = sum(file["bytes"] for file in manifest["files"].values())
        table[name] = {
            "wall_s": round(manifest["seconds"], 1),
            "peak_mib": log.peak(began, ended),
            "private_mib": log.peak(began, ended, PRIVATE),
            "run_mib": log.peak(began, ended, FIRST),
            "cpu_s": round(spent[1] - spent[0], 1),
            "run_cpu_s": round(own[1] - own[0], 1),
            "MB on disk": round(size / 1e6, 1),
        }

    return table


def _name(manifest: Mapping[str, Any]) -> str:
    """Return the name of the stage with its suite, split or unit: `check raw`, `vocabulary bpe`, `tokens train`."""
    options = manifest["options"]
    special = [options.get("label"), options.get("suite"), options.get("split")]
    special.append(manifest["facts"].get("unit"))
    words = [word for word in special if word and isinstance(word, str)]
    return " ".join([manifest["stage"], *words[:1]])


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Run the benchmark with the options of the command line."""
    parser = _parser()
    args = parser.parse_args(argv)
    units = args.units.split(",")
    tables: dict[float, Any] = {}
    month = {}
    alone = {}
    with folder_for(args) as folder:
        home = folder / "home"
        if home.exists():
            parser.error(f"{home} exists already: what it holds would be reused and not measured")

        file = args.file
        reviews = None
        if file is None:
            file = folder / "reviews.jsonl"
            reviews = args.reviews or (QUICK_REVIEWS if args.quick else REVIEWS)
            _write(file, reviews, SEED)

        if args.growth:
            reviews = reviews or _lines(file)
            for share in SHARES[:-1]:
                some = _first(file, round(share * reviews), folder)
                tables[share] = _measured([some], folder / f"home-{share:.0%}", units, args.set)

        tables[1.0] = _measured([file], home, units, args.set)
        if args.month:
            second = folder / "second-month.jsonl"
            _write(second, args.month, SEED + 1)
            crown(file, home)
            month = _measured([file, second], home, units, args.set)
            alone = _measured(
                [second],
                home,
                units,
                args.set,
                WARM,
            )

    measured = tables[1.0]
    if args.growth:
        measured = grown(tables)
        draw(tables, reviews or 0, args.growth)

    peak_mib = measured["whole run"]["peak_mib"]
    ratios = {"scale.memory": Ratio(round(GOAL_MIB / peak_mib, 3), 1.0, "1.5 GiB")}
    if month:
        ratios["scale.month"] = _ratio_of_seconds(month)
        ratios["scale.month_alone"] = _ratio_of_seconds(alone)
        for prefix, table in ((MONTH, month), (ALONE, alone)):
            measured |= {prefix + name: row for name, row in table.items()}

    report = Report(
        "scale",
        "One big file, from reading to token streams",
        measured,
        ratios,
        ("polars", "pyarrow", "prefect"),
        notes=(__doc__ or "").split("\n\n")[2:],
    )
    return finish(args, report)


def _parser() -> ArgumentParser:
    parser = arguments("The data half of the pipeline on one big file")
    add = parser.add_argument
    add("--reviews", type=int, help=f"reviews to write ({REVIEWS:,}; --quick: {QUICK_REVIEWS:,})")
    add("--file", type=Path, help="use this file instead")
    add("--data", type=Path, help="keep everything that is made in this folder")
    add("--units", default=UNITS, help=f"vocabularies to learn and encode with (default {UNITS})")
    add(
        "--growth",
        type=Path,
        metavar="PNG",
        help="also measure 1 %% and 10 %%; draw the growth",
    )
    more = "add N new reviews afterwards; measure again"
    add(
        "--month",
        type=int,
        default=0,
        metavar="N",
        help=more,
    )
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a setting",
    )
    return parser


def _ratio_of_seconds(table: Mapping[str, Any]) -> Ratio:
    """Return how much faster than the goal a month was prepared."""
    return Ratio(round(GOAL_SECONDS / table["whole run"]["wall_s"], 3), 1.0, "60 s")


def _write(
    file: Path,
    reviews: int,
    seed: int,
) -> None:
    say(f"writing {reviews:,} reviews")
    write_reviews(
        file,
        reviews,
        seed,
        MALFORMED,
        DUPLICATES,
    )


def _first(
    file: Path,
    lines: int,
    folder: Path,
) -> Path:
    """Return a file in *folder* with the first lines of another one."""
    some = folder / f"first-{lines}.jsonl"
    with file.open("rb") as whole, some.open("wb") as out:
        out.writelines(islice(whole, lines))
    return some


def _measured(
    files: list[Path],
    home: Path,
    units: list[str],
    settings: list[str],
    more: str = "",
) -> dict[str, dict[str, Any]]:
    """Run `reviewlm run --until prepare`; return the figures of its stages and of the whole run."""
    began = time.time()
    log, seconds = prepare(
        files,
        home,
        units,
        settings,
        more,
    )
    worst = round(max(log.peak(0, time.time()) or 0, log.high_water))
    return stages(home, log, began) | {
        "whole run": {
            "wall_s": round(seconds, 1),
            "peak_mib": worst,
            "private_mib": log.peak(0, time.time(), PRIVATE),
            "MB on disk": round(sum(file.stat().st_size for file in files) / 1e6, 1),
        },
        "server": {"peak_mib": log.peak(0, time.time(), SERVER)},
    }


def _lines(file: Path) -> int:
    with file.open("rb") as lines:
        return sum(block.count(b"\n") for block in iter(lambda: lines.read(1 << 20), b""))


if __name__ == "__main__":
    main()
