"""No damaged result of a remote store is used, and no manifest leads out of the store."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.manifest import read_manifest, write_manifest
from core.store import MANIFEST
from tests.core.storing.shared_machines import CONTENT, DIGEST, Machine, warnings_in
from tests.examples import examples


@examples(60)
@example(file=3, at=1, bit=0)
@example(file=3, at=2, bit=0)
@given(file=st.integers(0, 3), at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_flipped_bit_of_the_remote_store_is_ever_used(
    file: int, at: int, bit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("flipped")
    first, second, third = (Machine(folder / name, folder / "shared") for name in ("first", "second", "third"))
    first.build()
    target = sorted(path for path in (folder / "shared").rglob("*") if path.is_file())[file]
    content = bytearray(target.read_bytes() or b"more")
    content[at % len(content)] ^= 1 << bit
    target.write_bytes(content)
    assert not second.build().reused
    assert {name: second.files()[name] for name in CONTENT} == CONTENT
    assert third.build().reused, "the machine that noticed it has replaced it"
    assert third.files() == second.files()


@pytest.mark.parametrize("damage", ["missing", "cut", "longer"])
def test_an_incomplete_result_is_one_warning_and_is_built_and_replaced(
    damage: str, first: Machine, second: Machine, shared: Path, caplog: pytest.LogCaptureFixture
) -> None:
    entry = first.build().artifact.manifest["files"]["weights.bin"]
    file = shared / "fit" / DIGEST / entry["sha256"]
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(CONTENT["weights.bin"][:-1] if damage == "cut" else CONTENT["weights.bin"] * 2)
    assert not second.build().reused
    [warning] = warnings_in(caplog)
    assert DIGEST in warning
    assert "is damaged" in warning
    assert file.read_bytes() == CONTENT["weights.bin"]


def changed(files: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Path], None]:
    """Return what gives the manifest in the remote store other files, with a checksum that fits."""
    def change(file: Path) -> None:
        manifest = read_manifest(file)
        write_manifest(file, {**manifest, "files": files(manifest["files"])})

    return change


def renamed(name: str) -> Callable[[Path], None]:
    return changed(lambda files: {name: files["weights.bin"]})


def entry(**values: Any) -> Callable[[Path], None]:
    return changed(lambda files: {**files, "weights.bin": {**files["weights.bin"], **values}})


HOSTILE = {
    "above": renamed("../outside"), "above later": renamed("a/../../outside"), "absolute": renamed("/tmp/outside"),
    "no name": renamed(""), "dot": renamed("./weights.bin"), "doubled": renamed("deep//weights.bin"),
    "manifest": renamed(MANIFEST), "long": renamed("x" * 300), "nul": renamed("a\0b"),
    "file below file": changed(lambda files: {"a": files["weights.bin"], "a/b": files["weights.bin"]}),
    "key": entry(sha256="../../../../etc/passwd"), "no size": entry(bytes="9"), "negative": entry(bytes=-1),
    "small": entry(bytes=3), "huge": entry(bytes=1 << 62), "no entry": changed(lambda files: {"weights.bin": 3}),
    "none": changed(lambda files: None), "fewer": changed(lambda files: {"empty": files["empty"]}),
    "surrogate": lambda file: file.write_text(
        json.dumps({**read_manifest(file), "files": {"\udcff": read_manifest(file)["files"]["empty"]}})
    ),
    "text": lambda file: file.write_text("<html>"), "bytes": lambda file: file.write_bytes(b"\xff\xfe"),
    "deep": lambda file: file.write_text("[" * 100_000), "list": lambda file: file.write_text("[]"),
    "nothing": lambda file: file.write_text("{}"), "no files": lambda file: file.write_text('{"options": {}}'),
    "infinity": lambda file: file.write_text('{"version": NaN, "options": {}, "inputs": {}, "files": {}}'),
}
PLAIN = re.compile(rf"fit/{DIGEST}/(manifest\.json|[0-9a-f]{{64}})")
HARMLESS = {"fewer"}
"""What only a person who can compute checksums could do, with a result that lacks files."""


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_manifest_writes_nothing_and_the_result_is_built(
    case: str, first: Machine, second: Machine, shared: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first.build()
    HOSTILE[case](shared / "fit" / DIGEST / MANIFEST)
    before = {path for path in tmp_path.rglob("*") if second.root not in path.parents}
    taken = second.build()
    assert before | {second.root} == {path for path in tmp_path.rglob("*") if second.root not in path.parents}
    assert taken.reused == (case in HARMLESS)
    assert [key for key in second.objects.keys if not PLAIN.fullmatch(key)] == []
    if not taken.reused:
        assert second.files().keys() == {*CONTENT, MANIFEST}
        assert len(warnings_in(caplog)) == 1
