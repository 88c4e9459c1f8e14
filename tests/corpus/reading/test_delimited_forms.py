"""CSV of programs that write quotes, delimiters and decimals in their own way: read as meant, or refused record by
record; never does a record take its neighbour with it."""

import csv
import io

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config.sections.source import SourceConfig
from corpus.ingestion.ingest import ingest, iter_parts
from tests.examples import examples

BOM = b"\xef\xbb\xbf"
TEXTS = [
    '"Best tacos ever', 'plain', 'They said "wow" twice', '"Best" tacos, they said', 'ends with "', '""', '"all of it"',
    '"one more', 'a, b; c | d', "back\\slash", "",
]  # fmt: skip


def ingested(folder, content, name="r.csv", **settings):
    (folder / name).write_bytes(content)
    facts = ingest([folder / name], folder / "out", SourceConfig(**settings))
    return facts, pl.concat(iter_parts(folder / "out")), pl.read_parquet(folder / "out" / "quarantine.parquet")


def unquoted(texts, delimiter, end="\n"):
    rows = [delimiter.join(["review_id", "stars", "text", "date"])]
    rows += [delimiter.join([f"r{n}", "4", text, "2018-05-31"]) for n, text in enumerate(texts)]
    return (end.join(rows) + end).encode()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("texts", [TEXTS, TEXTS[::-1], ['"Best tacos ever', "plain", 'the best"']], ids=range(3))
def test_a_table_with_tabs_and_without_quoting_gives_every_text_as_it_is(tmp_path, texts, end):
    _, rows, bad = ingested(tmp_path, unquoted(texts, "\t", end), "r.tsv")
    assert rows["text"].to_list() == texts
    assert bad.is_empty()


def quoted(texts, delimiter, quoting=csv.QUOTE_MINIMAL):
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator="\n")
    writer.writerows([["review_id", "text", "stars"], *([f"r{n}", text, "4"] for n, text in enumerate(texts))])
    return out.getvalue().encode()


LINES = [*TEXTS, "two\nlines", 'say\n"hi"\nthere', "tab\there", '"\n"']


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_a_table_with_quoting_gives_every_text_as_it_is(tmp_path, delimiter, quoting):
    _, rows, bad = ingested(tmp_path, quoted(LINES, delimiter, quoting))
    assert rows["text"].to_list() == LINES
    assert bad.is_empty()


@pytest.mark.slow
@given(st.lists(st.text(st.sampled_from('ab"\\\n\t,;|é '), max_size=8), max_size=6), st.sampled_from(",;\t|"))
@examples(150)
def test_whatever_a_program_with_quoting_writes_is_read_as_it_was(tmp_path_factory, texts, delimiter):
    folder = tmp_path_factory.mktemp("csv")
    assert ingested(folder, quoted(["first", *texts], delimiter))[1]["text"].to_list() == ["first", *texts]


@pytest.mark.slow
@given(st.lists(st.text(st.sampled_from('ab",;é '), max_size=6), min_size=2, max_size=6))
@examples(150)
def test_no_record_without_quoting_takes_its_neighbour_with_it(tmp_path_factory, texts):
    facts, rows, bad = ingested(tmp_path_factory.mktemp("tsv"), unquoted([*texts, 'x "y" z'], "\t"), "r.tsv")
    assert rows["text"].to_list() == [*texts, 'x "y" z']
    assert (facts["records"], bad.height) == (len(texts) + 1, 0)


def escaped(texts, quoting=csv.QUOTE_NONNUMERIC):
    out = io.StringIO()
    writer = csv.writer(out, escapechar="\\", doublequote=False, quoting=quoting, lineterminator="\n")
    writer.writerows([["text", "stars"], *([text, 4] for text in texts)])
    return out.getvalue().encode()


def test_quotes_with_a_backslash_before_them_are_read(tmp_path):
    """As MySQL and Spark write them; what stands in the file is checked too, so that nothing depends on our writer."""
    texts = ['They said "never again" and left', '"', 'a "', 'C:\\new and "more"', "plain", 'two\n"lines"']
    assert b'"They said \\"never again\\" and left",4' in escaped(texts)
    _, rows, bad = ingested(tmp_path, escaped(texts))
    assert rows["text"].to_list() == texts
    assert rows["stars"].to_list() == [4.0] * len(texts)
    assert bad.is_empty()


def test_one_stray_backslash_changes_nothing_in_a_file_that_doubles_its_quotes(tmp_path):
    texts = ['a "b" c', 'd "e" f', "C:\\", 'C:\\"x"', "g"]
    content = quoted(texts, ",") + b'r9,"bad \\"one,4\nr10,last,4\n'
    _, rows, bad = ingested(tmp_path, content)
    assert rows["text"].to_list() == [*texts, "last"]
    assert bad["line"].to_list() == [7]


@pytest.mark.parametrize("mark", [b"", BOM])
@pytest.mark.parametrize("first", [b"sep=;\n", b"sep=;\r\n", b'"sep=;"\n'])
def test_the_line_that_tells_excel_the_delimiter_is_no_header(tmp_path, mark, first):
    content = mark + first + b"text;stars\nGood, cheap, near;4\nbad;;\n"
    _, rows, bad = ingested(tmp_path, content)
    assert rows.select("text", "stars", "line").rows() == [("Good, cheap, near", 4.0, 3)]
    assert bad.select("line", "raw").rows() == [(4, b"bad;;\n")]


def test_decimal_commas_are_read_where_they_can_mean_nothing_else(tmp_path):
    content = b"text;stars;useful\na;4,5;2,0\nb; 3,0 ;3\nc;4,5,1;1\nd;4;1,000\n"
    _, rows, bad = ingested(tmp_path, content)
    assert rows.select("text", "stars", "useful").rows() == [("a", 4.5, 2), ("b", 3.0, 3)]
    assert bad["reason"].to_list() == ["bad_stars", "bad_votes"]
    assert "4,5,1" in bad["detail"][0]
    (tmp_path / "r.jsonl").write_bytes(b'{"text":"a","stars":"4,5"}')
    ingest([tmp_path / "r.jsonl"], tmp_path / "json", SourceConfig())
    assert pl.concat(iter_parts(tmp_path / "json"))["stars"].to_list() == [4.5]


@pytest.mark.parametrize("second", [b"text,stars\nb,4\n", b"b,4\n", b'"b",4\n'])
def test_a_byte_order_mark_in_the_middle_is_no_part_of_a_value(tmp_path, second):
    _, rows, bad = ingested(tmp_path, BOM + b"text,stars\na,5\n" + BOM + second)
    assert rows.select("text", "stars").rows() == [("a", 5.0), ("b", 4.0)]
    assert bad["reason"].to_list() == ["not_a_record"] * second.startswith(b"text")


def test_nor_in_plain_text_lines_and_arrays(tmp_path):
    for name, content in {
        "r.txt": BOM + b"a\n" + BOM + b"b\n", "r.jsonl": BOM + b'{"text":"a"}\n' + BOM + b'{"text":"b"}\n',
        "r.json": BOM + b'[{"text":"a"}]\n' + BOM + b'[{"text":"b"}]\n',
    }.items():
        assert ingested(tmp_path, content, name)[1]["text"].to_list() == ["a", "b"], name


def test_a_table_in_a_file_of_plain_text_is_a_table(tmp_path):
    for content in (b"review_id,text\na,Good.\n", b"text\tstars\nGood.\t4\n", b'"stars";"text"\n4;Good.\n'):
        assert ingested(tmp_path, content, "r.txt")[1]["text"].to_list() == ["Good."]
    lines = b"text and stars, they said\nGood.\n"
    assert ingested(tmp_path, lines, "r.txt")[0]["rows"] == 2


def test_null_as_mysql_and_hive_write_it_is_unknown(tmp_path):
    _, rows, _ = ingested(tmp_path, b"text\tuser_id\tstars\n\\N\t\\N\t\\N\n", "r.tsv")
    assert rows.select("text", "user_id", "stars").rows() == [("\\N", None, None)]
