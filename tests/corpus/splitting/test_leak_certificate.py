import hashlib
import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from core.config.sections.data import DuplicatesConfig
from core.errors import CheckFailed, Damaged
from corpus.duplicates.near import NearDuplicates
from corpus.splitting.certificate import CERTIFICATE_FILE, Certificate, at_least, read, reviews_digest, spread
from corpus.splitting.leaks import certify, text_names, verify

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


def test_the_certificate_counts_the_held_out_reviews_by_their_share_of_words_in_train(tmp_path):
    """16 words of 40 are 0.4, between 0.25 and the limit of 0.45."""
    certificate = certify(write(tmp_path / "clean", table(r61=with_passage(1, 16), r85=with_passage(25, 16))), CONFIG)
    assert at_least(certificate.coverage["test"], 0.25) == certificate.coverage["test"]["counts"][8] == 1
    assert certificate.coverage["validation"]["mean"] == 0.4 / 20
    assert "25% or more in 1 of the test" in certificate.summary


def test_reviews_that_train_covers_are_refused_and_named(tmp_path):
    """Two of the test with one text; all of its words are in a longer training review."""
    folder = write(tmp_path / "clean", table(r3=review(2), r70=with_passage(2, 40)))
    with pytest.raises(CheckFailed, match=r"passages of train cover 2 held-out reviews: test id002.*test id003"):
        certify(folder, CONFIG)
    assert not (folder / CERTIFICATE_FILE).exists()


def test_a_distribution_counts_each_review_in_one_bin():
    found = spread(np.array([0, 0, 0.01, 0.05, 0.25, 0.2499, 0.3, 0.95, 1]))
    assert (found["reviews"], found["none"], sum(found["counts"])) == (9, 2, 7)
    assert [place for place, count in enumerate(found["counts"]) for _ in range(count)] == [0, 1, 4, 5, 6, 19, 19]
    assert at_least(found, 0.25) == 4
    assert spread(np.zeros(0)) == {"reviews": 0, "mean": 0.0, "none": 0, "counts": [0] * 20}


def test_equal_tables_get_equal_certificates_and_leave_nothing_else_behind(certified, tmp_path):
    again = write(tmp_path / "again", table(r3=review(4)))
    assert certify(again, CONFIG) == read(certified)
    assert (again / CERTIFICATE_FILE).read_bytes() == (certified / CERTIFICATE_FILE).read_bytes()
    assert read(again).digest == hashlib.sha256((again / CERTIFICATE_FILE).read_bytes()).hexdigest()
    assert sorted(path.name for path in again.iterdir()) == ["clean.parquet", CERTIFICATE_FILE]


def test_what_was_hashed_before_changes_nothing_whatever_of_it_is_in_the_table(tmp_path):
    """Handed on are most texts of the table, or only texts that have left it."""
    frame = table(r7="Too short", r30="Too short too")
    plain = certify(write(tmp_path / "plain", frame), CONFIG)
    for name, texts in {"some": frame["text"][10:], "others": pl.Series([review(500), "Gone too"])}.items():
        folder = write(tmp_path / name, frame)
        known = NearDuplicates(folder / "near", CONFIG)
        known.add(text_names(texts), texts)
        before = known.texts
        assert certify(folder, CONFIG, known=known) == plain
        assert known.texts - before == (9 if name == "some" else 98), "hashed again"
        assert sorted(path.name for path in folder.iterdir()) == ["clean.parquet", CERTIFICATE_FILE]
    assert plain.near["shorter"] == 2


def test_a_near_duplicate_is_found_with_what_was_hashed_before(tmp_path):
    frame = table(r50=review(5).upper() + "! P.S.: so good")
    folder = write(tmp_path / "clean", frame)
    known = NearDuplicates(folder / "near", CONFIG)
    known.add(text_names(frame["text"]), frame["text"])
    with pytest.raises(CheckFailed, match=r"1 near-duplicates are in two splits.*id005.*id050"):
        certify(folder, CONFIG, known=known)


def test_a_certificate_survives_json(certified):
    certificate = read(certified)
    assert Certificate.from_json(certificate.to_json()) == certificate
    assert verify(certified) == verify(certified, near=True) == certificate


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


def test_repeats_within_a_split_are_no_leak(tmp_path):
    folder = write(tmp_path / "clean", table(r1=review(2), r51=review(50) + " indeed"))
    assert certify(folder, CONFIG).near["left"] == 0


def test_where_near_duplicates_do_not_count_the_certificate_says_so(tmp_path):
    folder = write(tmp_path / "clean", table(r50=review(5) + " indeed"))
    certificate = certify(folder, DuplicatesConfig(near=False))
    assert (certificate.near, certificate.coverage) == (None, None)
    assert "near-duplicates and passages were not looked for" in certificate.summary
    assert verify(folder, near=True) == certificate


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


def test_other_ids_or_stars_of_the_test_are_another_test_set(certified):
    for changed in (
        pl.when(pl.col("review_id") == "id003").then(pl.lit("id999")).otherwise(pl.col("review_id")).alias("review_id"),
        pl.when(pl.col("review_id") == "id003").then(5).otherwise(pl.col("stars")).alias("stars"),
    ):
        write(certified, table(r3=review(4)).with_columns(changed))
        with pytest.raises(Damaged, match="belongs to another test set"):
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


def test_a_missing_certificate_is_refused(certified):
    (certified / CERTIFICATE_FILE).unlink()
    with pytest.raises(Damaged, match="no readable leak certificate"):
        verify(certified)


def test_the_digest_of_reviews_is_that_of_ids_stars_and_sizes_in_any_order():
    frame = table().select("review_id", "stars", "bytes")
    lines = sorted(f"{review_id} {stars} {size}" for review_id, stars, size in frame.iter_rows())
    assert reviews_digest(frame) == hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert reviews_digest(frame.reverse()) == reviews_digest(frame) != reviews_digest(frame.head(99))
