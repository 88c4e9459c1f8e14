"""`reviewlm models punctuate` fits once, scores on test reviews, and writes with what was fitted last."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from reviewlm.core.environment import other_home
from reviewlm.core.errors import ArtifactError, InputError
from tests.flows.first_run import TINY

pytestmark = pytest.mark.slow
SETS = ["punctuation.hidden=16", "punctuation.train_words=8000", "punctuation.epochs=60"]


@pytest.fixture(scope="module")
def punctuated_home(
    prefect_server: None,
    template_home: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    return Path(shutil.copytree(template_home, tmp_path_factory.mktemp("punctuated") / "home"))


@pytest.fixture(scope="module")
def results(punctuated_home: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the flow returns at first and again."""
    from reviewlm.flows.other_models import punctuate

    with other_home(punctuated_home):
        return punctuate(TINY, None, SETS), punctuate(TINY, None, SETS)


def test_it_is_fitted_once(results: tuple[dict[str, Any], dict[str, Any]]) -> None:
    first, second = results
    assert second["digest"] == first["digest"]
    assert first["reviews"]["train"] > 20


def test_it_is_better_than_the_usual_tag(results: tuple[dict[str, Any], dict[str, Any]]) -> None:
    rows = {(row["class"], row["model"]): row for row in results[0]["rows"]}
    assert rows["all four marks", "network"]["gain_lo"] > 0


@pytest.mark.usefixtures("results")
def test_texts_keep_their_words(
    punctuated_home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from reviewlm.verbs.other_models.punctuate import write

    (plain := tmp_path / "plain.txt").write_text("the food was great\nwe liked it\n")
    with other_home(punctuated_home):
        write([str(plain), "so good"], preset=TINY, json=True)
    written = json.loads(capsys.readouterr().out.splitlines()[-1])["texts"]
    assert [text.lower().replace(",", "").rstrip(".!?") for text in written] == [
        "the food was great",
        "we liked it",
        "so good",
    ]


@pytest.mark.long
def test_texts_that_lost_their_case_are_refused(
    prefect_server: None,
    tmp_path: Path,
    template_home: Path,
) -> None:
    from reviewlm.flows.other_models import punctuate

    home = Path(shutil.copytree(template_home, tmp_path / "home"))
    lines = [
        {"text": f"the food number {n} was great, we will come back. yes", "stars": 5}
        for n in range(300)
    ]
    (file := tmp_path / "lower.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines)
    )
    with other_home(home), pytest.raises(InputError, match="no capitals"):
        punctuate(TINY, [str(file)], SETS)


def test_without_a_model_the_command_says_how_to_get_one(tmp_path: Path) -> None:
    from reviewlm.core.config.presets import load_config
    from reviewlm.tasks.punctuate import newest_punctuator

    with pytest.raises(ArtifactError, match="no model yet") as found, other_home(tmp_path / "home"):
        newest_punctuator(load_config(TINY).home)
    assert "punctuate fit" in found.value.remedy
