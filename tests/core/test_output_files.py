"""An output is written whole or not at all, and never takes the place of what is no regular file."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reviewlm.cli import app
from reviewlm.core.errors import ArtifactError, ConfigError, NotWritable, StoreFull
from reviewlm.core.output import output_file, write_output

VERBS = {
    "synth": ["data", "synth", "--reviews", "20"],
    "export": ["data", "quarantine", "export"],
    "suggest": ["data", "checks", "suggest", "--table", "absent.parquet"],
}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def read_in_background(pipe: Path) -> Callable[[], bytes]:
    """Read a pipe until its writer closes it; a call waits for all of it."""
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()), daemon=True)
    reader.start()

    def result() -> bytes:
        reader.join(30)
        return found[0]

    return result


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, RuntimeError])
def test_a_block_that_ends_early_leaves_the_old_file_alone_in_its_folder(
    tmp_path: Path, error: type
) -> None:
    (tmp_path / "file").write_text("old")

    def write_half() -> None:
        with output_file(tmp_path / "file") as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        write_half()
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_a_pipe_is_written_into_instead_of_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    result = read_in_background(tmp_path / "pipe")
    write_output(tmp_path / "pipe", b"through")
    assert result() == b"through"
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert names(tmp_path) == ["pipe"]


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize(
    ("umask", "mode", "made"), [(0o077, None, 0o600), (0o007, None, 0o660), (0o022, 0o600, 0o600)]
)
def test_a_file_that_replaces_an_open_one_is_as_private_as_a_new_one(
    tmp_path: Path,
    linked: bool,
    umask: int,
    mode: int | None,
    made: int,
) -> None:
    file, named = tmp_path / "file", tmp_path / ("link" if linked else "file")
    before = os.umask(umask)
    try:
        file.write_text("of before")
        file.chmod(0o666)
        if linked:
            named.symlink_to(file)
        write_output(named, "reviews", mode)
    finally:
        os.umask(before)
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode), named.is_symlink()) == (
        "reviews",
        made,
        linked,
    )


@pytest.mark.parametrize(
    ("code", "kind", "advice"),
    [
        (errno.ENOSPC, StoreFull, "free some space, or name another place"),
        (errno.EROFS, NotWritable, "check the path and its permissions, or name another place"),
    ],
)
def test_the_error_of_a_full_or_read_only_disk_advises_what_helps(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    kind: type[ArtifactError],
    advice: str,
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(kind, match="file") as error:
        write_output(tmp_path / "file", "text")
    assert error.value.remedy == advice
    assert names(tmp_path) == []


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS.keys())
@pytest.mark.parametrize("place", ["folder", "file/below"])
def test_an_impossible_output_is_refused_before_any_work(
    tmp_path: Path,
    own_home: Path,
    verb: list[str],
    place: str,
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("here")
    result = CliRunner().invoke(app, [*verb, "--out", str(tmp_path / place)])
    assert isinstance(result.exception, ConfigError), result.exception
    assert "--out" in str(result.exception)
    assert not own_home.exists()
    assert (tmp_path / "file").read_text() == "here"
