"""What is no review, and what the names of folders say about one, in every format."""

import orjson
import polars as pl
import pytest

from reviewlm.core.errors import MissingColumn, Unreadable
from reviewlm.corpus.reading.field_names import folder_fields, likely_field
from reviewlm.corpus.reading.sources import source_names
from tests.corpus.data_sets import ingested
from tests.corpus.review_files import in_formats, packed_tar, packed_zip

FORMATS = list(in_formats([{"text": "a"}]))
KINDS = ["review", "tip", "user", "Business", "checkin", "photo", "restaurant", None]


@pytest.mark.parametrize("name", FORMATS)
def test_other_records_of_yelps_older_files_are_no_reviews(tmp_path, name):
    records = [
        {
            "review_id": str(kind),
            "type": kind,
            "text": "Try the soup.",
        }
        for kind in KINDS
    ]
    (tmp_path / name).write_bytes(in_formats(records)[name])
    _, rows, bad = ingested([tmp_path / name], tmp_path / "out")
    assert rows["review_id"].to_list() == ["review", "restaurant", "None"]
    assert set(bad["reason"]) == {"not_a_record"}
    assert [
        kind for kind, detail in zip(KINDS[1:6], bad["detail"], strict=True) if kind in detail
    ] == KINDS[1:6]
    assert all(b"Try the soup." in raw for raw in bad["raw"])


class TestFolders:
    """`stars=5/part-0.parquet`: Spark and Hive leave the column by which they divide a table out of its files."""

    @pytest.mark.parametrize(
        ("source", "fields"),
        [
            ("stars=5/a.json", {"stars": "5"}),
            ("a/stars=5/year=2024/b.csv", {"stars": "5", "year": "2024"}),
            ("x.tar:in/stars=5/a.json", {"stars": "5"}),
            ("x.tar:stars=5/a.json", {"stars": "5"}),
            ("city=M%C3%BCnchen%2FOst/a.txt", {"city": "München/Ost"}),
            ("stars=__HIVE_DEFAULT_PARTITION__/a.txt", {}),
            ("a/stars=5.json", {}),
            ("=5/a", {}),
            ("stars=/a", {}),
        ],
    )
    def test_folders_name_the_fields_of_their_records(self, source, fields):
        assert folder_fields(source) == fields

    @pytest.mark.parametrize("name", [*FORMATS, "r.txt"])
    def test_give_what_the_file_lacks_in_every_format(self, tmp_path, name):
        lacking = [{"review_id": "a", "text": "Good."}, {"review_id": "b", "text": "Fine."}]
        for stars in (1, 5):
            folder = tmp_path / "in" / "business_id=b%2F1" / f"stars={stars}"
            folder.mkdir(parents=True)
            records = [{**one, "review_id": f"{one['review_id']}{stars}"} for one in lacking]
            content = b"Good.\nFine.\n" if name == "r.txt" else in_formats(records)[name]
            (folder / name).write_bytes(content)
        _, rows, _ = ingested([tmp_path / "in"], tmp_path / "out")
        assert rows["stars"].to_list() == [1.0, 1.0, 5.0, 5.0]
        assert set(rows["business_id"]) == {"b/1"}

    def test_a_value_in_the_record_has_priority_over_the_name(self, tmp_path):
        for folder, record in (
            ("stars=5", {"text": "a", "stars": 2}),
            ("stars=many", {"text": "b"}),
        ):
            (tmp_path / "in" / folder).mkdir(parents=True)
            (tmp_path / "in" / folder / "r.jsonl").write_bytes(orjson.dumps(record))
        _, rows, bad = ingested([tmp_path / "in"], tmp_path / "out")
        assert rows["stars"].to_list() == [2.0]
        assert bad.select("reason", "raw").rows() == [("bad_stars", b'{"text":"b"}')]

    @pytest.mark.parametrize("given", ["in/stars=5", "in/stars=5/r.txt", "in/*/r.txt", "in", "."])
    def test_count_wherever_the_input_begins(
        self,
        tmp_path,
        monkeypatch,
        given,
    ):
        (tmp_path / "in" / "stars=5").mkdir(parents=True)
        (tmp_path / "in" / "stars=5" / "r.txt").write_text("Good.\n")
        monkeypatch.chdir(tmp_path)
        assert next(iter(source_names([given]).values())).endswith("stars=5/r.txt")
        assert ingested([given], tmp_path / "out")[1]["stars"].to_list() == [5.0]

    @pytest.mark.parametrize("pack", [packed_tar, packed_zip])
    def test_of_archives_too(self, tmp_path, pack):
        (tmp_path / "all").write_bytes(
            pack({f"in/stars={stars}/r.txt": b"Same.\n" for stars in (1, 5)})
        )
        assert ingested([tmp_path / "all"], tmp_path / "out")[1]["stars"].to_list() == [1.0, 5.0]

    def test_the_same_bytes_in_two_of_them_are_two_files(self, tmp_path):
        for stars in (1, 5):
            (tmp_path / "in" / f"stars={stars}").mkdir(parents=True)
            (tmp_path / "in" / f"stars={stars}" / "r.txt").write_text("Same.\n")
        facts, rows, _ = ingested([tmp_path / "in"], tmp_path / "out")
        assert (facts["copied"], rows["stars"].to_list()) == (0, [1.0, 5.0])

    def test_a_field_of_another_name_may_be_there(self, tmp_path):
        (tmp_path / "in" / "rating=4").mkdir(parents=True)
        (tmp_path / "in" / "rating=4" / "r.csv").write_text("text\nGood.\n")
        _, rows, _ = ingested([tmp_path / "in"], tmp_path / "out", fields={"stars": "rating"})
        assert rows["stars"].to_list() == [4.0]
        with pytest.raises(MissingColumn):
            ingested([tmp_path / "in"], tmp_path / "other", fields={"stars": "score"})


FRAME = pl.DataFrame(
    {
        "review_id": [f"r{n}" for n in range(9)],
        "text": ["good"] * 9,
        "stars": [4.0] * 9,
    }
)


def as_pandas(orient):
    return FRAME.to_pandas().to_json(orient=orient)


@pytest.mark.parametrize("name", ["r.json", "r.jsonl", "r.json.gz", "no_suffix"])
@pytest.mark.parametrize("orient", ["columns", "index", "split", "values"])
@pytest.mark.parametrize("most", [8 << 20, 1_000])
def test_a_whole_table_in_one_object_is_refused_with_the_call_that_writes_lines(
    tmp_path,
    name,
    orient,
    most,
):
    import gzip

    content = as_pandas(orient).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(Unreadable, match='orient="records", lines=True'):
        ingested([tmp_path / name], tmp_path / "out", max_record_bytes=most)


@pytest.mark.parametrize(
    ("columns", "field"),
    [
        (("id", "txt"), "txt"),
        (("stars", "Review_Text"), "Review_Text"),
        (("foo", "bar"), "NAME"),
    ],
)
def test_the_field_that_is_probably_the_text_is_proposed(
    columns: tuple[str, ...], field: str
) -> None:
    assert likely_field("text", columns) == field
