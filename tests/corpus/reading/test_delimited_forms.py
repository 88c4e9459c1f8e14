"""CSV of programs that write quotes, delimiters and decimals in their own way: read as meant, or refused record by
record; never does a record take its neighbour with it."""

import csv
import io

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.corpus import data_sets
from tests.examples import examples

BOM = b"\xef\xbb\xbf"
TEXTS = [
    '"Best tacos ever',
    "plain",
    'They said "wow" twice',
    '"Best" tacos, they said',
    'ends with "',
    '""',
    '"all of it"',
    '"one more',
    "a, b; c | d",
    "back\\slash",
    "",
]


def ingested(
    folder,
    content,
    name="r.csv",
    **settings,
):
    (folder / name).write_bytes(content)
    return data_sets.ingested([folder / name], folder / "out", **settings)


def unquoted(
    texts,
    delimiter,
    end="\n",
):
    rows = [delimiter.join(["review_id", "stars", "text", "date"])]
    rows += [delimiter.join([f"r{n}", "4", text, "2018-05-31"]) for n, text in enumerate(texts)]
    return (end.join(rows) + end).encode()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "texts", [TEXTS, TEXTS[::-1], ['"Best tacos ever', "plain", 'the best"']], ids=range(3)
)
def test_a_table_with_tabs_instead_of_quotes_gives_every_text_as_it_is(
    tmp_path,
    texts,
    end,
):
    _, rows, bad = ingested(tmp_path, unquoted(texts, "\t", end), "r.tsv")
    assert rows["text"].to_list() == texts
    assert bad.is_empty()


def quoted(
    texts,
    delimiter,
    quoting=csv.QUOTE_MINIMAL,
):
    out = io.StringIO()
    writer = csv.writer(
        out,
        delimiter=delimiter,
        quoting=quoting,
        lineterminator="\n",
    )
    writer.writerows(
        [["review_id", "text", "stars"], *([f"r{n}", text, "4"] for n, text in enumerate(texts))]
    )
    return out.getvalue().encode()


LINES = [*TEXTS, "two\nlines", 'say\n"hi"\nthere', "tab\there", '"\n"']


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_a_table_with_quoting_gives_every_text_as_it_is(
    tmp_path,
    delimiter,
    quoting,
):
    _, rows, bad = ingested(tmp_path, quoted(LINES, delimiter, quoting))
    assert rows["text"].to_list() == LINES
    assert bad.is_empty()


@pytest.mark.slow
@given(
    st.lists(st.text(st.sampled_from('ab"\\\n\t,;|é '), max_size=8), max_size=6),
    st.sampled_from(",;\t|"),
)
@examples(150)
def test_whatever_a_program_with_quoting_writes_is_read_as_it_was(
    tmp_path_factory,
    texts,
    delimiter,
):
    # A field over two lines, each with the delimiters of a record, is also two records without quotes.
    assume(
        delimiter in ",;"
        or not any(line.count(delimiter) for text in texts for line in text.split("\n")[:-1])
    )
    folder = tmp_path_factory.mktemp("csv")
    assert ingested(folder, quoted(["first", *texts], delimiter))[1]["text"].to_list() == [
        "first",
        *texts,
    ]


@pytest.mark.parametrize("mark", [b"", BOM])
@pytest.mark.parametrize("first", [b"sep=;\n", b"sep=;\r\n", b'"sep=;"\n'])
def test_the_line_that_tells_excel_the_delimiter_is_no_header(
    tmp_path,
    mark,
    first,
):
    content = mark + first + b"text;stars\nGood, cheap, near;4\nbad;;\n"
    _, rows, bad = ingested(tmp_path, content)
    assert rows.select("text", "stars", "line").rows() == [("Good, cheap, near", 4.0, 3)]
    assert bad.select("line", "raw").rows() == [(4, b"bad;;\n")]
