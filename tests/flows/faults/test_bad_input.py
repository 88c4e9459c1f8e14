"""Bad input ends in a clear error with its exit code, or in the quarantine; never in a library's traceback."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from tests.command_line import Done, call

pytestmark = pytest.mark.slow
TINY = str(Path(__file__).parents[1] / "tiny.toml")


def reviews(count: int) -> list[dict[str, object]]:
    return [
        {
            "review_id": f"review-{n:05d}",
            "stars": n % 5 + 1,
            "text": f"Meal number {n} was fine, thank you.",
            "date": "2019-05-01 10:00:00",
        }
        for n in range(count)
    ]


def write_lines(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path


@pytest.fixture
def reviewlm(
    prefect_server: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Callable[..., Done]:
    """The command line in this process, against the test server: `reviewlm(verb, input, home)`."""

    def ask(
        verb: str,
        input: Path,
        home: Path = tmp_path / "home",
    ) -> Done:
        monkeypatch.setenv("REVIEWLM_HOME", str(home))
        return call(
            monkeypatch,
            capfd,
            *verb.split(),
            "--preset",
            TINY,
            "--json",
            "--input",
            input,
        )

    return ask


def assert_refused(done: Done, code: int, *said: str) -> None:
    message = done.err[done.err.rfind("error: ") :]
    assert done.code == code, done.err[-3000:]
    for words in said:
        assert words in message
    assert "Traceback" not in message


@pytest.mark.drill(
    "poison file", "three unusable records among 300", "3 in quarantine with their bytes, 297 used"
)
def test_unusable_records_among_others_go_to_the_quarantine(
    reviewlm: Callable[..., Done], tmp_path: Path
) -> None:
    """A review of a million characters, stars in a word, and bytes of Latin-1."""
    rows = reviews(300)
    rows[10]["text"] = "long " * 200_000
    rows[20]["stars"] = "five"
    lines = [json.dumps(row).encode() for row in rows]
    lines[30] = '{"review_id": "x", "stars": 4, "text": "Café", "date": "2019-01-01"}'.encode(
        "latin-1"
    )
    path = tmp_path / "mixed.jsonl"
    path.write_bytes(b"\n".join(lines))
    done = reviewlm("data ingest", path)
    assert done.code == 0, done.err[-3000:]
    assert (done.facts["rows"], done.facts["quarantined"]) == (297, 3)
    assert f"quarantine show --input {path}`" in " ".join(done.err.split())
    quarantine = pl.read_parquet(Path(done.facts["folder"]) / "quarantine.parquet").sort("line")
    assert quarantine["line"].to_list() == [11, 21, 31]
    assert b"Caf\xe9" in quarantine["raw"][2]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of eight megabytes, where we may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs the rights to do so")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


@pytest.mark.drill(
    "disk full", "a real file system of 8 MB", "exit code 5; the previous data set is whole"
)
def test_the_previous_data_set_stays_whole_when_the_disk_is_full(
    reviewlm: Callable[..., Done],
    tmp_path: Path,
    small_disk: Path,
) -> None:
    home = small_disk / "home"
    first = reviewlm("data ingest", write_lines(tmp_path / "first.jsonl", reviews(300)), home)
    assert first.code == 0, first.err[-2000:]
    long = [{**row, "text": f"{row['text']} {os.urandom(2000).hex()}"} for row in reviews(6_000)]
    assert_refused(
        reviewlm("data ingest", write_lines(tmp_path / "second.jsonl", long), home), 5, "space"
    )
    assert len(list((home / "store" / "ingest").iterdir())) == 1
