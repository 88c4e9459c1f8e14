"""The fast way of reading JSON lines gives what the slow one gives, and is taken where it may be."""

from collections import Counter

import orjson
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from review_lines import BAD_LINES, GOOD, line

from corpus import jsonlines
from corpus.jsonlines import _fast, _parse, _slow
from corpus.schema import Limits

PIECES = [bad for bad, _ in BAD_LINES] + [
    b"", b"  ", line(), line(review_id="é"), line(user_id=None), line(review_id=12), line(review_id="12"),
    line(user_id=1.5), line(user_id=True), line(text="[1]"), line(text='say \\" ": x'), line(text='"text":"'),
    line(text="a\x00b"), line(stars="4"),
    line(stars=4), line(useful=-3), line(useful=3.0), line(text="\\"), line(date=20180101), line(date="2018-01-01"),
    line()[:-1] + b',"text":"again"}', line()[:-1] + b',"stars":1}', line()[:-1] + b',"extra":"x"}',
    line().replace(b'":', b'" :'), line().replace(b'":', b'": '), b"\xef\xbb\xbf" + line(), line() + b"\r",
    line(text=""),
    orjson.dumps({**{k: GOOD[k] for k in ("review_id", "text")}, "votes": {"useful": 1, "funny": 2, "cool": 3}}),
    orjson.dumps({"text": "only"}), line(text="\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16")),
    line(text="X").replace(b'"X"', rb'"\ud83d\ude00"'), line(text="X").replace(b'"X"', rb'"\u0000"'),
]


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6), st.booleans())
@settings(max_examples=200, deadline=None)
def test_the_fast_way_never_differs_from_the_slow_one(lines, final):
    block = b"\n".join(lines) + (b"\n" if final else b"")
    assume(block)
    limits = Limits(max_chars=1000)
    slow, parsed = _slow(block, 7, "s", limits), _parse(block, 7, "s", limits)
    assert parsed.good.equals(slow.good)
    assert parsed.bad.equals(slow.bad)
    fast = _fast(block, 7, "s", limits)
    assert fast is None or (fast.good.equals(slow.good) and slow.bad.is_empty())


def test_clean_blocks_do_take_the_fast_way():
    block = b"".join(line(review_id=f"r{n}", text=f'said "hi": \\ {n}\n☕') + b"\n" for n in range(100))
    assert _fast(block, 1, "s", Limits()) is not None


def test_one_bad_line_slows_only_its_own_piece(monkeypatch):
    monkeypatch.setattr(jsonlines, "PIECE_BYTES", 1000)
    slow = []
    monkeypatch.setattr(jsonlines, "_slow", lambda piece, *rest: slow.append(piece) or _slow(piece, *rest))
    lines = [line(review_id=f"r{n}") for n in range(100)]
    lines[50] = b"{"
    parsed = _parse(b"\n".join(lines), 1, "s", Limits())
    assert len(slow) == 1
    assert parsed.good["line"].to_list() == [n for n in range(1, 101) if n != 51]
    assert Counter(parsed.bad["line"]) == {51: 1}
