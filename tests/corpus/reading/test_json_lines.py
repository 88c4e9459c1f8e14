"""JSON lines: what a line gives depends on that line alone, whatever is beside it and however the file is cut."""

import hashlib
import io
from collections import Counter

import orjson
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reviewlm.corpus.reading.jsonlines import Stretch, parse, read_json_lines
from reviewlm.corpus.schema import COLUMNS, ReadingOptions
from tests.corpus.hostile_files import BAD_LINES
from tests.corpus.review_lines import line
from tests.examples import examples

OPTIONS = ReadingOptions(max_chars=1000, max_record_bytes=3000)
UNUSUAL = [
    b"",
    b"  ",
    b"\t",
    line(),
    line(review_id="é"),
    line(review_id="é" * 9),
    line(user_id=None),
    line(review_id=12),
    line(review_id="12"),
    line(user_id=1.5),
    line(user_id=True),
    line(user_id=""),
    line(user_id=" u"),
    line(user_id="u\u3000"),
    line(user_id="with twelve."),
    line(user_id="with thirteen"),
    line(text="[1]"),
    line(text='say \\" ": x'),
    line(text='"text":"'),
    line(text="a\x00b"),
    line(text="a\nb\t\u007f\u2028"),
    line(text="\\"),
    line(text="\\\\n"),
    line(text="ends \\"),
    line(text='"'),
    line(text=""),
    line(text="é☕\U0001f600"),
    line(text="x" * 1000),
    line(text="é" * 1000),
    line(text="x" * 3000),
    line(stars="4"),
    line(stars=4),
    line(stars=4.25),
    line(stars=10.0),
    line(stars=-1),
    line(stars=None),
    line(useful=-3),
    line(useful=None),
    line(date=20180101),
    line(date="2018-01-01"),
    *(
        line(date=date)
        for date in (
            "2018-02-29 00:00:00",
            "2020-02-29 00:00:00",
            "2018-02-28 24:00:00",
            "2018-02-28 23:59:60",
            "0000-01-01 00:00:00",
            "0099-01-01 00:00:00",
            "1969-12-31 23:59:59",
            "9999-12-31 23:59:59",
            "2018-00-10 00:00:00",
            "2018-04-31 00:00:00",
        )
    ),
    line(date="2018-07-07T22:09:11Z"),
    line(date=" 2018-07-07 22:09:11"),
    line(date=""),
    line(date=None),
    line()[:-1] + b',"text":"again"}',
    line()[:-1] + b',"stars":1}',
    line()[:-1] + b',"extra":"x"}',
    line()[:-1] + b',"extra":7}',
    line()[:-1] + b',"extra":[1]}',
    line()[:-1] + b',"useful":{}}',
    line() + b" ",
    line().replace(b'":', b'" :'),
    line().replace(b'":', b'": '),
    b"\xef\xbb\xbf" + line(),
    line() + b"\r",
    b" " + line(),
    orjson.dumps({"text": "only"}),
    orjson.dumps({"text": "on\nly"}),
    *(
        line(text="X").replace(b'"X"', text)
        for text in (
            rb'"\ud83d\ude00"',
            rb'"\u0000"',
            rb'"\u00e9\/\b\f"',
            rb'"\x"',
            rb'"\u00g0"',
            rb'"\U00e9"',
            b'"\x01"',
            b'"\x7f"',
            b'"\xed\xa0\x80"',
            b'"\xc3"',
            b'"a\rb"',
            rb'"half \udc00"',
            rb'"\u12"',
        )
    ),
    line(useful=7).replace(b'l":7', b'l":07'),
    line(stars=4).replace(b'":4', b'":4.'),
    line(stars=4).replace(b":4", b":\n4"),
    line()[:-1] + b',"stars":null}',
    line()[:-1] + b',"user_id":null}',
    line()[:-1] + b',"date":"2018-01-01 00:00:00"}',
    line(review_id="X").replace(b"X", rb"\u0041"),
    line(review_id="X").replace(b"X", rb"\n"),
    line().replace(b'"stars"', rb'"st\u0061rs"'),
    line().replace(b'"text"', rb'"te\u0078t"'),
]
PIECES = [*BAD_LINES, *UNUSUAL]


def alone(block, first_line=7):
    """What each line gives when nothing is beside it: all good records, and all bad ones."""
    lines = enumerate(block.split(b"\n"), first_line)
    return joined([parse(Stretch(line, number), "s", OPTIONS) for number, line in lines])


def joined(blocks):
    return pl.concat([block.good for block in blocks]), pl.concat([block.bad for block in blocks])


def agree(block):
    """Whether a block gives the same records and problems as its lines alone, with the same types."""
    parsed, (good, bad) = parse(Stretch(block, 7), "s", OPTIONS), alone(block)
    return (
        parsed.good.schema == pl.Schema(COLUMNS)
        and parsed.good.equals(good)
        and parsed.bad.equals(bad)
    )


def test_each_unusual_line_is_read_or_has_the_reason_that_is_known_for_it():
    good, bad = alone(b"\n".join(UNUSUAL))
    assert good.height == 66
    assert Counter(bad["reason"]) == {
        "malformed": 10,
        "encoding": 3,
        "wrong_type": 1,
        "bad_date": 8,
        "too_long": 1,
    }


@pytest.mark.slow
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6), st.booleans())
@examples(300)
def test_a_line_gives_the_same_among_any_others(lines, final):
    assert agree(b"\n".join(lines) + (b"\n" if final else b""))


DAMAGE = st.tuples(
    st.integers(0, 600),
    st.sampled_from(["put", "insert", "delete"]),
    st.sampled_from(list(b'"\\\n\r{}[],: 0123456789.eE+-aurnt\x00\x1f\x7f\x80\xc3\xe9\xed\xff')),
)
PLAIN = [
    line(
        review_id=f"r{n}",
        user_id="u" * 22,
        text=f'no "{n}"/\n☕',
        stars=n % 5 + 0.5,
        useful=n * 90,
        date=date,
    )
    for n, date in enumerate(["2018-07-07 22:09:11", "2012-01-03 15:28:18", "2014-02-05 20:30:30"])
]


@pytest.mark.slow
@given(st.lists(DAMAGE, min_size=1, max_size=4))
@example([(len(PLAIN[0]), "delete", 0)])
@examples(600)
def test_a_damaged_byte_changes_no_other_line(damage):
    block = bytearray(b"\n".join(PLAIN))
    for place, way, value in damage:
        at = place % len(block)
        if way == "delete":
            del block[at]
        elif way == "insert":
            block.insert(at, value)
        else:
            block[at] = value
    assert agree(bytes(block))


def read(content, **options):
    return list(
        read_json_lines(io.BufferedReader(io.BytesIO(content)), "s", ReadingOptions(**options))
    )


@pytest.mark.parametrize("block_bytes", [64, 1 << 10, 1 << 20])
@pytest.mark.parametrize("final", [b"", b"\n", b"\n" + line()])
def test_a_record_too_long_to_hold_can_be_recognised(block_bytes, final):
    long = line(text="long " * 40_000)
    content = line() + b"\n" + long + final
    good, bad = joined(read(content, block_bytes=block_bytes, max_record_bytes=2000))
    assert bad["line"].to_list() == [2]
    assert bad["reason"].to_list() == ["too_long"]
    assert bad["raw"][0] == long[: 64 << 10]
    assert str(len(long)) in bad["detail"][0]
    assert hashlib.sha256(long).hexdigest() in bad["detail"][0]
    assert good["line"].to_list() == ([1, 3] if len(final) > 1 else [1])


def test_a_long_line_is_never_in_memory():
    class Endless(io.RawIOBase):
        left, most = 200 << 20, 0

        def readable(self):
            return True

        def readinto(self, buffer):
            size = min(len(buffer), self.left)
            self.most = max(self.most, len(buffer))
            buffer[:size] = b"x" * size
            self.left -= size
            return size

    raw = Endless()
    options = ReadingOptions(block_bytes=1 << 20, max_record_bytes=1 << 20)
    _, bad = joined(list(read_json_lines(io.BufferedReader(raw), "s", options)))
    assert raw.most <= 1 << 20
    assert bad["reason"].to_list() == ["too_long"]
    assert str(200 << 20) in bad["detail"][0]
