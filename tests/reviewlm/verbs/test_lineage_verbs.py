"""`version lineage` and `version reproduce`: what a person and a program get to see, and the exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reviewlm.core.errors import ArtifactError, Damaged, NotReproduced
from reviewlm.core.lineage import LINEAGE_TAG, Lineage
from reviewlm.evaluation.reports.run_record import FORMAT, RECORD_FILE, REPORT_FILE, REPORTS
from reviewlm.tracking.tags import BUNDLE_TAG
from reviewlm.verbs import lineage as verbs
from tests.core.made_lineage import made_lineage, step_named


@pytest.fixture
def record(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Lineage:
    """A registry with one version, whose artifacts lie in the home folder."""
    made, bundle = made_lineage(own_home)
    version = SimpleNamespace(
        version=7,
        aliases=("champion",),
        tags={LINEAGE_TAG: made.root},
    )
    found = SimpleNamespace(version=version, folder=bundle)
    monkeypatch.setattr("reviewlm.tracking.registry.opening.find", lambda *asked: found)
    monkeypatch.setattr(
        "reviewlm.tracking.logged_models.bundles.required_record", lambda folder: made
    )
    return made


@pytest.fixture
def chain(record: Lineage, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines of a chain that was asked for as JSON."""
    verbs.lineage("champion", json=True)
    return capsys.readouterr().out.splitlines()


def test_the_chain_is_shown_for_people(chain: list[str]) -> None:
    assert chain[0] == "version 7 (champion): lstm, lstm"
    assert any({"fit", "lstm"} <= set(line.split()) for line in chain[:-1])


def test_the_chain_is_given_as_json(chain: list[str], record: Lineage) -> None:
    found = json.loads(chain[-1])
    assert (found["version"], found["root"], found["findings"]) == (7, record.root, [])
    assert [row["stage"] for row in found["steps"]] == ["read", "tokens", "fit", "score"]
    assert found["sources"][0]["sha256"] == record.sources[0].sha256


def test_a_flipped_byte_is_an_error_after_the_chain_was_shown(
    record: Lineage,
    own_home: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = own_home / "store" / step_named(record, "tokens").key / "ids.bin"
    file.write_bytes(b"?" + file.read_bytes()[1:])
    with pytest.raises(Damaged, match=r"ids\.bin") as error:
        verbs.lineage("champion", verify=True)
    assert error.value.exit_code == 5
    out = capsys.readouterr().out
    assert f"changed: {file}" in out
    assert any({"tokens", "train", "changed"} <= set(line.split()) for line in out.splitlines())


STEP = {
    "stage": "tokens",
    "label": "train",
    "digest": "d1",
    "files": (),
    "identity": (),
    "seconds_then": 1.0,
    "seconds_now": 1.0,
    "figures": {},
    "equal": True,
}


def verdict(**other: Any) -> dict[str, Any]:
    return {
        "version": 7,
        "model": "lstm",
        "verdict": "bit-equal",
        "first_difference": None,
        "platform": [],
        "git_commit": "c0ffee",
        "same_code": True,
        "figures": [],
        "steps": [STEP],
        **other,
    }


def test_a_version_that_comes_out_differently_is_an_error_that_names_the_first_difference(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = {
        **STEP,
        "equal": False,
        "files": ("ids.bin",),
        "file": "ids.bin",
        "identity": ("version 1 then, 2 now",),
    }
    found = verdict(
        verdict="differs",
        steps=[first],
        first_difference=first,
        same_code=False,
    )
    monkeypatch.setattr(verbs, "run_flow", lambda *args, **kwargs: found)
    with pytest.raises(NotReproduced) as error:
        verbs.reproduce("champion")
    assert error.value.exit_code == 5
    assert "'tokens train'" in error.value.what
    assert error.value.where == "ids.bin"
    assert error.value.cause == "version 1 then, 2 now; the code is not that of commit c0ffee"
    assert "other code" in capsys.readouterr().out


def test_the_report_of_a_version_is_that_of_the_run_that_made_it(
    record: Lineage,
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    version = SimpleNamespace(version=7, tags={BUNDLE_TAG: "abc"})
    monkeypatch.setattr(
        "reviewlm.tracking.registry.opening.find", lambda *of: SimpleNamespace(version=version)
    )
    for run, bundle in (("other", "xyz"), ("made it", "abc")):
        folder = own_home / REPORTS / run
        folder.mkdir(parents=True)
        (folder / RECORD_FILE).write_text(
            json.dumps(
                {
                    "format": FORMAT,
                    "bundle": bundle,
                    "promoted": True,
                }
            )
        )
        (folder / REPORT_FILE).write_text("page")
    verbs.report("champion", json=True)
    shown = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert shown == {"version": 7, "report": str(own_home / REPORTS / "made it" / REPORT_FILE)}
    version.tags[BUNDLE_TAG] = "never reported"
    with pytest.raises(ArtifactError):
        verbs.report("champion")
