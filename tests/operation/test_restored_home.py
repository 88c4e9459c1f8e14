"""A backup of a home in which the pipeline ran is restored elsewhere, and needs nothing of the home that it is from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.flows.first_run import TINY, answer

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]


def written(home: Path) -> Path:
    """Return a file with a text to score, beside the home."""
    (file := home.parent / "text.txt").write_text("The food was great and the service was slow.\n")
    return file


@pytest.fixture(scope="module")
def restored(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """The restored home, what the run returned, and the score of a text before; the home of before is away."""
    folder = tmp_path_factory.mktemp("restored")
    home, file, to = folder / "home", folder / "backup.tar.gz", folder / "elsewhere" / "restored"
    ran = answer(home, "run", "--preset", TINY)
    assert ran["promoted"] is True
    scored = answer(home, "score", str(written(home)))
    answer(
        home,
        "home",
        "backup",
        "--to",
        str(file),
    )
    home.rename(folder / "away")
    answer(
        to.with_name("unused"),
        "home",
        "restore",
        str(file),
        "--home",
        str(to),
    )
    return to, ran, scored


def test_the_champion_scores_as_before(restored: Any) -> None:
    home, _, scored = restored
    assert answer(home, "score", str(written(home)))["nats"] == scored["nats"]


def test_the_champion_has_its_lineage(restored: Any) -> None:
    home, _, _ = restored
    assert (
        len(
            answer(
                home,
                "version",
                "lineage",
                "champion",
                "--verify",
            )["steps"]
        )
        > 10
    )


def test_it_is_made_again_bit_by_bit(restored: Any) -> None:
    made = answer(restored[0], "version", "reproduce", "champion")
    assert len(made["steps"]) > 10
    assert [step["stage"] for step in made["steps"] if not step["equal"]] == []


def test_a_retrain_in_which_nothing_changed_builds_nothing(restored: Any) -> None:
    home, ran, _ = restored
    again = answer(home, "run", "--preset", TINY)
    assert len(again["reused"]) == again["stages"] == ran["stages"]
    assert again["champion_version"] == 1
    assert Path(again["report"]).is_relative_to(home)


def test_nothing_was_written_to_the_place_of_before(restored: Any) -> None:
    assert not (restored[0].parents[1] / "home").exists()
