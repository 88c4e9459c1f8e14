"""Two homes and one bucket: what one has run, the other takes over whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.manifest import read_manifest
from core.store import MANIFEST
from core.storing.remote import remote_store
from tests.flows.first_run import run_in
from tests.s3_server import BUCKET, s3_server

pytestmark = [pytest.mark.slow, pytest.mark.long]


def stored(home: Path) -> dict[str, dict[str, object]]:
    """Return the files of all finished results, with size and SHA-256."""
    store = home / "store"
    return {
        str(file.parent.relative_to(store)): read_manifest(file)["files"]
        for file in store.glob(f"[!.]*/*/{MANIFEST}")
    }


def test_a_second_home_re_uses_every_stage_of_the_first(
    prefect_server: None, tmp_path: Path, template_home: Path
) -> None:
    homes = [Path(shutil.copytree(template_home, tmp_path / name)) for name in ("first", "second")]
    with s3_server():
        remote_store.cache_clear()
        first, second = (run_in(home, f"execution.remote_store=s3://{BUCKET}/results") for home in homes)
        remote_store.cache_clear()
    assert first["reused"] == []
    assert len(second["reused"]) == second["stages"] == first["stages"]
    assert second["promoted"] is True, "the second home has a registry of its own"
    figures = ("name", "test", "validation")
    assert [[model[f] for f in figures] for model in second["models"]] == [
        [model[f] for f in figures] for model in first["models"]
    ]
    assert len(stored(homes[0])) > 50
    assert stored(homes[1]) == stored(homes[0])
