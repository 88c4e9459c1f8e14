"""The chain from raw files to a version: what changes its root, what is noticed, and what a person sees of it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import ArtifactError, Damaged
from core.lineage.check import Defect, present, require_whole, verify
from core.lineage.compare import compare, conclude
from core.lineage.record import Lineage
from core.lineage.tree import size_of, step_rows, tree_lines
from tests.core.made_lineage import made_lineage, step_named


def test_a_record_comes_back_from_json_as_it_was(tmp_path: Path) -> None:
    record, _ = made_lineage(tmp_path)
    again = Lineage.from_json(record.to_json())
    assert again == record
    assert again.root == record.root


def test_an_infinite_figure_survives_the_way_through_json(tmp_path: Path) -> None:
    record, _ = made_lineage(tmp_path)
    steps = (*record.steps[:-1], replace(record.steps[-1], facts={"perplexity": float("inf")}))
    text = replace(record, steps=steps).to_json()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert Lineage.from_json(text).steps[-1].facts == {"perplexity": float("inf")}


def test_the_same_bytes_in_another_home_at_another_time_have_the_same_root(tmp_path: Path) -> None:
    here, there = (made_lineage(tmp_path / name)[0] for name in ("here", "there"))
    assert step_named(here, "fit").files["metrics.jsonl"] != step_named(there, "fit").files["metrics.jsonl"]
    assert here.configuration != there.configuration
    assert here.root == there.root


def test_other_weights_another_raw_file_or_another_setting_give_another_root(tmp_path: Path) -> None:
    record, _ = made_lineage(tmp_path / "a")
    weights, _ = made_lineage(tmp_path / "b", weights="1 2 4")
    raw, _ = made_lineage(tmp_path / "c", raw="The food was cold.\n")
    setting = replace(record, configuration={**record.configuration, "seed": 2})
    assert len({each.root for each in (record, weights, raw, setting)}) == 4


def test_a_link_is_the_hash_of_what_a_stage_is_of_the_links_before_it_and_of_its_bytes(tmp_path: Path) -> None:
    record, _ = made_lineage(tmp_path)
    read, tokens = record.steps[:2]

    def link(step: object, inputs: dict[str, str], text: str, name: str) -> str:
        file = hashlib.sha256(text.encode()).hexdigest()
        stage = step.stage  # type: ignore[attr-defined]
        whole = {"files": {name: file}, "inputs": inputs, "options": {"of": stage}, "stage": stage, "version": 1}
        return hashlib.sha256(json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

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


def test_a_record_of_a_later_format_is_refused_and_so_is_anything_else(tmp_path: Path) -> None:
    record, _ = made_lineage(tmp_path)
    for text in (record.to_json().replace('"format": 1', '"format": 9'), "{}", "[]", "no JSON"):
        with pytest.raises(Damaged):
            Lineage.from_json(text)


def test_nothing_is_found_where_nothing_has_changed(tmp_path: Path) -> None:
    record, bundle = made_lineage(tmp_path)
    findings = verify(record, tmp_path / "store", bundle, record.root)
    assert findings == []
    require_whole(findings)


@pytest.mark.parametrize("stage", ["read", "tokens", "fit", "score"])
def test_one_flipped_bit_of_any_artifact_is_found_and_named(tmp_path: Path, stage: str) -> None:
    record, bundle = made_lineage(tmp_path)
    copy = shutil.copytree(bundle, tmp_path / "registered")  # the version's own bundle is whole
    step = step_named(record, stage)
    file = tmp_path / "store" / step.key / next(name for name in step.hashes if name != "bundle/spec.json")
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(content)
    findings = verify(record, tmp_path / "store", copy, record.root)
    assert findings == [Defect(step.key, "changed", str(file))]
    with pytest.raises(Damaged, match=file.name):
        require_whole(findings)


def test_a_bundle_a_raw_file_or_a_tag_that_changed_is_found(tmp_path: Path) -> None:
    record, bundle = made_lineage(tmp_path)
    copy = shutil.copytree(bundle, tmp_path / "registered")
    (copy / "weights").write_text("1 2 4")
    (tmp_path / "reviews.jsonl").write_text("other")
    findings = verify(record, tmp_path / "store", copy, "another root")
    assert [(one.key, one.state) for one in findings] == [
        ("record", "changed"), ("bundle", "changed"), (record.sources[0].sha256, "changed"),
    ]  # fmt: skip


def test_of_a_cleaned_store_the_chain_is_still_shown_with_what_is_gone(tmp_path: Path) -> None:
    record, bundle = made_lineage(tmp_path)
    copy = shutil.copytree(bundle, tmp_path / "registered")
    shutil.rmtree(tmp_path / "store")
    findings = present(record, tmp_path / "store")
    assert {one.key for one in findings} == {step.key for step in record.steps}
    lines = tree_lines(record, {one.key: one.state for one in findings})
    assert all(line.endswith("GONE") for line in lines if "─ file " not in line)
    with pytest.raises(ArtifactError, match="was deleted after") as error:
        require_whole(verify(record, tmp_path / "store", copy, record.root))
    assert not isinstance(error.value, Damaged)


def test_the_tree_leads_from_the_version_to_the_raw_file_and_draws_every_step_once(tmp_path: Path) -> None:
    record, _ = made_lineage(tmp_path)
    lines = tree_lines(record)
    assert lines[0].startswith(f"├─ fit lstm  {record.steps[2].digest}  content {record.steps[2].content[:12]}")
    assert [line.split()[-3] for line in lines if "reviews.jsonl  sha256" in line] == [record.sources[0].sha256[:12]]
    for step in record.steps:
        assert sum(step.digest in line and "see above" not in line for line in lines) == 1
    assert "c0ffee1" in lines[0]
    assert [row["stage"] for row in step_rows(record)] == ["read", "tokens", "fit", "score"]


def test_sizes_are_shown_in_the_unit_that_suits_them() -> None:
    assert [size_of(count) for count in (0, 1023, 1024, 5 << 20)] == ["0 B", "1023 B", "1.0 KiB", "5.0 MiB"]


def made_again(tmp_path: Path, **other: str) -> tuple[Lineage, list]:
    then, _ = made_lineage(tmp_path / "then")
    now, _ = made_lineage(tmp_path / "now", **other)
    return then, [compare(a, b, then.label(a)) for a, b in zip(then.steps, now.steps, strict=True)]


def test_made_again_with_the_same_bytes_it_is_bit_equal(tmp_path: Path) -> None:
    then, compared = made_again(tmp_path)
    verdict = conclude(then, compared, [], 0.01)
    assert verdict["verdict"] == "bit-equal"
    assert verdict["first_difference"] is None
    assert [(row["figure"], row["then"], row["now"]) for row in verdict["figures"]] == [("bits_per_byte", 1.25, 1.25)]


def test_the_first_stage_and_file_that_differ_are_named(tmp_path: Path) -> None:
    then, compared = made_again(tmp_path, weights="1 2 4")
    verdict = conclude(then, compared[:3], [], 0.01)  # it ends with the first that differs
    assert verdict["verdict"] == "differs"
    assert (verdict["first_difference"]["stage"], verdict["first_difference"]["file"]) == ("fit", "bundle/weights")
    assert verdict["first_difference"]["identity"] == ()


def test_what_was_cut_off_before_its_end_is_not_called_equal(tmp_path: Path) -> None:
    then, compared = made_again(tmp_path)
    assert conclude(then, compared[:-1], [], 0.01)["verdict"] == "differs"


def test_on_another_platform_figures_count_and_on_the_same_they_do_not(tmp_path: Path) -> None:
    then, compared = made_again(tmp_path, weights="1 2 4")
    close = [replace(one, figures={"bits_per_byte": (1.25, 1.255)} if one.figures else {}) for one in compared]
    far = [replace(one, figures={"bits_per_byte": (1.25, 1.3)} if one.figures else {}) for one in compared]
    other = ["torch: 2.12 then, 2.13 now"]
    assert conclude(then, close, other, 0.01)["verdict"] == "figures agree"
    assert conclude(then, far, other, 0.01)["verdict"] == "differs"
    assert conclude(then, close, [], 0.01)["verdict"] == "differs"
    assert conclude(then, compared[:2], other, 0.01)["verdict"] == "differs"  # no figure, no agreement


def test_another_option_version_or_input_is_told_in_words(tmp_path: Path) -> None:
    step = made_lineage(tmp_path)[0].steps[0]
    other = replace(step, version=2, options={"of": "read", "rows": {"max": 5}}, inputs={"file": "f00"})
    assert compare(step, other).identity == (
        "version 1 then, 2 now",
        "options: rows.max none then, 5 now",
        f'inputs: file "{step.inputs["file"][:59]} then, "f00" now',
    )
