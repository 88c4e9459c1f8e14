"""What the gate is told of the prepared data as they are now: of leaks, and of the data checks."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from reviewlm.core.store import Artifact
from reviewlm.corpus.splitting.certificate import CERTIFICATE_FILE, certify, read, reviews_digest
from reviewlm.data_checks.report import CheckReport, ExpectationResult
from reviewlm.tasks.data.prepare import REPORT_FILE
from reviewlm.tasks.promotion.evidence import look_for_leaks, summarise_checks

SPLITS = ["test"] * 10 + ["validation"] * 10 + ["train"] * 20


def reviews(**changed):
    random = np.random.default_rng(1)
    texts = [" ".join(f"w{n}" for n in random.integers(0, 900, 20)) for _ in SPLITS]
    for name, other in changed.items():
        texts[int(name[1:])] = texts[other]
    sizes = [len(text) + 1 for text in texts]
    ids = [f"id{i}" for i in range(len(SPLITS))]
    return pl.DataFrame(
        {
            "review_id": ids,
            "text": texts,
            "stars": 3,
            "bytes": sizes,
            "split": SPLITS,
        }
    )


@pytest.fixture
def clean(tmp_path):
    reviews().write_parquet(tmp_path / "clean.parquet")
    digest = certify(tmp_path).digest
    return Artifact("prepare", "clean1", str(tmp_path), {"facts": {"certificate": digest}})


def test_a_certificate_that_holds_names_the_test_reviews_that_scores_name(clean):
    leaks = look_for_leaks(clean)
    assert leaks.free
    assert leaks.test == reviews_digest(reviews().filter(split="test"))
    assert leaks.test == read(clean.folder).test_reviews
    assert look_for_leaks(clean, ["gone"]).detail.endswith("gone")  # the champion's data


def test_without_a_certificate_nothing_is_known(clean):
    (clean.folder / CERTIFICATE_FILE).unlink()
    assert look_for_leaks(clean).free is None


def test_one_test_review_planted_in_train_is_named(clean):
    reviews(r30=2).write_parquet(clean.folder / "clean.parquet")
    leaks = look_for_leaks(clean)
    assert leaks.free is False
    assert "id2" in leaks.detail
    assert "id30" in leaks.detail


@pytest.mark.parametrize(
    "known", [True, False], ids=["another one", "one that the preparation does not know of"]
)
def test_a_certificate_that_is_not_the_one_of_the_prepared_data_counts_for_nothing(clean, known):
    if known:
        certify(clean.folder, {"pairs": 1})
    leaks = look_for_leaks(
        clean if known else Artifact("prepare", "clean1", str(clean.folder), {"facts": {}})
    )
    assert leaks.free is False
    assert "not the one of the prepared data" in leaks.detail


@pytest.mark.parametrize(
    ("passed", "expected"), [([], None), ([True, True], True), ([True, False], False)]
)
def test_checks_that_were_not_run_have_not_passed(
    passed,
    expected,
    tmp_path,
):
    checks = [
        Artifact("check", f"c{number}", str(tmp_path / str(number)))
        for number in range(len(passed))
    ]
    for artifact, verdict in zip(checks, passed, strict=True):
        artifact.folder.mkdir()
        result = ExpectationResult(
            "expect_column_to_exist",
            "critical",
            verdict,
            "",
            "",
        )
        report = CheckReport(
            "clean",
            "clean",
            verdict,
            (result,),
            Path("index.html"),
        )
        (artifact.folder / REPORT_FILE).write_text(report.to_json())
    assert summarise_checks(checks)[0] is expected
