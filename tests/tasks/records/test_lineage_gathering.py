"""The walk from an artifact to all that it was made of."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.store import Artifact
from reviewlm.tasks.execution.stage import run_stage
from reviewlm.tasks.records.gather import BUNDLE_SPEC, Gathering, lineage_of


def made(
    stage: str,
    inputs: dict[str, str],
    when: int,
    **facts: Any,
) -> Artifact:
    """An artifact of one file, made *when* seconds after 1970."""

    def make(work: Path) -> dict[str, Any]:
        (work / "file").write_text(f"{stage} {inputs}", encoding="utf-8")
        return facts

    artifact = run_stage(
        RunConfig().workspace,
        stage,
        {},
        inputs,
        make,
    ).artifact
    os.utime(artifact.folder, (when, when))
    return artifact


@pytest.mark.parametrize("newer", ["ours", "others"])
def test_of_equal_vocabularies_the_one_learnt_from_the_same_data_is_told(
    own_home: Path, newer: str
):
    ours, others = (made("prepare", {"dataset": name}, 1) for name in ("ours", "others"))
    when = {
        "ours": 1,
        "others": 1,
        newer: 2,
    }
    vocabulary = made(
        "vocabulary", {"clean": ours.digest}, when["ours"], vocabulary_digest="letters"
    )
    made("vocabulary", {"clean": others.digest}, when["others"], vocabulary_digest="letters")
    tokens = made("tokens", {"vocabulary": "letters", "clean": ours.digest}, 3)
    gathering = Gathering(RunConfig().home, SourceConfig())
    step = gathering.steps[gathering.add(tokens)]
    assert step.made_by["vocabulary"] == f"vocabulary/{vocabulary.digest}"
    assert [key for key in gathering.steps if key.startswith("prepare/")] == [
        f"prepare/{ours.digest}"
    ]


def test_the_record_names_the_folder_that_the_run_was_made_in(
    own_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    def make(work: Path) -> dict[str, Any]:
        (work / BUNDLE_SPEC).parent.mkdir()
        (work / BUNDLE_SPEC).write_text(json.dumps({"spec": {"name": "kn5", "kind": "ngram"}}))
        return {}

    fit = run_stage(
        RunConfig().workspace,
        "fit",
        {},
        {},
        make,
    ).artifact
    monkeypatch.chdir(tmp_path)
    here = lineage_of(RunConfig(), fit)
    monkeypatch.chdir("/")
    there = lineage_of(RunConfig(), fit)
    assert (here.folder, there.folder) == (str(tmp_path), "/")
    assert here.root == there.root, "where a run was made is no part of what it made"
