"""The same 300 reviews in every kind of file, and what an ingestion makes of them."""

import csv
import gzip
import io
import json
import tarfile
import zipfile

import orjson
import polars as pl
import pyarrow

from tests.corpus import data_sets

TEXTS = [
    'Great "tacos",\nfresh & hot',
    "Schön, café ☕ 😀",
    "plain",
    " spaces kept ",
    "a, b; c\td",
    "<eos> stays text",
]


def review(number):
    return {
        "review_id": f"id-{number:04d}",
        "user_id": f"u{number % 7}",
        "business_id": f"b{number % 5}",
        "stars": float(number % 5 + 1),
        "text": f"{TEXTS[number % len(TEXTS)]} {number}",
        "date": f"2018-07-{number % 28 + 1:02d} 22:09:{number % 60:02d}",
    }


REVIEWS = [review(number) for number in range(300)]


def json_lines(reviews=REVIEWS):
    return b"".join(orjson.dumps(row) + b"\n" for row in reviews)


def as_csv(
    reviews=REVIEWS,
    delimiter=",",
    index=False,
):
    out = io.StringIO(newline="")
    names = [*([""] if index else []), *reviews[0], "type"]
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow(names)
    for number, row in enumerate(reviews):
        writer.writerow([*([number] if index else []), *row.values(), "review"])
    return out.getvalue().encode()


def as_parquet(reviews=REVIEWS):
    out = io.BytesIO()
    frame = pl.DataFrame(reviews).with_columns(pl.col("date").str.to_datetime())
    frame.write_parquet(out, row_group_size=70)
    return out.getvalue()


def packed_tar(members, mode="w:gz"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def packed_zip(members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def zstd(content):
    return pyarrow.Codec("zstd").compress(content, asbytes=True)


BUSINESS = b'{"business_id": "x", "name": "not a review"}\n'
YELP = {
    "._yelp_academic_dataset_review.json": b"\x00\x05\x16\x07 resource fork",
    "Dataset_User_Agreement.pdf": b"%PDF",
    "yelp_academic_dataset_business.json": BUSINESS,
    "yelp_academic_dataset_review.json": json_lines(),
    "yelp_academic_dataset_user.json": BUSINESS,
}
FILES = {
    "reviews.json": json_lines(),
    "reviews.jsonl": json_lines(),
    "no_suffix": json_lines(),
    "crlf.jsonl": json_lines().replace(b"\n", b"\r\n"),
    "bom.jsonl": b"\xef\xbb\xbf" + json_lines(),
    "escaped.jsonl": "".join(json.dumps(row) + "\n" for row in REVIEWS).encode(),
    "blank_lines.jsonl": json_lines().replace(b"\n", b"\n\n  \n"),
    "no_final_newline.jsonl": json_lines().rstrip(b"\n"),
    "extra_key.jsonl": json_lines(
        [
            {
                **row,
                "photos": ["x"],
                "elite": None,
            }
            for row in REVIEWS
        ]
    ),
    "text_numbers.jsonl": json_lines([{**r, "stars": str(r["stars"])} for r in REVIEWS]),
    "whole_stars.jsonl": json_lines([{**row, "stars": int(row["stars"])} for row in REVIEWS]),
    "iso_dates.jsonl": json_lines(
        [{**row, "date": row["date"].replace(" ", "T") + "Z"} for row in REVIEWS]
    ),
    "offset_dates.jsonl": json_lines([{**row, "date": row["date"] + "+00:00"} for row in REVIEWS]),
    "array.json": orjson.dumps(REVIEWS),
    "pretty.json": orjson.dumps(REVIEWS, option=orjson.OPT_INDENT_2),
    "reviews.csv": as_csv(),
    "index.csv": as_csv(index=True),
    "bom.csv": b"\xef\xbb\xbf" + as_csv(),
    "tabs.tsv": as_csv(delimiter="\t"),
    "semicolons.csv": as_csv(delimiter=";"),
    "reviews.parquet": as_parquet(),
    "reviews.json.gz": gzip.compress(json_lines()),
    "two_members.json.gz": gzip.compress(json_lines()[:5000]) + gzip.compress(json_lines()[5000:]),
    "reviews.csv.gz": gzip.compress(as_csv()),
    "misnamed.json": gzip.compress(json_lines()),
    "reviews.json.zst": zstd(json_lines()),
    "reviews.csv.zst": zstd(as_csv()),
    "yelp.tar": packed_tar(YELP, "w"),
    "yelp.tgz": packed_tar(YELP),
    "yelp.tar.gz": packed_tar(YELP),
    "yelp.tar.zst": zstd(packed_tar(YELP, "w")),
    "inner_gz.tar": packed_tar({"a_review.json.gz": gzip.compress(json_lines())}, "w"),
    "other_name.tgz": packed_tar({"business.json": BUSINESS, "yelp.csv": as_csv()}),
    "parquet.tgz": packed_tar({"review.parquet": as_parquet()}),
    "yelp.zip": packed_zip({"__MACOSX/._review.json": b"x", **YELP}),
    "yelp.csv.zip": packed_zip({"yelp.csv": as_csv()}),
}


def ingested(tmp_path, *files, name="out", **settings):
    paths = []
    for file, content in files:
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        paths.append(path)
    return data_sets.ingested(paths, tmp_path / name, **settings)


def in_formats(records):
    """The same records in every kind of file that has fields, by the name of the file."""
    out, frame = io.BytesIO(), pl.DataFrame(records, strict=False)
    frame.write_parquet(out)
    return {
        "r.jsonl": json_lines(records),
        "r.json": orjson.dumps(records),
        "r.csv": frame.write_csv().encode(),
        "r.tsv": frame.write_csv(separator="\t").encode(),
        "r.parquet": out.getvalue(),
        "r.tgz": packed_tar({"r.jsonl": json_lines(records)}),
        "r.zip": packed_zip({"r.csv": frame.write_csv()}),
    }
