"""A home with things to keep and to remove, and its collection in a process that kills itself before a change."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from reviewlm.core.config.presets import load_config
from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.store import MANIFEST, Artifact, Store
from reviewlm.tasks.records.track import tracker_of
from reviewlm.tasks.upkeep.collect import collect
from reviewlm.tracking.tags import DATA_TAG
from tests.tasks.upkeep.judged_versions import judged, logged_model

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "sqlite3.connect")
LONG_AGO = 10**9
MONTH = 30 * 86_400 * 10**9


def config_of(home: str) -> RunConfig:
    os.environ["REVIEWLM_HOME"] = home
    return load_config("small", ["upkeep.runs=1", "upkeep.refused=1", "upkeep.versions=0"])


def make(home: str, said: str) -> None:
    """Fill a home; write to *said* which of its folders and files are needed, and which must go."""
    config = config_of(home)
    data, source, old = (_result(config, stage) for stage in ("prepare", "source", "old"))
    new = _result(config, "new", time.time_ns(), source=source.digest)
    tracker = tracker_of(config.workspace)
    killed, lost = tracker.start_run("killed"), tracker.start_run("a fit that is gone")
    tracker.log_text(killed, "many words", "note.txt")
    tracker.end_run(killed, "KILLED")
    model, _ = logged_model(tracker, lost)
    tracker.end_run(lost)
    with tracker.reaching() as client:
        experiment = client.get_run(killed).info.experiment_id
    former, champion, refused, newest = judged(
        config,
        True,
        True,
        False,
        False,
        tags={DATA_TAG: data.digest},
    )
    (report := config.home / "reports" / "old" / "report.html").parent.mkdir(parents=True)
    report.write_text("<p>")
    os.utime(report, ns=(LONG_AGO, LONG_AGO))
    needed = [data.folder, source.folder, new.folder, former, champion, newest]
    artifacts = tracker.artifact_root
    gone = [
        old.folder,
        artifacts / "models" / model,
        refused,
        report.parent,
        artifacts / experiment / killed / "artifacts",
    ]
    paths = {"needed": needed, "gone": gone}
    Path(said).write_text(
        json.dumps({name: [os.path.relpath(path, home) for path in paths[name]] for name in paths})
    )


def _result(
    config: RunConfig,
    stage: str,
    used: int = LONG_AGO,
    **inputs: str,
) -> Artifact:
    store = Store.of(config.home)

    def write(work: Path) -> dict[str, Any]:
        (work / "data.bin").write_bytes(stage.encode() * 50)
        return {}

    artifact = store.build(
        stage,
        1,
        {},
        inputs,
        write,
    ).artifact
    os.utime(artifact.folder / MANIFEST, ns=(used, used))
    return artifact


def run(
    home: str,
    fatal: int = 0,
    said: str = "",
) -> None:
    """Collect, a month later; die before the change with the number *fatal*, or write the number of all to *said*."""
    config, seen = config_of(home), 0

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        writes = event == "open" and str(arguments[1])[:1] in ("w", "a", "x")
        if (writes or event in CHANGES) and _is_below(home, arguments[0]):
            seen += 1
            if seen == fatal:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)
    collect(config.workspace, config.upkeep, now=time.time_ns() + MONTH)
    if said:
        Path(said).write_text(json.dumps(seen))


def _is_below(home: str, path: object) -> bool:
    """Return whether a path is below the home, or relative: `shutil.rmtree` names files in an open folder so."""
    name = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
    return home in name or (bool(name) and not name.startswith("/"))
