"""Ingestion of damaged files, on full disks and in bounded memory."""

import contextlib
import errno
import gzip
import hashlib
import os
import tempfile
from pathlib import Path

import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.errors import NotWritable, ReviewLMError, StoreFull, Unreadable
from reviewlm.core.store import Store
from reviewlm.corpus.ingestion.build_dataset import DATASET_FILE, assemble
from reviewlm.corpus.ingestion.ingest import PartWriter, iter_parts, read_source
from reviewlm.corpus.ingestion.parts import SourceReading
from reviewlm.corpus.reading.sources import identify
from tests.corpus.data_sets import ingest
from tests.corpus.review_files import FILES, ingested
from tests.corpus.review_lines import line
from tests.examples import examples
from tests.marked_cases import long_but

CONFIG = SourceConfig(part_rows=50)
PARTS_OF_300 = [45] * 6


def content(count, length=0):
    """Reviews of which every tenth repeats an id, so that parts are written anew, and one is bad."""
    rows = [
        line(review_id=f"r{n - n % 10 // 9}", text=f"{n} {os.urandom(length // 2).hex()}")
        for n in range(count)
    ]
    return b"\n".join([*rows, b"{broken"]) + b"\n"


@pytest.fixture
def file(tmp_path):
    (tmp_path / "r.jsonl").write_bytes(content(300))
    return tmp_path / "r.jsonl"


def tree(folder):
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def built(store, path):
    """Ingest into a store, as the tasks do."""
    source = identify(path, path.name, store.root / ".files")
    read = store.build(
        "read",
        1,
        {"name": source.name},
        {"file": source.sha256},
        lambda work: read_source(source, work, CONFIG).facts,
    ).artifact
    return store.build(
        "ingest",
        1,
        {},
        {"read": read.digest},
        lambda work: assemble(work, [source], {source.sha256: SourceReading(read.folder)}),
    ).artifact


def finished(store):
    return {
        path: value
        for path, value in tree(store.root).items()
        if path.relative_to(store.root).parts[0][0] != "."
    }


@pytest.fixture
def previous(tmp_path):
    """A store that holds a data set, with what its files hold."""
    (tmp_path / "old.jsonl").write_bytes(content(120))
    store = Store(tmp_path / "store")
    built(store, tmp_path / "old.jsonl")
    return store, finished(store)


class Disk:
    """Lets the n-th call of a function that writes fail."""

    def __init__(
        self,
        monkeypatch,
        where,
        name,
        error,
        after,
    ):
        self.calls, self.after, self.error = 0, after, error
        self.real = getattr(where, name)
        monkeypatch.setattr(where, name, self)

    def __get__(self, path, kind=None):
        return lambda *arguments, **options: self(path, *arguments, **options)

    def __call__(self, *arguments, **options):
        self.calls += 1
        if self.calls > self.after:
            raise OSError(self.error, os.strerror(self.error))
        return self.real(*arguments, **options)


@pytest.mark.slow
@pytest.mark.drill(
    "disk full",
    "no space at many writes of ingestion",
    "exit code 5; the previous data set is whole; the next run completes",
)
@pytest.mark.parametrize("after", long_but(range(0, 30, 3), {0, 9, 21}))
@pytest.mark.parametrize("name", ["write_bytes", "replace", "mkdir"])
def test_a_disk_that_fills_up_anywhere_leaves_the_previous_data_set_whole(
    previous,
    file,
    monkeypatch,
    name,
    after,
):
    store, before = previous
    with monkeypatch.context() as patch:
        disk = Disk(
            patch,
            Path,
            name,
            errno.ENOSPC,
            after,
        )
        try:
            built(store, file)
            assert disk.calls <= after
        except StoreFull:
            assert disk.calls > after
    assert before.items() <= finished(store).items()
    done = built(store, file)
    store.verify(done)
    assert done.facts["records"] == 301


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_folder_that_cannot_be_written_is_an_error_of_the_store(
    previous,
    file,
    monkeypatch,
    code,
):
    store, before = previous
    with monkeypatch.context() as patch:
        Disk(
            patch,
            Path,
            "write_bytes",
            code,
            0,
        )
        with pytest.raises(NotWritable, match="store"):
            built(store, file)
    assert finished(store) == before


@pytest.mark.slow
@pytest.mark.parametrize("after", range(0, 10, 3))
def test_a_repeated_ingestion_into_one_folder_never_shows_a_mixture(
    file,
    tmp_path,
    monkeypatch,
    after,
):
    old = ingest([file], tmp_path / "out", CONFIG)
    file.write_bytes(content(200))
    with monkeypatch.context() as patch:
        Disk(
            patch,
            Path,
            "write_bytes",
            errno.ENOSPC,
            after,
        )
        with pytest.raises(StoreFull):
            ingest([file], tmp_path / "out", CONFIG)
    if (tmp_path / "out" / DATASET_FILE).exists():
        assert [part.height for part in iter_parts(tmp_path / "out")] == PARTS_OF_300
        assert old["rows"] == sum(PARTS_OF_300)
    facts = ingest([file], tmp_path / "out", CONFIG)
    assert (facts["records"], len(facts["sources"][0]["parts"])) == (
        201,
        len(list((tmp_path / "out/parts").iterdir())),
    )


def changes_while_read(monkeypatch, change):
    """Let something happen to the file after its second block."""
    import reviewlm.corpus.ingestion.ingest

    real, blocks = reviewlm.corpus.ingestion.ingest.read, []

    def read(path, *rest):
        for block in real(path, *rest):
            yield block
            blocks.append(block)
            if len(blocks) == 2:
                change(path)

    monkeypatch.setattr("reviewlm.corpus.ingestion.ingest.BLOCK_BYTES", 3000)
    monkeypatch.setattr("reviewlm.corpus.ingestion.ingest.read", read)


def grow(path):
    with path.open("ab") as file:
        file.write(line())


def rewrite(path):
    size = path.stat().st_size
    path.write_bytes(b" " * size)


@pytest.mark.parametrize(
    "change",
    [grow, rewrite, lambda path: os.truncate(path, 9000), Path.unlink],
    ids=["grows", "is rewritten", "is cut off", "is removed"],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_changes_while_it_is_read_is_refused(
    previous,
    tmp_path,
    monkeypatch,
    change,
    packed,
):
    store, before = previous
    path = tmp_path / ("r.jsonl.gz" if packed else "r.jsonl")
    path.write_bytes(gzip.compress(content(900, 60)) if packed else content(300))
    changes_while_read(monkeypatch, change)
    with pytest.raises(
        Unreadable, match=r"(?s)(changed while it was being read|cannot be read).*r\.jsonl"
    ):
        built(store, path)
    assert finished(store) == before


@pytest.mark.parametrize("stars", ["five", 5])
def test_neither_bad_records_nor_long_texts_pile_up_until_a_part_is_full(
    tmp_path,
    monkeypatch,
    stars,
):
    monkeypatch.setattr("reviewlm.corpus.ingestion.ingest.BLOCK_BYTES", 1 << 16)
    monkeypatch.setattr("reviewlm.corpus.ingestion.ingest.PART_BYTES", 1 << 18)
    records = [
        {
            "review_id": f"r{n}",
            "text": "long " * 1000,
            "stars": stars,
        }
        for n in range(400)
    ]
    lines = [orjson.dumps(record) for record in [*records, {"review_id": "last", "text": "good"}]]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    held = []
    whole = PartWriter.add

    def add(self, block):
        whole(self, block)
        held.append(sum(frame.height for frame in self.good))

    monkeypatch.setattr(PartWriter, "add", add)
    facts = ingest([tmp_path / "a.jsonl"], tmp_path / "out", SourceConfig())
    assert facts["records"] == 401
    assert (facts["rows"], facts["quarantined"]) == ((1, 400) if stars == "five" else (401, 0))
    assert pl.read_parquet(tmp_path / "out" / "quarantine.parquet")["line"].to_list() == (
        list(range(1, 401)) if stars == "five" else []
    )
    assert max(held) < 80


damage = st.tuples(
    st.sampled_from(["put", "cut", "end", "again"]),
    st.floats(0, 1),
    st.sampled_from([b'"', b"\n", b"\x00", b"\xff", b"{", b",", b"\\", b"\xef\xbb\xbf", b"\n\n"]),
    st.integers(1, 60),
)


@pytest.mark.drill(
    "poison file", "damaged files of each format", "a clear error, or every record accounted for"
)
@given(st.sampled_from(sorted(FILES)), st.lists(damage, min_size=1, max_size=3))
@examples(80)
def test_a_damaged_file_ends_in_our_error_or_in_a_full_account(name, damages):
    content = FILES[name]
    for kind, share, sign, length in damages:
        place = int(share * len(content))
        rest = {
            "put": sign + content[place:],
            "cut": content[place + length :],
            "end": b"",
            "again": content[max(place - length, 0) :],
        }[kind]
        content = content[:place] + rest
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(ReviewLMError):
        facts, frame, quarantine = ingested(Path(folder), (name, content), part_rows=50)
        assert facts["records"] == frame.height + quarantine.height
        assert frame["review_id"].n_unique() == frame.height
