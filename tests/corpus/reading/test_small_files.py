"""One review a file: many small files are read as few archives, and give what each of them gives alone."""

import gzip

import orjson
import pytest

from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.errors import Unreadable
from reviewlm.corpus.account import Account, Outcome
from reviewlm.corpus.ingestion.ingest import read_source
from reviewlm.corpus.reading import sources as packs
from reviewlm.corpus.reading.sources import all_sources
from tests.corpus.data_sets import ingested
from tests.corpus.review_files import as_parquet, json_lines, packed_tar, review


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """More than five small files are many, and an archive holds eight on average."""
    monkeypatch.setattr(packs, "MANY_SMALL_FILES", 5)
    monkeypatch.setattr(packs, "FILES", 8)


def put(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def one_by_one(
    folder,
    out,
    monkeypatch,
):
    with monkeypatch.context() as patch:
        patch.setattr(packs, "MANY_SMALL_FILES", 10_000)
        return ingested([folder], out)


BAD = b'{"review_id": "bad", "text": "a", "stars": "five"}\n'
KINDS = {
    "a.txt": b"First.\n\nThird.\n",
    "b.txt": b"\xef\xbb\xbfNo end",
    "c.jsonl": json_lines([review(1)]) + BAD,
    "d.json": orjson.dumps(review(2)),
    "e.json": orjson.dumps(review(3), option=orjson.OPT_INDENT_2),
    "f.json": orjson.dumps([review(4), review(5)]),
    "g.csv": b"text,stars\nGood.,4\nbad\n",
    "h.tsv": b"text\tstars\na\t1\n",
    "i.parquet": as_parquet([review(6)]),
    "j.txt.gz": gzip.compress(b"Packed.\n"),
    "k.txt": b"",
    "l.tar": packed_tar({"x.jsonl": json_lines([review(7)]), "y.txt": b"Member.\n"}),
    "m.txt": b"caf\xe9\nfine\n",
    "n.jsonl": b"\n" + BAD + b"\n" + json_lines([review(8)])[:-1],
    "o/stars=4/p.txt": b"Folder.\n",
    "o/stars=5/p.txt": b"Folder.\n",
    "q.jsonl": json_lines([review(9)]).replace(b"\n", b"\r\n"),
}


def test_files_of_every_kind_give_what_they_give_alone(tmp_path, monkeypatch):
    """Rows, quarantine, names and lines; only the order of the rows is another one."""
    put(tmp_path / "in", KINDS)
    facts, rows, bad = ingested([tmp_path / "in"], tmp_path / "packed")
    alone, same_rows, same_bad = one_by_one(tmp_path / "in", tmp_path / "alone", monkeypatch)
    place = ["source", "line"]
    assert rows.drop("review_id").sort(place).equals(same_rows.drop("review_id").sort(place))
    assert bad.sort(place).equals(same_bad.sort(place))
    assert {name: facts[name] for name in ("records", "rows", "quarantined", "duplicates")} == {
        name: alone[name] for name in ("records", "rows", "quarantined", "duplicates")
    }
    assert len(facts["sources"]) < len(alone["sources"]) == len(KINDS)


def texts(count):
    return {f"{number:04d}.txt": f"Review number {number}.\n".encode() for number in range(count)}


def test_a_file_that_comes_changes_or_goes_changes_one_archive(tmp_path):
    folder = put(tmp_path / "in", texts(80))
    before = {source.sha256 for source in all_sources([folder])}
    assert 4 <= len(before) <= 20
    for change in (
        lambda: put(folder, {"0040a.txt": b"New.\n"}),
        lambda: put(folder, {"0040a.txt": b"Changed.\n"}),
        lambda: put(folder, {"00.txt": b"The first.\n"}),
        (folder / "0040a.txt").unlink,
    ):
        change()
        after = {source.sha256 for source in all_sources([folder])}
        assert len(after - before) == 1
        before = after


def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path):
    [source, *_] = all_sources([put(tmp_path / "in", texts(20))])
    (tmp_path / "in" / "0000.txt").write_bytes(b"Other.\n")
    with pytest.raises(Unreadable, match="changed while"):
        read_source(source, tmp_path / "out", SourceConfig())
    (tmp_path / "in" / "0000.txt").unlink()
    with pytest.raises(Unreadable, match=r"0000\.txt"):
        read_source(source, tmp_path / "out", SourceConfig())


def test_a_damaged_file_is_set_aside_alone_with_its_bytes(tmp_path):
    damaged = {
        "x.txt.gz": gzip.compress(b"Packed.\n")[:-9],
        "y.txt": b"version https://git-lfs.github.com/spec/v1\noid",
        "z.json": b'[{"text": "a"}, {"te',
        "w.json": b'{"text": {"0": "a"}}',
    }
    facts, rows, bad = ingested([put(tmp_path / "in", {**texts(30), **damaged})], tmp_path / "out")
    assert (facts["rows"], facts["reasons"]) == (30, {"unreadable_file": 4})
    assert {row["source"]: row["raw"] for row in bad.iter_rows(named=True)} == damaged
    assert rows["source"].n_unique() == 30


def test_the_account_of_packed_files_counts_damaged_ones_as_files(tmp_path):
    files = {f"{n:02d}.jsonl": json_lines([review(n)]) for n in range(12)}
    cut = gzip.compress(json_lines([review(20)]))[:-9]
    put(
        tmp_path / "in",
        {
            **files,
            "bad.jsonl": BAD,
            "cut.jsonl.gz": cut,
        },
    )
    facts, rows, _ = ingested([tmp_path / "in"], tmp_path / "out")
    account = Account.from_dict(facts["account"])
    assert (account.read, account.used, rows.height) == (13, 12, 12)
    assert account.kinds(Outcome.SET_ASIDE) == {"bad_stars": 1}
    assert account.kinds(Outcome.NOT_READ) == {"unreadable_file": 1}


def test_of_packed_files_the_one_that_restates_another_stays(tmp_path):
    files = {f"{n:02d}.jsonl": json_lines([review(n)]) for n in range(12)}
    restated = json_lines([{**review(3), "text": "Restated."}])
    put(tmp_path / "in", {**files, "03 (1).jsonl": restated})
    _, rows, _ = ingested([tmp_path / "in"], tmp_path / "out")
    assert rows.filter(review_id="id-0003")["text"].to_list() == ["Restated."]
