"""The leak certificate of a split says what was compared, and finds what was changed afterwards."""

import hashlib
import json
from functools import reduce
from operator import getitem

import numpy as np
import polars as pl
import pytest

from reviewlm.core.errors import CheckFailed, Damaged
from reviewlm.corpus.splitting.certificate import CERTIFICATE_FILE, certify, read, spread, verify

NEAR = {
    "pairs": 7,
    "recall": 0.99,
    "similarity": 0.7,
}
COVERAGE = {"limit": 0.5, **dict.fromkeys(("test", "validation"), spread(np.zeros(20)))}
SPLITS = ["test"] * 20 + ["validation"] * 20 + ["train"] * 60


def review(number):
    """Forty words of its own."""
    return " ".join(f"w{n}" for n in np.random.default_rng(number).integers(0, 3_000, 40))


def table(**changed):
    """100 different reviews; `changed` gives row numbers (r7) other texts."""
    texts = [changed.get(f"r{i}", review(i)) for i in range(len(SPLITS))]
    return pl.DataFrame(
        {
            "review_id": [f"id{i:03d}" for i in range(len(SPLITS))],
            "text": texts,
            "stars": [i % 6 for i in range(len(SPLITS))],
            "bytes": [len(text.encode()) + 1 for text in texts],
            "split": SPLITS,
        }
    )


def write(folder, frame):
    folder.mkdir(exist_ok=True)
    frame.write_parquet(folder / "clean.parquet")
    return folder


@pytest.fixture
def certified(tmp_path):
    """Prepared data with its certificate; two reviews of the test have one text."""
    folder = write(tmp_path / "clean", table(r3=review(4)))
    certify(folder, NEAR, COVERAGE)
    return folder


def test_the_certificate_says_which_texts_were_compared(certified):
    rows = table(r3=review(4))
    for name, side in read(certified).sides.items():
        texts = rows.filter(split=name)["text"].to_list()
        hashes = sorted(hashlib.sha256(text.encode()).digest()[:8] for text in texts)
        assert side.sha256 == hashlib.sha256(b"".join(hashes)).hexdigest()
        assert (side.reviews, side.texts) == (len(texts), len(set(texts)))


def test_the_certificate_says_that_nothing_was_left(certified):
    certificate = read(certified)
    assert certificate.exact == {"pairs": 19 * 20 + 19 * 60 + 20 * 60, "left": 0}
    assert (certificate.near["left"], certificate.coverage["left"]) == (0, 0)
    covered = {
        "reviews": 20,
        "mean": 0.0,
        "none": 20,
        "counts": [0] * 20,
    }
    assert certificate.coverage["test"] == covered
    assert "20 test reviews" in certificate.summary


@pytest.mark.parametrize(("left", "right"), [(5, 50), (5, 25), (30, 99)])
def test_a_text_in_two_splits_is_refused_with_both_reviews(
    left,
    right,
    tmp_path,
):
    folder = write(tmp_path / "clean", table(**{f"r{right}": review(left)}))
    with pytest.raises(CheckFailed, match="1 texts are in more than one split") as refused:
        certify(folder, NEAR, COVERAGE)
    for row in (left, right):
        assert f"{SPLITS[row]} id{row:03d}: '{review(left)[:20]}" in str(refused.value)
    assert not (folder / CERTIFICATE_FILE).exists()


def test_a_test_review_planted_in_train_afterwards_is_found(certified):
    write(certified, table(r3=review(4), r50=review(5)))
    with pytest.raises(CheckFailed, match=r"id005.*id050"):
        verify(certified)


@pytest.mark.parametrize("row", [0, 25, 99])
def test_a_certificate_of_another_table_is_refused(row, certified):
    write(certified, table(r3=review(4), **{f"r{row}": review(1_000)}))
    with pytest.raises(Damaged, match=SPLITS[row]):
        verify(certified)


def changed(*path, to):
    """Give a field of a certificate another value."""

    def damage(text):
        values = json.loads(text)
        reduce(getitem, path[:-1], values)[path[-1]] = to
        return json.dumps(values)

    return damage


DAMAGES = {
    "cut off": lambda text: text[:100],
    "not JSON": lambda text: "leak free!",
    "a list": lambda text: "[1, 2]",
    "another format": changed("format", to=99),
    "unknown field": changed("signed", to=True),
    "no sides": lambda text: json.dumps(
        {name: one for name, one in json.loads(text).items() if name != "sides"}
    ),
    "a pair left": changed("near", "left", to=1),
    "a covered review left": changed("coverage", "left", to=1),
    "an exact pair left": changed("exact", "left", to=1),
    "fewer reviews": changed("sides", "test", "reviews", to=19),
    "other digest": changed("sides", "train", "sha256", to="0" * 64),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_certificate_is_refused(damage, certified):
    file = certified / CERTIFICATE_FILE
    file.write_text(damage(file.read_text()))
    with pytest.raises(Damaged, match="leak certificate"):
        verify(certified)
