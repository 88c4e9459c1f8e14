"""The chain from raw files to a version: what changes its root, what is noticed, and what a person sees of it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from reviewlm.core.errors import Damaged
from reviewlm.core.lineage import Defect, Lineage, StepComparison, conclude, require_whole, verify
from tests.core.made_lineage import made_lineage, step_named


def test_the_same_bytes_in_another_home_at_another_time_have_the_same_root(tmp_path: Path) -> None:
    here, there = (made_lineage(tmp_path / name)[0] for name in ("here", "there"))
    assert (
        step_named(here, "fit").files["metrics.jsonl"]
        != step_named(there, "fit").files["metrics.jsonl"]
    )
    assert here.configuration != there.configuration
    assert here.root == there.root


def test_other_weights_another_raw_file_or_another_setting_give_another_root(
    tmp_path: Path,
) -> None:
    record, _ = made_lineage(tmp_path / "a")
    weights, _ = made_lineage(tmp_path / "b", weights="1 2 4")
    raw, _ = made_lineage(tmp_path / "c", raw="The food was cold.\n")
    setting = replace(record, configuration={**record.configuration, "seed": 2})
    assert len({each.root for each in (record, weights, raw, setting)}) == 4


def test_a_link_hashes_the_stage_with_its_bytes_after_the_links_of_its_inputs(
    tmp_path: Path,
) -> None:
    record, _ = made_lineage(tmp_path)
    read, tokens = record.steps[:2]

    def link(
        step: object,
        inputs: dict[str, str],
        text: str,
        name: str,
    ) -> str:
        file = hashlib.sha256(text.encode()).hexdigest()
        stage = step.stage  # type: ignore[attr-defined]
        whole = {
            "files": {name: file},
            "inputs": inputs,
            "options": {"of": stage},
            "stage": stage,
            "version": 1,
        }
        return hashlib.sha256(
            json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()
        ).hexdigest()

    raw = "The food was great.\n"
    first = link(read, {"file": hashlib.sha256(raw.encode()).hexdigest()}, raw, "parts/0")
    assert record.links()[read.key] == first
    assert record.links()[tokens.key] == link(tokens, {"clean": first}, raw[::2], "ids.bin")


@pytest.mark.parametrize("name", ["seed", "version", "bytes", "created"])
def test_a_changed_line_of_the_record_is_noticed(tmp_path: Path, name: str) -> None:
    record, _ = made_lineage(tmp_path)
    changed, count = re.subn(rf'"{name}": [\d.]+', f'"{name}": 12345', record.to_json(), count=1)
    assert count == 1
    with pytest.raises(Damaged, match="checksum"):
        Lineage.from_json(changed, "here")


@pytest.mark.parametrize("stage", ["read", "tokens", "fit", "score"])
def test_one_flipped_bit_of_any_artifact_is_named(tmp_path: Path, stage: str) -> None:
    record, bundle = made_lineage(tmp_path)
    copy = shutil.copytree(bundle, tmp_path / "registered")  # the version's own bundle is whole
    step = step_named(record, stage)
    file = (
        tmp_path
        / "store"
        / step.key
        / next(name for name in step.hashes if name != "bundle/spec.json")
    )
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(content)
    findings = verify(record, tmp_path / "store", copy, record.root)
    assert findings == [Defect(step.key, "changed", str(file))]
    with pytest.raises(Damaged, match=file.name):
        require_whole(findings)


def made_again(tmp_path: Path, **other: str) -> tuple[Lineage, list]:
    then, _ = made_lineage(tmp_path / "then")
    now, _ = made_lineage(tmp_path / "now", **other)
    return then, [
        StepComparison(a, b, then.label(a)) for a, b in zip(then.steps, now.steps, strict=True)
    ]


def test_the_first_difference_is_named(tmp_path: Path) -> None:
    then, compared = made_again(tmp_path, weights="1 2 4")
    verdict = conclude(then, compared[:3], [], 0.01)  # it ends with the first that differs
    assert verdict["verdict"] == "differs"
    assert (verdict["first_difference"]["stage"], verdict["first_difference"]["file"]) == (
        "fit",
        "bundle/weights",
    )
    assert verdict["first_difference"]["identity"] == ()
