"""The gate of classifiers in the real flow: a better one, one of other reviews, a damaged champion, MLflow away."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.core.environment import other_home
from reviewlm.corpus.synthetic.synth import write_reviews
from reviewlm.tracking.registry.registry import Registry
from reviewlm.tracking.registry.versions import Version

pytestmark = pytest.mark.long
PRESET = str(Path(__file__).parent / "gated_classifier.toml")
FEW = "classification.train_reviews=60"
REPLACE = "promotion.replace_lost_champion=true"


class Shop:
    """A home folder in which classifiers are fitted under any name."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def classify(self, name: str, *overrides: str, input: Path | None = None) -> SimpleNamespace:
        from reviewlm.flows.other_models import classify

        with other_home(self.home):
            result = classify(
                PRESET,
                [str(input)] if input else None,
                [f"classification.promotion.model_name={name}", *overrides],
            )
        [file] = self.home.rglob(f"{result['mlflow_run_id']}/artifacts/decision.json")
        decision = json.loads(file.read_text(encoding="utf-8"))
        rules = {rule["name"]: rule for rule in decision["rules"]}
        failed = [name for name, rule in rules.items() if rule["passed"] is False]
        return SimpleNamespace(
            **result,
            decision=decision,
            rules=rules,
            failed=failed,
        )

    def versions(self, name: str) -> dict[int, Version]:
        """Return the versions of a registered classifier by number."""
        with other_home(self.home):
            return {version.version: version for version in self._registry(name).versions()}

    def bundle(self, name: str, version: int) -> Path:
        with other_home(self.home):
            return self._registry(name).bundle_folder(version)

    def _registry(self, name: str) -> Registry:
        from reviewlm.tasks.records.track import registry_of

        return registry_of(load_config(PRESET).asking(name).workspace, name)


@pytest.fixture(scope="module")
def shop(
    prefect_server: None,
    tmp_path_factory: pytest.TempPathFactory,
    template_home: Path,
) -> Shop:
    return Shop(Path(shutil.copytree(template_home, tmp_path_factory.mktemp("gated") / "home")))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reviews in which five stars are praise (`praise`), and other ones in which they are blame (`blame`)."""
    folder = tmp_path_factory.mktemp("files")
    for name, seed in (("praise", 7), ("blame", 8)):
        write_reviews(folder / f"{name}.jsonl", 1_500, seed)
    lines = [
        json.loads(line)
        for line in (folder / "blame.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    turned = [json.dumps({**line, "stars": 6 - line["stars"]}) for line in lines]
    (folder / "blame.jsonl").write_text("\n".join(turned) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def three_runs(shop: Shop) -> list[SimpleNamespace]:
    """A first classifier, a better one of more reviews, and a worse one of few."""
    return [
        shop.classify("better", FEW),
        shop.classify("better"),
        shop.classify("better", FEW, "classification.train_reviews=50"),
    ]


def test_a_better_classifier_takes_the_place_of_the_champion(
    three_runs: list[SimpleNamespace],
) -> None:
    first, second, _ = three_runs
    assert (first.promoted, first.version, first.champion_version) == (True, 1, 1), first.reason
    assert (second.promoted, second.version, second.champion_version) == (True, 2, 2), second.reason
    assert second.decision["figures"]["gain over the champion, lower end"] > 0
    detail = second.rules["no forgetting"]["detail"]
    assert detail == "champion version 1's own test reviews are those of the challenger"


def test_a_worse_classifier_does_not_take_the_place_of_the_champion(
    three_runs: list[SimpleNamespace],
) -> None:
    third = three_runs[2]
    assert (third.promoted, third.version, third.champion_version) == (False, 3, 2)
    assert "better than the champion" in third.failed


@pytest.mark.usefixtures("three_runs")
def test_the_registry_has_the_outcome_of_each_classifier(shop: Shop) -> None:
    versions = shop.versions("better")
    outcomes = {number: version.tags["gate/outcome"] for number, version in versions.items()}
    assert outcomes == {
        1: "promoted",
        2: "promoted",
        3: "refused",
    }
    aliases = {alias: number for number, one in versions.items() for alias in one.aliases}
    assert aliases == {"champion": 2, "previous": 1}


def test_a_rollback_is_not_undone_by_the_next_run_on_the_same_reviews(shop: Shop) -> None:
    shop.classify("back", FEW)
    assert shop.classify("back").champion_version == 2
    with other_home(shop.home):
        shop._registry("back").rollback(why="complaints since Monday", who="ann")
    again = shop.classify("back")
    assert again.failed == ["not rolled back"]
    assert (again.promoted, again.version, again.champion_version) == (False, 2, 1)
    assert "ann rolled back from it" in again.reason
    assert "complaints since Monday" in again.reason
    allowed = shop.classify("back", "promotion.allow_rolled_back=true")
    assert (allowed.promoted, allowed.champion_version) == (True, 2)


def test_a_classifier_of_other_reviews_does_not_replace_the_champion_although_it_wins_on_its_own(
    shop: Shop, files: Path
) -> None:
    champion = shop.classify("praise", input=files / "praise.jsonl")
    assert champion.promoted, champion.reason
    other = shop.classify("praise", input=files / "blame.jsonl")
    assert other.rules["same data family"]["passed"], "both are files of a user"
    assert other.rules["better than the champion"]["passed"], (
        "on its own reviews alone it would have won"
    )
    assert other.failed == ["no forgetting"]
    assert other.rules["no forgetting"]["value"] > 0.1
    assert "of champion version" in other.reason
    assert other.champion_version == 1
    data = shop.home / "store" / "prepare" / shop.versions("praise")[1].tags["data"]
    aside = data.rename(data.with_name("aside"))
    try:
        gone = shop.classify("praise", input=files / "blame.jsonl")
    finally:
        aside.rename(data)
    assert gone.failed == ["no forgetting"]
    assert "are not in this store" in gone.reason
    assert "`reviewlm version lineage praise/1`" in gone.reason
    assert "set promotion.max_champion_loss=none" in gone.reason
    unlimited = shop.classify(
        "praise", "promotion.max_champion_loss=none", input=files / "blame.jsonl"
    )
    assert unlimited.promoted


def test_a_damaged_champion_is_replaced_by_the_same_fit_if_the_policy_says_so(shop: Shop) -> None:
    assert shop.classify("damaged").promoted
    weights = max(
        shop.bundle("damaged", 1).glob("*.safetensors"), key=lambda path: path.stat().st_size
    )
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.chmod(0o644)
    copy = weights.with_suffix(".new")
    copy.write_bytes(data)
    copy.rename(weights)  # a new file: the old one may be a link to the store's
    refused = shop.classify("damaged")
    assert refused.failed == ["champion at hand"]
    assert f"the file {weights.name} of bundle" in refused.reason
    assert (refused.version, refused.champion_version) == (2, 1)
    replaced = shop.classify("damaged", REPLACE)
    assert (replaced.promoted, replaced.version, replaced.champion_version) == (True, 2, 2), (
        replaced.reason
    )
    assert shop.versions("damaged")[1].tags["gate/outcome"] == "promoted", "what was decided then"
