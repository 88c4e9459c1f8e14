"""A home of another version is refused in one sentence; a home of this version has its number."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.core.environment import prepare_environment
from reviewlm.core.home_format import FILE, FORMAT, OtherFormat
from reviewlm.core.manifest import CHECKSUM, MANIFEST
from reviewlm.core.store import Store
from reviewlm.tasks.records.track import tracker_of
from reviewlm.tracking.home_examination import require_current_home
from reviewlm.tracking.registry.decisions import EVENT_TAG
from tests.command_line import call
from tests.reviewlm.examined_homes import only
from tests.tasks.upkeep.judged_versions import judged, registry


def rewrite_event(number: int, text: str) -> None:
    config = load_config("small")
    name = registry(config).name + "-decisions"
    tracker_of(config.workspace).client.set_model_version_tag(name, str(number), EVENT_TAG, text)


def older(text: str) -> str:
    """Return an event as an older version wrote it: with a field that there is no more."""
    return json.dumps({**json.loads(text), "host": "here"})


def events() -> dict[int, str]:
    log = tracker_of(load_config("small").workspace).client.search_model_versions(
        f"name = '{registry(load_config('small')).name}-decisions'"
    )
    return {int(entry.version): entry.tags[EVENT_TAG] for entry in log}


def test_a_new_home_has_the_number_of_this_version(own_home: Path) -> None:
    prepare_environment(own_home)
    assert (own_home / FILE).read_text() == f"{FORMAT}\n"


@pytest.mark.parametrize("number", ["0", str(FORMAT + 1), "x", "9" * 20])
def test_a_home_of_another_number_is_refused(own_home: Path, number: str) -> None:
    prepare_environment(own_home)
    (own_home / FILE).write_text(number)
    with pytest.raises(OtherFormat):
        prepare_environment(own_home)
    assert only("home").state == "problem"


@pytest.mark.parametrize(
    "words", [["history"], ["home", "upgrade"], ["rollback"], ["services", "start"]], ids=" ".join
)
def test_each_command_ends_with_the_same_error(
    own_home: Path,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    prepare_environment(own_home)
    (own_home / FILE).write_text("99")
    done = call(monkeypatch, capfd, *words, "--json")
    assert (done.code, json.loads(done.out)["error"]["kind"]) == (5, "OtherFormat")


def test_results_of_an_older_version_are_no_damage_but_another_format(own_home: Path) -> None:
    built = (
        Store(own_home / "store")
        .build(
            "ingest",
            "1",
            {},
            {},
            lambda folder: {},
        )
        .artifact
    )
    manifest = Path(built.folder) / MANIFEST
    whole = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({name: whole[name] for name in whole if name != CHECKSUM}))
    with pytest.raises(OtherFormat):
        require_current_home(own_home)
    manifest.write_text("{")
    require_current_home(own_home)


@pytest.mark.slow
def test_decisions_of_an_older_version_are_no_damage_but_another_format(
    migrated_home: Path,
) -> None:
    judged(load_config("small"), True, True)
    (migrated_home / FILE).unlink(missing_ok=True)
    before = events()
    for number, text in before.items():
        rewrite_event(number, older(text))
    with pytest.raises(OtherFormat):
        require_current_home(migrated_home)
    rewrite_event(1, before[1])
    require_current_home(migrated_home)
    assert (migrated_home / FILE).read_text() == f"{FORMAT}\n"
