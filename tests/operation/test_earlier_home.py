"""A home that an earlier commit of the project made is upgraded, and its champion is opened, scored and verified."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.flows.first_run import ROOT, answer, user_environment

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]
EARLIER = {"9f3c2cc4": "rensa", "5a40f2f9": ""}
"""Commits of 2026-11-22 and 2026-11-25, before the first release, and the package that one needs beside today's."""


def written(home: Path) -> Path:
    """Return a file with a text to score, beside the home."""
    (file := home.parent / "text.txt").write_text("The food was great and the service was slow.\n")
    return file


def reviews(home: Path) -> Path:
    """Return the place of a file of reviews beside the home. Without a file, models get the demo's name since."""
    return home.parent / "reviews.jsonl"


@pytest.fixture(scope="module", params=EARLIER)
def earlier_code(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if package := EARLIER[request.param]:
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("earlier")
    git = shutil.which("git") or pytest.skip("git is not installed")
    packed = subprocess.run([git, "archive", request.param], cwd=ROOT, capture_output=True)
    if packed.returncode:
        pytest.skip(f"this copy of the project lacks the commit {request.param} (git fetch --unshallow gets it)")
    subprocess.run(["tar", "x"], cwd=folder, input=packed.stdout, check=True)
    return folder


@pytest.fixture(scope="module")
def earlier(earlier_code: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The home, and what the earlier code says of a text."""
    home = tmp_path_factory.mktemp("kept") / "home"
    environment = user_environment(home) | {"PYTHONPATH": str(earlier_code)}
    told = subprocess.run([sys.executable, "-c", "import core; print(core.__file__)"], env=environment,
                          cwd=earlier_code, capture_output=True, text=True, check=True)  # fmt: skip
    assert Path(told.stdout.strip()).is_relative_to(earlier_code), "the earlier code is what runs"
    answer(home, "synth", "--reviews", "600", "--out", str(reviews(home)), code=earlier_code)
    preset = str(earlier_code / "tests" / "flows" / "tiny.toml")
    ran = answer(home, "run", "--preset", preset, "--input", str(reviews(home)), code=earlier_code)
    assert ran["promoted"] is True
    return home, answer(home, "score", str(written(home)), code=earlier_code)


def test_its_champion_is_the_same_after_the_upgrade(earlier: tuple[Path, dict[str, Any]]) -> None:
    home, scored = earlier
    answer(home, "upgrade")
    assert answer(home, "doctor")["problems"] == 0
    assert [one["aliases"] for one in answer(home, "history")["versions"]] == ["champion"]
    assert answer(home, "score", str(written(home)))["nats"] == pytest.approx(scored["nats"], rel=1e-6)
    assert len(answer(home, "lineage", "champion", "--verify")["steps"]) > 10


def test_the_next_retrain_goes_on_in_it(earlier: tuple[Path, dict[str, Any]]) -> None:
    """Stages whose version was raised are built anew; the gate compares to the champion of before."""
    home, _ = earlier
    ran = answer(home, "run", "--preset", str(ROOT / "tests" / "flows" / "tiny.toml"), "--input", str(reviews(home)))
    assert ran["champion_version"] in (1, 2)
    history = answer(home, "history")
    assert history["damage"] == []
    assert history["events"][-1]["version"] == 1, "the first promotion is still in the log"
