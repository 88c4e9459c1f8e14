"""`models classify compare` on a real home: two versions that were fitted on other splits of the same reviews."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.core.environment import other_home
from reviewlm.core.store import Store
from tests.flows.first_run import Ran as Home

pytestmark = [pytest.mark.slow, pytest.mark.long]
PRESET = """
extends = "{tiny}"
[audit]
canaries = 0
[classification]
baseline = "one"
[promotion]
max_latency_ms = "none"
[[classification.models]]
kind = "logistic"
name = "one"
strengths = [1.0]
"""


@pytest.fixture(scope="module")
def done(
    prefect_server: None,
    tmp_path_factory: pytest.TempPathFactory,
    template_home: Path,
) -> Home:
    """A home with version 1 of the split of the preset, and version 2 of a split with another salt."""
    from reviewlm.flows.other_models import classify

    home = Path(shutil.copytree(template_home, tmp_path_factory.mktemp("compared") / "home"))
    preset = home.parent / "one.toml"
    preset.write_text(PRESET.format(tiny=Path(__file__).parent / "tiny.toml"))
    with other_home(home):
        results = [
            classify(str(preset), None, [f"split.salt={salt}"]) for salt in ("reviewlm", "other")
        ]
    assert [result["version"] for result in results] == [1, 2]
    return Home(home, {"first": results[0], "second": results[1]})


def compared(done: Home, *overrides: str, **given: Any) -> dict[str, Any]:
    from reviewlm.flows.other_models import compare_classifiers_of

    with other_home(done.home):
        return dict(
            compare_classifiers_of(
                overrides=list(overrides),
                first="1",
                second="2",
                **given,
            )
        )


def reviews(done: Home, digest: str) -> list[tuple[str, str, str]]:
    """Id, text and split of all prepared reviews."""
    with other_home(done.home):
        clean = Store.of(load_config("classify").home).find("prepare", digest)
    assert clean is not None
    return (
        pl.read_parquet(clean.folder / "clean.parquet").select("review_id", "text", "split").rows()
    )


def test_the_test_reviews_are_those_of_the_newer_version_without_what_the_older_one_learnt(
    done: Home,
) -> None:
    from reviewlm.tracking.logged_models.export import CLASSIFIER
    from reviewlm.tracking.registry.version_settings import settings_of

    with other_home(done.home):
        newer, older = (settings_of([number], form=CLASSIFIER) for number in ("2", "1"))
    assert newer.config.split.salt == "other"
    now, then = (reviews(done, chosen.clean) for chosen in (newer, older))
    known = {value for name, text, split in then if split != "test" for value in (name, text)}
    test = [(name, text) for name, text, split in now if split == "test"]
    learnt = [one for one in test if known & set(one)]
    found = compared(done)
    assert 0 < len(learnt) < len(test)
    assert (found["left_out"], found["reviews"]) == (len(learnt), len(test) - len(learnt))
    [note] = found["notes"]
    assert note.startswith(
        f"A was fitted or chosen on {len(learnt)} of the {len(test)} test reviews"
    )
    assert (found["a"], found["b"]) == (
        "reviewlm-demo-stars version 1 (one)",
        "reviewlm-demo-stars version 2 (one)",
    )
