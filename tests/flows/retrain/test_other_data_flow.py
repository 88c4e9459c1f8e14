"""A champion of reviews, and what comes after it: the demo, paint names, and reviews once more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.core.config.sections.evaluation import OWN_MODEL
from reviewlm.core.environment import other_home
from reviewlm.corpus.synthetic.synth import write_reviews

pytestmark = pytest.mark.long
BIGRAM = str(Path(__file__).parents[1] / "bigram.toml")
COLOURS = ("Red", "Blue", "Green", "Coral", "Ivory", "Slate", "Amber", "Plum", "Teal", "Sand")
KINDS = (
    "Sunset",
    "Harbor",
    "Meadow",
    "Winter",
    "Desert",
    "Garden",
    "Velvet",
    "Stone",
    "River",
    "Morning",
)
ENDS = ("Mist", "Glow", "Shade", "Whisper", "Dust", "Haze", "Bloom")


class Home:
    """A home folder in which the pipeline runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, input: Path | None, *overrides: str) -> SimpleNamespace:
        from reviewlm.flows.retrain import retrain

        result = retrain(BIGRAM, [str(input)] if input else None, list(overrides))
        return SimpleNamespace(**result, rules=self._rules(result["mlflow_run_id"]))

    def _rules(self, run_id: str) -> dict[str, Any]:
        [file] = self.folder.rglob(f"{run_id}/artifacts/decision.json")
        return {rule["name"]: rule for rule in json.loads(file.read_text())["rules"]}

    def version(self, name: str = OWN_MODEL, alias: str = "champion") -> Any:
        from reviewlm.tasks.records.track import registry_of

        return registry_of(load_config(BIGRAM).asking(name).workspace, name).alias(alias)


@pytest.fixture(scope="module")
def shop(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home whose champion, version 1, was made from a file of reviews."""
    folder = tmp_path_factory.mktemp("families")
    write_reviews(
        folder / "reviews.jsonl",
        400,
        7,
        0.0,
        0.0,
    )
    write_reviews(
        folder / "others.jsonl",
        400,
        8,
        0.0,
        0.0,
    )
    names = [" ".join(parts) for parts in product(COLOURS, KINDS, ENDS)]
    (folder / "paint.txt").write_text("\n".join(names), encoding="utf-8")
    with other_home(folder / "home"):
        made = Home(folder / "home")
        first = made.run(folder / "reviews.jsonl")
        assert first.promoted, first.reason
        yield made


@pytest.fixture(scope="module")
def files(shop: Home) -> Path:
    return shop.folder.parent


def test_a_version_says_of_which_data_it_was_made(shop: Home, files: Path) -> None:
    from reviewlm.core.lineage import Family, digest_of_sources
    from reviewlm.core.store import sha256_of

    version = shop.version()
    sources = digest_of_sources([sha256_of(files / "reviews.jsonl")])
    assert Family.of_tags(version.tags) == Family("reviews", sources)


def test_a_schedule_without_input_reads_the_files_of_the_champion_again(
    shop: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reviewlm.flows.retrain import resolve

    monkeypatch.setattr("reviewlm.flows.retrain.deployment", SimpleNamespace(id="weekly"))
    config = resolve("small", None, None)
    assert config.source.input == (str(shop.folder.parent / "reviews.jsonl"),)
    assert (config.preset, config.promotion.model_name) == ("small", OWN_MODEL)


def test_paint_names_do_not_replace_the_champion_of_reviews_although_no_family_was_set(
    shop: Home, files: Path
) -> None:
    paint = shop.run(files / "paint.txt")
    assert not paint.promoted
    assert paint.rules["better than the champion"]["passed"], (
        "on paint names alone it would have won"
    )
    assert paint.rules["same data family"]["passed"], "both are files of a user"
    failed = [name for name, rule in paint.rules.items() if rule["passed"] is False]
    assert failed == ["no forgetting"]
    assert paint.rules["no forgetting"]["value"] > 0.5
    assert "of champion version" in paint.rules["no forgetting"]["detail"]
    assert shop.version().version == 1


def test_reviews_that_grow_are_judged_on_the_champions_part_without_new_scores(
    shop: Home, files: Path
) -> None:
    """The test reviews of before are test reviews still, so that nothing has to be scored for the rule."""
    both = files / "both"
    both.mkdir()
    for name in ("reviews.jsonl", "others.jsonl"):
        (both / name).write_bytes((files / name).read_bytes())
    before = set((shop.folder / "store" / "score").iterdir())
    grown = shop.run(both)
    detail = grown.rules["no forgetting"]["detail"]
    assert grown.rules["no forgetting"]["passed"], detail
    assert "of champion version" in detail
    new = set((shop.folder / "store" / "score").iterdir()) - before
    assert len(new) == 3, "validation and test of the challenger, test of the champion"
