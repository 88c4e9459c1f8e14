import hashlib
import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from core.config.sections.data import DuplicatesConfig
from core.errors import CheckFailed, Damaged
from corpus.splitting.certificate import CERTIFICATE_FILE, read, spread
from corpus.splitting.leaks import certify, verify

CONFIG = DuplicatesConfig()
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
    certify(folder, CONFIG)
    return folder


def test_the_certificate_says_what_was_compared_and_that_nothing_was_left(certified):
    certificate = read(certified)
    texts = {name: table(r3=review(4)).filter(split=name)["text"].to_list() for name in ("test", "validation", "train")}
    for name, side in certificate.sides.items():
        hashes = sorted(hashlib.sha256(text.encode()).digest()[:8] for text in texts[name])
        assert side.sha256 == hashlib.sha256(b"".join(hashes)).hexdigest()
        assert (side.reviews, side.texts) == (len(texts[name]), len(set(texts[name])))
    assert certificate.exact == {"pairs": 19 * 20 + 19 * 60 + 20 * 60, "left": 0}
    assert (certificate.near["left"], certificate.coverage["left"]) == (0, 0)
    assert certificate.coverage["test"] == {"reviews": 20, "mean": 0.0, "none": 20, "counts": [0] * 20}
    assert certificate.near["recall"] == pytest.approx(0.98995 * (1 - 0.000143 - 0.000369), abs=1e-6)
    assert (certificate.near["similarity"], certificate.near["shingle"], certificate.near["bands"]) == (0.7, 3, 25)
    assert "test 20, validation 20, train 60" in certificate.summary


def with_passage(number, words):
    """A training review that holds the first words of a held-out one."""
    return f"{review(60 + number)} {' '.join(review(number).split()[:words])}"


def test_reviews_that_train_covers_are_refused_and_named(tmp_path):
    """Two of the test with one text; all of its words are in a longer training review."""
    folder = write(tmp_path / "clean", table(r3=review(2), r70=with_passage(2, 40)))
    with pytest.raises(CheckFailed, match=r"passages of train cover 2 held-out reviews: test id002.*test id003"):
        certify(folder, CONFIG)
    assert not (folder / CERTIFICATE_FILE).exists()


@pytest.mark.parametrize(("left", "right"), [(5, 50), (5, 25), (30, 99)])
def test_a_text_in_two_splits_is_refused_with_both_reviews(left, right, tmp_path):
    folder = write(tmp_path / "clean", table(**{f"r{right}": review(left)}))
    with pytest.raises(CheckFailed, match="1 texts are in more than one split") as refused:
        certify(folder, CONFIG)
    for row in (left, right):
        assert f"{SPLITS[row]} id{row:03d}: '{review(left)[:20]}" in str(refused.value)
    assert not (folder / CERTIFICATE_FILE).exists()


@pytest.mark.parametrize(("left", "right"), [(5, 50), (5, 25), (30, 99)])
def test_a_near_duplicate_in_two_splits_is_refused_with_both_reviews(left, right, tmp_path):
    folder = write(tmp_path / "clean", table(**{f"r{right}": review(left).upper() + "! P.S.: so good"}))
    with pytest.raises(CheckFailed, match="1 near-duplicates are in two splits") as refused:
        certify(folder, CONFIG)
    assert f"id{left:03d}" in str(refused.value)
    assert f"id{right:03d}" in str(refused.value)
    assert not (folder / CERTIFICATE_FILE).exists()


def test_a_test_review_planted_in_train_afterwards_is_found(certified):
    write(certified, table(r3=review(4), r50=review(5)))
    with pytest.raises(CheckFailed, match=r"id005.*id050"):
        verify(certified)


def test_a_near_duplicate_that_a_forged_certificate_hides_is_found(tmp_path):
    folder = write(tmp_path / "clean", table(r50=review(5) + " indeed"))
    honest = certify(folder, DuplicatesConfig(near=False))
    other = certify(write(tmp_path / "other", table()), CONFIG)
    forged = replace(honest, near=other.near, coverage=other.coverage)
    (folder / CERTIFICATE_FILE).write_text(forged.to_json())
    assert verify(folder) == forged
    with pytest.raises(CheckFailed, match=r"id005.*id050"):
        verify(folder, near=True)


def test_a_covered_review_that_a_forged_certificate_hides_is_found(tmp_path):
    text = " ".join(review(5).split()[:16])
    folder = write(tmp_path / "clean", table(r50=f"{review(50)} {text}"))
    honest = certify(folder, CONFIG)
    for hidden in (spread(np.zeros(20)), {**honest.coverage["test"], "mean": 0.5}):
        forged = replace(honest, coverage={**honest.coverage, "test": hidden})
        (folder / CERTIFICATE_FILE).write_text(forged.to_json())
        assert verify(folder) == forged
        with pytest.raises(Damaged, match="other passages"):
            verify(folder, near=True)


@pytest.mark.parametrize("row", [0, 25, 99])
def test_a_certificate_of_another_table_is_refused(row, certified):
    write(certified, table(r3=review(4), **{f"r{row}": review(1_000)}))
    with pytest.raises(Damaged, match=SPLITS[row]):
        verify(certified)


def damaged(text, how):
    values = json.loads(text)
    match how:
        case "cut off":
            return text[:100]
        case "not JSON":
            return "leak free!"
        case "a list":
            return "[1, 2]"
        case "another format":
            values["format"] = 99
        case "no sides":
            del values["sides"]
        case "a pair left":
            values["near"]["left"] = 1
        case "a covered review left":
            values["coverage"]["left"] = 1
        case "an exact pair left":
            values["exact"]["left"] = 1
        case "other digest":
            values["sides"]["train"]["sha256"] = "0" * 64
        case "fewer reviews":
            values["sides"]["test"]["reviews"] -= 1
        case "unknown field":
            values["signed"] = True
    return json.dumps(values)


@pytest.mark.parametrize(
    "how",
    ["cut off", "not JSON", "a list", "another format", "no sides", "a pair left", "a covered review left",
     "an exact pair left", "other digest", "fewer reviews", "unknown field"],
)
def test_a_damaged_certificate_is_refused(how, certified):
    file = certified / CERTIFICATE_FILE
    file.write_text(damaged(file.read_text(), how))
    with pytest.raises(Damaged, match="leak certificate"):
        verify(certified)
