"""Define the command that tries all stages on a few reviews.

Define the command that checks the machine and the home folder.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from reviewlm import terminal
from reviewlm.core.environment import other_home, prepare_environment
from reviewlm.core.errors import ConfigError
from reviewlm.core.processes.leftovers import lasting_folder
from reviewlm.flow_runs import require_input, require_model_files
from reviewlm.options import Input, Json, Preset, Set, loaded

if TYPE_CHECKING:
    from reviewlm.tasks.quick_check import CheckedStage

PREFIX = "reviewlm-check-"

FAILED = 1
"""Exit code if there is a problem."""


def check(
    input: Input = None, preset: Preset = "small", set: Set = None, json: Json = False
) -> None:
    """Try every stage on 200 of your reviews, in less than a minute.

    With tiny models; it writes nothing to your home.

    \b
    Examples:
      reviewlm check --input reviews.json
      reviewlm check --input reviews.csv --preset demo
    """
    config = loaded(preset, set).with_input(input or [])
    if not config.source.input:
        raise ConfigError(
            "No input was given", where="--input", remedy="`reviewlm check --input FILES`"
        )
    require_input(config)
    require_model_files(config)
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
    finally:
        if not keep:
            shutil.rmtree(home, ignore_errors=True)


def _show(stages: Sequence[CheckedStage], home: Path | None, json: bool) -> None:
    """Show the stages with their times, and the wall time; if one failed, name it and the kept folder."""
    import psutil

    rows = [asdict(stage) for stage in stages]
    seconds = (
        time.time() - psutil.Process().create_time()
    )  # who waits also waits for the imports of libraries
    terminal.show_rows(rows)
    if home is None:
        terminal.say(
            f"ok: {len(rows)} stages; wall time {seconds:.1f} s, with the start of the program"
        )
    elif rows:
        terminal.say(
            f"The stage '{rows[-1]['stage']}' failed. Its files are kept for a look: {home}"
        )
        terminal.say(f"Wall time {seconds:.1f} s, with the start of the program")
    failure = {}
    if home is not None:
        failure = {"failed": rows[-1]["stage"] if rows else "", "home": str(home)}
    terminal.last_line({"stages": rows, "seconds": round(seconds, 1), **failure}, json)


def doctor(preset: Preset = "small", set: Set = None, json: Json = False) -> None:
    """Check machine, home folder and servers, and say what to do.

    Packages, disk, memory, GPU, databases. It changes nothing.

    \b
    Example:
      reviewlm doctor --json
    """
    from reviewlm.doctor import examine

    lines = examine(loaded(preset, set))
    for line in lines:
        terminal.say(line.in_words())
    counts = Counter(line.state for line in lines)
    problems = counts["problem"]
    terminal.say(f"{problems} problems, {counts['warning']} warnings, {counts['ok']} ok")
    terminal.last_line(
        {"problems": problems, "warnings": counts["warning"], "checks": [*map(asdict, lines)]}, json
    )
    if problems:
        raise typer.Exit(FAILED)
