"""Define the commands that try all stages on a few reviews, and that check the machine and the home folder."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reviewlm import terminal
from reviewlm.core.environment import (
    available_cores,
    busy,
    other_home,
    prepare_environment,
)
from reviewlm.core.errors import CheckFailed, ConfigError, EmptyInput
from reviewlm.core.extras import install_command
from reviewlm.core.processes.interrupts import during
from reviewlm.core.processes.leftovers import lasting_folder
from reviewlm.corpus.account import Outcome
from reviewlm.flow_runs import require_input, require_model_files
from reviewlm.options import FILES, Input, Json, Preset, Set, load_configuration

if TYPE_CHECKING:
    from reviewlm.core.config.run_config import RunConfig
    from reviewlm.core.config.sections.data import ChecksConfig, SourceConfig, SplitConfig
    from reviewlm.corpus.ingestion.first_look import FirstLook
    from reviewlm.models.specs import ModelSpec
    from reviewlm.tasks.planning.forecast import RunForecast
    from reviewlm.tasks.quick_check import CheckedStage

PREFIX = "reviewlm-check-"
REVIEWS = 200
"""Reviews that the stages are tried on."""
MOST_SHOWN = 12
"""Entries of the account whose first record is named."""
FAILED = 1
"""Exit code if there is a problem."""


def check(
    files: Annotated[list[str] | None, typer.Argument(help="As --input.", **FILES)] = None,
    input: Input = None,
    preset: Preset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """Examine your files, and try every stage on 200 reviews.

    Records, fields, ratings, language, months; then all stages, with tiny models, in less than a minute. It writes
    nothing to your home.

    \b
    Examples:
      reviewlm check reviews.json
      reviewlm check --input reviews.csv --preset demo
    """
    config = load_configuration(preset, set).with_input([*(files or []), *(input or [])])
    if not config.source.input:
        raise ConfigError("No input was given", where="--input", remedy="`reviewlm check FILES`")

    require_input(config.source)
    require_model_files(config.models, config.classification, config.vectors)
    with during("looking at the files"):
        look = _look_at_files(config.source)
        expected = _forecast(config.split, config.models, look)

    answer = {"data": look.to_dict(), "time": expected.to_dict()}
    _show_look(look)
    from reviewlm.corpus.splitting.split import least_reviews

    least = least_reviews(config.split)
    if look.whole and look.account.used < least:
        terminal.last_line(answer, json)
        raise EmptyInput(
            "There are too few reviews for a run",
            where=", ".join(config.source.input),
            value=f"{look.account.used:,} that can be used",
            cause=f"training, validation and test reviews need at least {least:,}",
            remedy="give more (different) reviews",
        )

    exceeded = _exceeded_limits(look, config.checks)
    if exceeded and look.whole:
        terminal.last_line(answer, json)
        raise CheckFailed(
            "A run would stop: " + "; ".join(exceeded),
            where=", ".join(config.source.input),
            remedy="correct the data, or set another limit: `--set checks.NAME=VALUE`",
        )

    terminal.show_warnings(f"A run may stop: {sentence}" for sentence in exceeded)
    _show_forecast(expected, config.preset)
    _try_stages(config, answer, json)


def _look_at_files(source: SourceConfig) -> FirstLook:
    """Read the beginnings of the input files."""
    from reviewlm.corpus.ingestion.first_look import look_at
    from reviewlm.corpus.ingestion.ingest import reading_options

    options = replace(reading_options(source), workers=1)
    return look_at(source.input, options, skip_missing=source.skip_missing)


def _exceeded_limits(look: FirstLook, limits: ChecksConfig) -> list[str]:
    """Return sentences about the shares of bad records, of all files and of single ones, above the limits of a run."""
    from reviewlm.data_checks.report import CRITICAL
    from reviewlm.data_checks.suite_runs import checks_of_files

    counts = look.by_file.select("records", "quarantined", "rated", "off_scale").sum()
    records, aside, rated, off_scale = counts.row(0)
    sentences = []
    if off_scale > (1 - limits.min_stars_known) * rated:
        sentences.append(
            f"{off_scale:,} of {rated:,} ratings are not 1, 2, 3, 4 or 5 stars, more than "
            f"{1 - limits.min_stars_known:.1%} (checks.min_stars_known); a lower limit takes them as reviews "
            "without a rating"
        )

    if aside > limits.max_quarantined * records:
        sentences.append(
            f"{aside:,} of {records:,} records cannot be read, more than "
            f"{limits.max_quarantined:.1%} (checks.max_quarantined)"
        )

    for measured in checks_of_files(look.by_file, limits):
        if measured.check.severity == CRITICAL and measured.failing:
            examples = ", ".join(measured.examples)
            sentences.append(f"this does not hold: {measured.check.description}: {examples}")

    return sentences


def _forecast(
    split: SplitConfig,
    models: Sequence[ModelSpec],
    look: FirstLook,
) -> RunForecast:
    """Return how long a run on the files is expected to take here."""
    from reviewlm.tasks.planning.forecast import forecast_run

    used = look.records * look.account.used / max(look.account.read, 1)
    return forecast_run(
        split,
        models,
        round(used),
        look.bytes_of_review,
        available_cores(),
    )


def _try_stages(
    config: RunConfig,
    answer: dict[str, Any],
    json: bool,
) -> None:
    """Try all stages in a temporary home, show what came out, and write the answer; keep the home of an error."""
    from reviewlm.corpus.ingestion.forgotten import hand_list_on

    home = Path(tempfile.mkdtemp(prefix=PREFIX, dir=lasting_folder()))
    keep = False
    try:
        with other_home(home):
            prepare_environment(home)
            hand_list_on(config.home, home)
            from reviewlm.tasks.quick_check import StageLog, try_stages

            record = StageLog()
            try:
                try_stages(config, record)
            except Exception:
                keep = True
                raise
            finally:
                _show(record.stages, home if keep else None, json)
                terminal.last_line(answer, json)
    finally:
        if not keep:
            shutil.rmtree(home, ignore_errors=True)


def _show_look(look: FirstLook) -> None:
    """Write the first facts about the data: how many reviews there are, and what they hold or lack."""
    about = "" if look.whole else f"about {look.records:,} records; the first of them: "
    files = _count_noun(look.files, "file")
    terminal.say(f"Data: {files}, {about}{look.account.equation}.")
    if aside := look.account.kinds(Outcome.SET_ASIDE):
        terminal.say(f"  set aside: {_count_in_words(aside)}")
        for entry in look.account.entries[:MOST_SHOWN]:
            if entry.outcome is Outcome.SET_ASIDE and entry.detail:
                terminal.say(f"    first of {entry.title}: {entry.file}, {entry.detail}")

    for entry in look.account.odd:
        terminal.say(f"  look at: {entry.sentence}")

    found = []
    for name, share in look.fields.items():
        if share:
            found.append(name if share == 1 else f"{name} ({share:.1%} of the records)")

    lacking = [name for name, share in look.fields.items() if not share]
    terminal.say(
        f"  fields found: {', '.join(found) or 'none'}; lacking: {', '.join(lacking) or 'none'}"
    )
    total = max(sum(look.stars.values()), 1)
    ratings = ", ".join(f"{rating} {count / total:.0%}" for rating, count in look.stars.items())
    terminal.say(f"  ratings: {ratings or 'none'}")
    months = " to ".join(dict.fromkeys(look.months)) or "no dates"
    terminal.say(f"  months: {months}")
    if look.languages is None:
        terminal.say(
            f"  languages: not detected; `{install_command('languages')}` brings the library"
        )
    elif texts := sum(look.languages.values()):
        shares = ", ".join(
            f"{code or 'not certain'} {count / texts:.0%}" for code, count in look.languages.items()
        )
        terminal.say(f"  languages of the first {texts:,} texts: {shares}")


def _show_forecast(expected: RunForecast, preset: str) -> None:
    """Write how long a run takes about, and which time is worth to be given."""
    cores = available_cores()
    of_preset = expected.preset_minutes
    if of_preset is not None:
        terminal.say(
            f"Time, on {cores} idle cores: about {of_preset:,.0f} min with --preset {preset}."
        )

    if expected.hidden:
        network = f"a network of {expected.hidden} cells"
        more = f"save {expected.twice:.0%}"
        if f"{expected.twice:.0%}" == f"{expected.saves:.0%}":
            more = "save no more"

        terminal.say(
            f"  --minutes {expected.minutes} suits these data: {network}, which reads the "
            f"training reviews {expected.passes:.0f} times and saves about {expected.saves:.0%} of the bits of the "
            f"n-gram model; twice the time would {more}."
        )
    else:
        terminal.say(
            "  No network suits these data, even with --minutes 960: there is too little text, or too much for that time."
        )

    if load := busy():
        terminal.say(f"  It takes longer now: {load}.")


def _count_noun(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural if it is not one."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _count_in_words(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} {count:,}" for kind, count in kinds.items())


def _show(
    stages: Sequence[CheckedStage],
    home: Path | None,
    json: bool,
) -> None:
    """Show the stages with their times, and the wall time; if one failed, name it and the kept folder."""
    import psutil

    rows = [asdict(stage) for stage in stages]
    # Who waits also waits for the imports of libraries.
    seconds = time.time() - psutil.Process().create_time()
    if home is None:
        terminal.say(
            f"ok: {len(rows)} stages on up to {REVIEWS} reviews with tiny models; wall time {seconds:.1f} s, with the start "
            "of the program"
        )
    elif rows:
        terminal.say(
            f"The stage '{rows[-1]['stage']}' failed, after {len(rows) - 1} that did not. "
            f"Its files are kept for a look: {home}"
        )
        terminal.say(f"Wall time {seconds:.1f} s, with the start of the program")

    failure = {}
    if home is not None:
        failure = {"failed": rows[-1]["stage"] if rows else "", "home": str(home)}

    terminal.last_line(
        {
            "stages": rows,
            "seconds": round(seconds, 1),
            **failure,
        },
        json,
    )


def doctor(
    preset: Preset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """Check machine, home folder and servers, and say what to do.

    Packages, disk, memory, GPU, databases. It changes nothing.

    \b
    Example:
      reviewlm doctor --json
    """
    from reviewlm.doctor import examine

    lines = examine(load_configuration(preset, set).workspace)
    for line in lines:
        terminal.say(line.in_words())

    counts = Counter(line.state for line in lines)
    problems = counts["problem"]
    terminal.say(
        f"{_count_noun(problems, 'problem')}, {_count_noun(counts['warning'], 'warning')}, {counts['ok']} ok"
    )
    terminal.last_line(
        {
            "problems": problems,
            "warnings": counts["warning"],
            "checks": [*map(asdict, lines)],
        },
        json,
    )
    if problems:
        raise typer.Exit(FAILED)
