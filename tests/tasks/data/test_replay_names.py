"""The name of a replay comes from a version's record: it must not lead out of the home folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import Damaged
from tasks.data.ingest import replay_file

SOURCE = "0a" * 32


def test_a_replay_lies_below_the_home_folder(tmp_path: Path) -> None:
    assert replay_file(tmp_path, f"replay:{SOURCE}:3") == tmp_path / "replays" / SOURCE / "3.parquet"


@pytest.mark.parametrize("name", [
    "replay:../../etc:1", f"replay:{SOURCE}:../../x", "replay:/etc:1", f"replay:{SOURCE}:", f"replay:{SOURCE}:1:2",
    f"replay:{SOURCE}:-1", f"replay:{SOURCE[:-1]}:1", f"replay:{SOURCE}:1\n", f"replay:{SOURCE}:\u0661", "replay:", "",
])  # fmt: skip
def test_a_name_that_is_a_path_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Damaged, match="replay"):
        replay_file(tmp_path, name)
