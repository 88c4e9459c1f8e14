"""An unusable input is refused by its first records, with the error of a run; what may be usable is left to the run."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from core.config.sections.source import SourceConfig
from core.errors import EmptyInput, InputError, MissingColumn, Unreadable
from corpus.ingestion import first_look, ingest
from corpus.ingestion.first_look import require_usable

GOOD = b'{"text": "fine", "review_id": "a"}\n'


def packed(name: str, content: bytes) -> bytes:
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w:gz") as archive:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        return file.getvalue()


UNUSABLE: list[tuple[str, bytes, type[InputError]]] = [
    ("r.csv", b"id,body,score\n1,nice,5\n", MissingColumn),
    ("r.csv.gz", gzip.compress(b"id,body,score\n1,nice,5\n"), MissingColumn),
    ("r.tar.gz", packed("yelp/review.json", b'{"body": "nice"}\n'), MissingColumn),
    ("r.tar.gz", packed("readme.md", b"nothing"), EmptyInput),
    ("r.json", b"[", Unreadable),
    ("r.json.gz", b"\x1f\x8b nonsense", Unreadable),
    ("r.jsonl", '{"text": "wide"}'.encode("utf-16"), Unreadable),
    ("r", b"\x7fELF", Unreadable),
]


@pytest.mark.parametrize(("name", "content", "kind"), UNUSABLE, ids=[str(number) for number in range(len(UNUSABLE))])
def test_the_error_is_that_of_the_run(tmp_path: Path, name: str, content: bytes, kind: type[InputError]) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / name).write_bytes(content)
    with pytest.raises(kind) as early:
        require_usable([folder / name], SourceConfig())
    with pytest.raises(kind) as late:
        ingest.ingest([folder / name], tmp_path / "out", SourceConfig())
    assert (early.value.what, early.value.where) == (late.value.what, late.value.where)
    assert (early.value.value, early.value.cause) == (late.value.value, late.value.cause)
    if Path(name).suffix:  # of a folder, only files named like data are read
        with pytest.raises(kind):
            require_usable([folder], SourceConfig())


def test_only_beginnings_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "BLOCK_BYTES", 1000)
    large, broken = tmp_path / "a.jsonl", tmp_path / "b.csv"
    large.write_bytes(10_000 * GOOD)
    broken.write_bytes(b"id,body\n1,nice\n")
    monkeypatch.setattr(first_look, "MOST_BYTES", 1)
    require_usable([large, broken], SourceConfig())  # `broken` is left to the run
    monkeypatch.setattr(first_look, "MOST_BYTES", 10_000)
    with pytest.raises(MissingColumn):
        require_usable([large, broken], SourceConfig())
    cut = tmp_path / "r.jsonl.gz"
    cut.write_bytes(gzip.compress(100_000 * GOOD)[:-20])
    require_usable([cut], SourceConfig())
