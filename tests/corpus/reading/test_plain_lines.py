"""Plain lines are read by compiled loops as orjson decodes them; all other lines are left to orjson."""

import io
import re
from datetime import datetime, timedelta
from itertools import product

import numpy as np
import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.reading import jsonlines, value_kernels
from corpus.reading.jsonlines import Stretch, decode, parse, read_json_lines
from corpus.reading.plain_lines import read_plain
from corpus.schema import Limits
from tests.corpus.review_lines import BAD_LINES, line

LIMITS = Limits(max_chars=1000, max_record_bytes=3000)
RICH = (
    b'{"review_id" : "r-1", "user_id":null,"business_id":"b\\u00e9\\ud83d\\ude00","stars":4.25 ,"useful":0,"funny":12,'
    b'"cool":3,"text":"say \\"\\\\ \\/\\n\xc3\xa9\xe2\x98\x95\xf0\x9f\x98\x80","date":"2018-07-07 22:09:11","new":[]}'
).replace(b'"new":[]', b'"new":true,"old":17')
DAMAGE = b'"\\{}[],: \t\r0129.eE+-aunfl\x00\x0b\x0c\x1f\x7f\x80\xbf\xc3\xe9\xed\xf0\xff'


def texts_of(lines):
    """The texts of those lines that are plain, by their places among the lines, and the places of the others."""
    block, numbers, _ = read_plain(b"\n".join(lines), 0, "s", Limits())
    return dict(zip(block.good["line"].to_list(), block.good["text"].to_list(), strict=True)), numbers


def with_text(written):
    return b'{"text":"' + written + b'"}'


def assert_as_decoded(lines):
    block = b"\n".join(lines)
    parsed = parse(Stretch(block, 1, len(block)), "s", LIMITS)
    decoded = decode(lines, range(1, 1 + len(lines)), "s", LIMITS)
    assert parsed.good.equals(decoded.good)
    assert parsed.bad.equals(decoded.bad)
    assert parsed.end == len(block)


@pytest.fixture
def always(monkeypatch):
    monkeypatch.setattr(jsonlines, "COMPILED_BYTES", 1)


def test_a_usual_review_is_plain_and_gets_its_values():
    block, numbers, lines = read_plain(line() + b"\n" + RICH + b"\n", 5, "s", LIMITS)
    assert (numbers, lines, block.bad.height) == ([], [], 0)
    assert block.good.drop("date", "source", "line").rows() == [
        ("a", "u", "b", 5.0, 0, 0, 0, "fine"),
        ("r-1", None, "bé\U0001f600", 4.25, 0, 12, 3, 'say "\\ /\né☕\U0001f600'),
    ]
    assert block.good["line"].to_list() == [5, 6]


def test_what_is_not_plain_is_left_with_its_number_and_bytes():
    others = [bad for bad, reason in BAD_LINES if reason in ("encoding", "malformed", "not_a_record", "wrong_type")]
    some = [kept for other in others for kept in (line(), other)]
    block, numbers, lines = read_plain(b"\n".join(some), 1, "s", LIMITS)
    assert (numbers, lines) == (list(range(2, 2 + 2 * len(others), 2)), others)
    assert block.good["line"].to_list() == list(range(1, 1 + 2 * len(others), 2))


def test_every_escape_of_four_digits_is_its_character_or_left():
    lines = [with_text(rb"\u%04x" % code) for code in range(1 << 16)]
    texts, left = texts_of(lines)
    assert left == list(range(0xD800, 0xE000))
    assert all(text == chr(code) for code, text in texts.items())


def test_two_escapes_are_one_character_if_they_are_a_pair():
    halves = [0x0041, 0xD7FF, 0xD800, 0xD83D, 0xDBFF, 0xDC00, 0xDE00, 0xDFFF, 0xE000]
    lines = {pair: with_text(rb"\u%04X\u%04x" % pair) for pair in product(halves, halves)}
    texts, left = texts_of(list(lines.values()))
    for place, (first, second) in enumerate(lines):
        upper, lower = 0xD800 <= first < 0xDC00, 0xDC00 <= second < 0xE000
        if upper and lower:
            assert texts[place] == chr(0x10000 + (first - 0xD800) * 0x400 + second - 0xDC00)
        elif upper or lower or 0xDC00 <= first < 0xE000 or 0xD800 <= second < 0xDC00:
            assert place in left
        else:
            assert texts[place] == chr(first) + chr(second)


def test_exactly_the_valid_sequences_of_utf_8_are_plain():
    """Python's strict decoder knows which ones are valid; after the sequence the text goes on, or ends at once."""
    edges = [b"", b"z", *(bytes([byte]) for byte in (0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0))]
    parts = [bytes([lead]) + b"".join(rest) for lead in range(0x80, 0x100) for rest in product(edges, repeat=3)]
    parts = list(dict.fromkeys(parts))
    texts, left = texts_of([with_text(part) for part in parts])
    valid = {}
    for place, part in enumerate(parts):
        try:
            valid[place] = part.decode()
        except UnicodeDecodeError:
            continue
    assert texts == valid
    assert len(texts) + len(left) == len(parts)


def test_every_byte_in_a_string_is_taken_as_orjson_takes_it():
    some = [bytes([byte]) for byte in range(256) if byte != ord("\n")]
    lines = [with_text(b"a" + byte + b"z") for byte in some] + [with_text(b"\\" + byte + b"b") for byte in some]
    lines += [b'{"a' + byte + b'":1,"text":"x"}' for byte in some]
    texts, left = texts_of(lines)
    for place, text in texts.items():
        assert text == orjson.loads(lines[place])["text"]
    assert {place for place in range(len(some)) if some[place].isascii() and some[place] >= b" "} - set(texts) == {
        some.index(b'"'), some.index(b"\\"),
    }
    assert len(texts) + len(left) == len(lines)


@pytest.mark.parametrize(("written", "plain"), [
    (b"0", True), (b"5", True), (b"4.0", True), (b"0.5", True), (b"0.0", True), (b"3.1415", True), (b"12", True),
    (b"123456789012345", True), (b"1234567890123456", False), (b"12345678901.5", True), (b"123456789012.5", False),
    (b"4.50", False), (b"4.00", False), (b"0.00001", False), (b"05", False), (b"00", False), (b"4.", False),
    (b".5", False), (b"-1", False), (b"-0", False), (b"+1", False), (b"1e5", False), (b"1E5", False), (b"1.5e3", False),
    (b"1e999", False), (b"NaN", False), (b"Infinity", False), (b"-Infinity", False), (b"0x10", False), (b"1_0", False),
    (b"9" * 400, False), (b"null", True), (b"nul", False), (b"nulll", False), (b"true", False), (b'"4"', False),
])  # fmt: skip
@pytest.mark.usefixtures("always")
def test_a_number_is_plain_if_python_writes_it_with_the_same_digits(written, plain):
    some = line(stars=7).replace(b":7", b":" + written)
    assert (read_plain(some, 1, "s", LIMITS)[1] == []) == plain
    assert_as_decoded([some, line(useful=7).replace(b":7", b":" + written), line()])
    if plain and written != b"null":
        assert str(orjson.loads(written)).encode() == written


def dated(written):
    """The microseconds that the compiled loop finds from 1970 to a date, None if it leaves it to others."""
    found = np.empty(1, np.int64)
    data = np.frombuffer(written.encode(), np.uint8)
    return int(found[0]) if value_kernels.dates(data, np.array([0]), np.array([len(data)]), found) else None


def moment(written):
    """The same by Python's calendar."""
    try:
        return (datetime(*map(int, re.findall(r"\d+", written))) - datetime(1970, 1, 1)) // timedelta(microseconds=1)
    except ValueError:
        return None


def test_dates_are_those_of_the_calendar_and_no_others():
    years, days = (0, 1, 4, 100, 1600, 1900, 1969, 1970, 2000, 2023, 2024, 2100, 9999), (0, 1, 28, 29, 30, 31, 32)
    times = ("00:00:00", "23:59:59", "24:00:00", "12:60:00", "12:00:60")
    written = [
        f"{year:04}-{month:02}-{day:02} {time}" for year, month, day, time in product(years, range(14), days, times)
    ]
    assert [dated(one) for one in written] == [moment(one) for one in written]
    assert sum(dated(one) is not None for one in written) > 1_000


@pytest.mark.parametrize("written", [
    "2018-07-07T22:09:11", "2018-7-07 22:09:11", "2018-07-07 22:09:1", "2018-07-07 22:09:11 ", " 2018-07-07 22:09:1",
    "+018-07-07 22:09:11", "2018-07-07 22:09:1/", "2018-07-07 22:09:1:", "2018/07/07 22:09:11", "2018-07-07", "",
    "2018-07-07 22:09:1\u0661", "2018-07-07 22:09:11Z",
])  # fmt: skip
@pytest.mark.usefixtures("always")
def test_dates_in_another_form_are_left_to_polars_with_all_of_their_block(written):
    assert dated(written) is None
    assert_as_decoded([line(), line(date=written), line(date=None), line(date="2020-02-29 01:02:03")])


@pytest.mark.usefixtures("always")
def test_usual_dates_and_gaps_are_those_of_polars():
    days = product(range(1900, 2100), range(1, 13))
    dates = [f"{year}-{month:02}-28 {month:02}:59:{year % 60:02}" for year, month in days]
    assert_as_decoded([line(date=None), *(line(date=date) for date in dates), RICH, line(date=None)])


@given(whole=st.integers(0, 10**11 - 1), places=st.integers(0, 4), small=st.booleans(), data=st.data())
def test_numbers_are_those_that_python_reads(whole, places, small, data):
    digits = "".join(data.draw(st.lists(st.sampled_from("0123456789"), min_size=places, max_size=places)))
    written = f"{whole % 2**33 if small else whole}{'.' * bool(places)}{digits}"
    found, content = np.empty(2), np.frombuffer(f"x{written}".encode(), np.uint8)
    is_small = value_kernels.numbers(content, np.array([1, -1]), np.array([len(content), 1]), found)
    assert found.tolist() == [float(written), 0]
    assert bool(is_small) == (float(written).is_integer() and float(written) < 2**31)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("odd", [{"useful": 2.5}, {"cool": 2**31}, {"funny": 2**31 - 1}, {"useful": 3.0, "cool": None}])
def test_votes_that_are_not_whole_and_small_are_told_as_the_file_has_them(odd):
    assert_as_decoded([line(useful=None, stars=None), line(**odd), line(stars=2.5, cool=7)])


@pytest.mark.usefixtures("always")
def test_every_damaged_byte_of_a_rich_line_gives_what_orjson_gives():
    """Some 15,000 lines that differ from a good one in one byte, put, inserted or left out, all in one block."""
    lines = [RICH[:at] + RICH[at + 1 :] for at in range(len(RICH))] + [RICH[:at] for at in range(len(RICH))]
    for at in range(len(RICH)):
        for value in DAMAGE:
            lines += [RICH[:at] + bytes([value]) + RICH[at + width :] for width in (0, 1)]
    plain = len(lines) - len(read_plain(b"\n".join(lines), 1, "s", LIMITS)[1])
    assert len(lines) / 4 < plain < len(lines) * 3 / 4  # so that both ways are compared
    assert_as_decoded(lines)


@pytest.mark.usefixtures("always")
def test_a_name_may_be_there_once():
    fields = [b'"text":"x"', b'"text":"y"', b'"stars":1', b'"stars":null', b'"new":1', b'"new":"2"', b'"votes":null',
              b'"votes":{}', rb'"te\u0078t":"z"', b'"useful":"1"', b'"":0', b'"text ":"w"']
    lines = [b"{" + b",".join(some) + b"}" for size in (1, 2, 3) for some in product(fields, repeat=size)]
    assert_as_decoded(lines)


@pytest.mark.usefixtures("always")
def test_plain_lines_whose_values_are_bad_are_told_with_their_bytes():
    bad = [line(text="x" * 1001), line(date="yesterday"), line(useful=0.5), line(useful=10**12, cool=4.0),
           line(text=None), line(date="2018-13-45") + b"\r", b" " + line(date=""), line(useful=2**31)]
    lines = [kept for one in bad for kept in (line(), one)]
    assert read_plain(b"\n".join(lines), 1, "s", LIMITS)[1] == []
    assert_as_decoded(lines)
    block, _, _ = read_plain(b"\n".join(lines), 1, "s", LIMITS)
    assert block.bad["raw"].to_list() == [bad[place] for place in (0, 1, 2, 3, 4, 5, 7)]


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\n\n", b"\n \t\n", b"\r\r\n"])
@pytest.mark.parametrize("final", [True, False])
def test_line_ends_blank_lines_and_marks(ending, final):
    lines = [b"\xef\xbb\xbf" + line(), line(review_id="b"), RICH, b"{", line(review_id="c")]
    content = ending.join(lines) + ending * final
    assert_as_decoded(content.split(b"\n"))


@pytest.mark.usefixtures("always")
def test_a_line_of_ten_megabytes_is_too_long_and_its_neighbours_are_read():
    limits = Limits(block_bytes=1 << 20, max_record_bytes=1 << 20, max_chars=1 << 30)
    lines = [line(review_id="a"), line(text="x" * (10 << 20)), line(review_id="c"), line(text="y" * ((1 << 20) - 200))]
    blocks = list(read_json_lines(io.BufferedReader(io.BytesIO(b"\n".join(lines))), "s", limits))
    good, bad = pl.concat([block.good for block in blocks]), pl.concat([block.bad for block in blocks])
    assert (good["line"].to_list(), good["review_id"].to_list()) == ([1, 3, 4], ["a", "c", "a"])
    assert (bad["line"].to_list(), bad["reason"].to_list()) == ([2], ["too_long"])
    assert blocks[-1].end == len(b"\n".join(lines))


@pytest.mark.usefixtures("always")
def test_a_plain_line_longer_than_a_record_may_be_is_not_kept():
    lines = [line(text="x" * 900), line(text="x" * 901), line()]
    limits = Limits(max_record_bytes=len(lines[0]))
    block = b"\n".join(lines)
    parsed = parse(Stretch(block, 1, len(block)), "s", limits)
    assert parsed.good["line"].to_list() == [1, 3]
    assert parsed.bad.select("line", "reason").rows() == [(2, "too_long")]


def test_fields_with_other_names_are_decoded():
    block = b"\n".join([line(body=f"number {n}") for n in range(20_000)])
    assert len(block) > jsonlines.COMPILED_BYTES
    limits = Limits(renamed={"text": "body"})
    assert parse(Stretch(block, 1, len(block)), "s", limits).good["text"].to_list() == [
        f"number {n}" for n in range(20_000)
    ]


def test_a_long_stretch_is_read_by_compiled_loops_and_a_short_one_is_not(monkeypatch):
    read, asked = jsonlines.read_plain, []
    monkeypatch.setattr(jsonlines, "read_plain", lambda lines, *rest: asked.append(len(lines)) or read(lines, *rest))
    for count in (10, 20_000):
        block = b"\n".join([line(review_id=f"r{n}") for n in range(count)])
        assert parse(Stretch(block, 1, len(block)), "s", Limits()).good.height == count
    assert asked == [len(block)]
