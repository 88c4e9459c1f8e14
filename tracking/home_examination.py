"""Examine a home folder from before formats had numbers, and refuse it if another version has made it."""

from __future__ import annotations

import json
from contextlib import suppress
from itertools import islice
from pathlib import Path

from reviewlm.core.errors import ReviewLMError
from reviewlm.core.home_format import OtherFormat, is_unknown, require_format, write_number
from reviewlm.core.manifest import CHECKSUM, MANIFEST
from reviewlm.core.sqlite_files import home_database
from reviewlm.tracking.artifacts import ARTIFACTS
from reviewlm.tracking.registry.decisions import EVENT_TAG, event_of
from reviewlm.tracking.registry.versions import LOG, Version, contents_of, model_names
from reviewlm.tracking.runs.runs import Tracker

EXAMINED = 20
"""Results of the store that are looked at."""
OLDER = "older than the numbers"


def require_current_home(home: Path) -> None:
    """Refuse a home that another version has made; number one that this version can read.

    Raises:
        OtherFormat: As said.
    """
    require_format(home)
    if not is_unknown(home):
        return

    try:
        older = seems_older(home)
    except ReviewLMError:  # a database that cannot be read: others say why
        return

    if older:
        raise OtherFormat(home, OLDER)

    write_number(home)


def seems_older(home: Path) -> bool:
    """Return whether a home without a number holds results or decisions in a form from before homes had one.

    Those that were merely damaged are no sign of it: others say what is wrong with them.
    """
    return is_unknown(home) and (_has_older_results(home) or _has_older_events(home))


def _has_older_results(home: Path) -> bool:
    """Return whether manifests of the store are whole, and all without a checksum."""
    manifests = []
    for file in islice((home / "store").glob(f"[!.]*/*/{MANIFEST}"), EXAMINED):
        with suppress(OSError, ValueError, RecursionError):
            manifests.append(json.loads(file.read_text(encoding="utf-8")))
    whole = [
        manifest for manifest in manifests if isinstance(manifest, dict) and "files" in manifest
    ]
    return bool(whole) and not any(CHECKSUM in one for one in whole)


def _has_older_events(home: Path) -> bool:
    """Return whether events of the decision logs are whole, and none of them has the form of this version."""
    tracker = Tracker(home_database(home), "", home / ARTIFACTS)
    entries = [
        entry
        for name in model_names(tracker, decided=True)
        for entry in contents_of(tracker, name + LOG)[0]
    ]
    written = [one for one in map(event_of, entries) if one.computed_digest() == one.digest]
    return any(map(_is_whole, entries)) and not written


def _is_whole(entry: Version) -> bool:
    """Return whether an entry of a log holds an event of any version: as one tag of JSON, or in tags of its fields."""
    with suppress(ValueError, RecursionError):
        return EVENT_TAG not in entry.tags or isinstance(json.loads(entry.tags[EVENT_TAG]), dict)
    return False
