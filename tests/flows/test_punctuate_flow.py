"""`reviewlm models punctuate` fits once, scores on test reviews, and writes with what was fitted last."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from reviewlm.core.environment import other_home
from reviewlm.core.errors import ArtifactError, InputError
from tests.flows.first_run import TINY

pytestmark = pytest.mark.slow
SETS = ["punctuation.hidden=16", "punctuation.train_words=8000", "punctuation.epochs=60"]


def test_it_is_fitted_once_and_better_than_the_usual_tag(
    prefect_server: None, tmp_path: Path, template_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from reviewlm.flows.other_models import punctuate
    from reviewlm.verbs.other_models.punctuate import write

    home = Path(shutil.copytree(template_home, tmp_path / "home"))
    with other_home(home):
        first, second = punctuate(TINY, None, SETS), punctuate(TINY, None, SETS)
        (plain := tmp_path / "plain.txt").write_text("the food was great\nwe liked it\n")
        write([str(plain), "so good"], preset=TINY, json=True)
    assert second["digest"] == first["digest"]
    assert first["reviews"]["train"] > 20
    [marks] = [
        row
        for row in first["rows"]
        if row["class"] == "all four marks" and row["model"] == "network"
    ]
    assert marks["gain_lo"] > 0
    written = json.loads(capsys.readouterr().out.splitlines()[-1])["texts"]
    assert [text.lower().replace(",", "").rstrip(".!?") for text in written] == [
        "the food was great",
        "we liked it",
        "so good",
    ]


@pytest.mark.long
def test_texts_that_lost_their_case_are_refused(
    prefect_server: None, tmp_path: Path, template_home: Path
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
