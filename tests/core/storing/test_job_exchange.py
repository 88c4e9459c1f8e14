"""Two machines exchange a job through a remote store: whole files, in their folder, whatever else is written there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.storing.job_exchange import JobExchange
from core.storing.objects import FolderObjects, Objects, RemoteError
from tests.s3_server import BUCKET, s3_server


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server():
        yield f"s3://{BUCKET}/results"


@pytest.fixture(params=["folder", "S3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "folder":
        (tmp_path / "shared").mkdir()
        return FolderObjects(tmp_path / "shared")
    from core.storing.object_store import StoredObjects

    return StoredObjects(f"{request.getfixturevalue('bucket')}/{request.node.name}")


def pair(objects: Objects) -> tuple[JobExchange, JobExchange]:
    return JobExchange(objects, "fit-1"), JobExchange(objects, "fit-1")


def folder_of(path: Path, **files: str) -> Path:
    for name, text in files.items():
        file = path / name.replace("__", "/").replace("_dot_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return path


def files_of(folder: Path) -> dict[str, str]:
    return {file.relative_to(folder).as_posix(): file.read_text() for file in folder.rglob("*") if file.is_file()}


def test_a_folder_arrives_whole_and_later_files_replace_earlier_ones(objects: Objects, tmp_path: Path) -> None:
    here, there = pair(objects)
    sent = folder_of(tmp_path / "sent", checkpoints__1="one", metrics_dot_jsonl="a\n", empty="")
    here.send_folder("work", sent, tmp_path / "copies")
    assert there.receive_folder("work", tmp_path / "received")
    assert files_of(tmp_path / "received") == {"checkpoints/1": "one", "metrics.jsonl": "a\n", "empty": ""}
    (sent / "checkpoints" / "1").unlink()
    folder_of(sent, checkpoints__2="two", metrics_dot_jsonl="a\nb\n")
    here.send_folder("work", sent, tmp_path / "copies")
    there.receive_folder("work", tmp_path / "again")
    assert files_of(tmp_path / "again") == {"checkpoints/2": "two", "metrics.jsonl": "a\nb\n", "empty": ""}
    assert not (tmp_path / "copies").exists()


class Store(FolderObjects):
    """A folder that notes what is written."""

    def __init__(self, root: Path) -> None:
        root.mkdir()
        super().__init__(root)
        self.written: list[str] = []

    def write(self, key: str, content: Path | bytes) -> None:
        self.written.append(key)
        super().write(key, content)


def test_the_files_of_the_last_list_stay_until_the_next_one_is_there(tmp_path: Path) -> None:
    objects = Store(tmp_path / "shared")
    here, there = pair(objects)
    sent = tmp_path / "sent"
    for number in range(5):
        listed = there.read("work")
        folder_of(sent, checkpoint=f"number {number}")
        here.send_folder("work", sent, tmp_path / "copies")
        if listed:  # a reader who read the list before this one was written
            assert b"".join(objects.read(listed["files"]["checkpoint"]["key"])) == f"number {number - 1}".encode()
    kept = [file for file in (tmp_path / "shared").rglob("checkpoint")]
    assert len(kept) == 2, "older ones do not pile up"


@pytest.mark.parametrize("name", ["../stolen", "/tmp/stolen", "a/../../stolen", "", "a\0b"])
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    here, there = pair(Store(tmp_path / "shared"))
    here.send_folder("work", folder_of(tmp_path / "sent", a="a"), tmp_path / "copies")
    [entry] = here.read("work")["files"].values()  # type: ignore[index]
    here.write("work", {"files": {name: entry}})
    with pytest.raises(RemoteError, match="cannot be the name"):
        there.receive_folder("work", tmp_path / "received")
    assert not (tmp_path / "stolen").exists()


@pytest.mark.parametrize("content", ["b", "longer than it was", ""])
def test_a_file_that_differs_from_its_list_is_refused(tmp_path: Path, content: str) -> None:
    here, there = pair(Store(tmp_path / "shared"))
    here.send_folder("work", folder_of(tmp_path / "sent", a="a"), tmp_path / "copies")
    [file] = (tmp_path / "shared").rglob("a")
    file.write_text(content)
    with pytest.raises(RemoteError, match="differs from its list"):
        there.receive_folder("work", tmp_path / "received")
    assert files_of(tmp_path / "received") == {}
