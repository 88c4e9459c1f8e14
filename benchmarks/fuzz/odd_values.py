"""List values at the edges of what a field of a review may hold: dates, numbers, texts, and types of Arrow."""

from __future__ import annotations

import pyarrow as pa

DATES = [
    "2018-07-07 22:09:11",
    "2020-01-01",
    "0000-01-01 00:00:00",
    "-0001-01-01",
    "+12345-01-01 00:00:00",
    "9999-12-31 23:59:59",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-12:00",
    "2020-02-30",
    "2020-01-01T00:00:00Z",
    "24-12-2019",
    "",
    "now",
    "1583-01-01 00:00:00",
    "262143-12-31",
    "2019-12-31 23:59:60",
    "2020-01-01 00:00:00.1234567891",
    "９９９９-01-01",
]
NUMBERS = [
    "5",
    "4.0",
    "",
    "-1",
    "1e308",
    "1e-320",
    "nan",
    "inf",
    "3000000000",
    "0x10",
    "٣",
    "1,5",
    "five",
    "9" * 400,
    "4.5",
]
TEXTS = [
    "plain",
    "",
    " ",
    'with "quotes", commas;\tand tabs',
    "two\nlines",
    "cr\ralone",
    "\r\n",
    "é☕😀",
    "\0nul",
    "\ufeffmark",
    "<eos>",
    "=1+1",
    "{}",
    "[1]",
    "a" * 3_000,
    "\u2028line",
    "text",
    "null",
    '{"text": "inner"}',
    "\x1a",
    "\\",
    "'",
]
FIELDS = ("review_id", "user_id", "business_id", "stars", "text", "date")
MOMENTS = [0, 10**9, -(10**10), 2**62, -(2**62), 253402300800, -62135596801, 253402300799999999, None]
TYPES = [
    pa.timestamp("s"),
    pa.timestamp("ms"),
    pa.timestamp("us"),
    pa.timestamp("ns"),
    pa.timestamp("us", "UTC"),
    pa.timestamp("ms", "Mars/Olympus"),
    pa.date32(),
    pa.date64(),
    pa.time64("us"),
    pa.duration("s"),
    pa.int64(),
]
