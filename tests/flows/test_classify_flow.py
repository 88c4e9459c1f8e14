"""The real flow of classifiers, end to end, on a tiny corpus: fits, comparison, gate, registry, report."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.core.config.sections.other_models import ClassificationConfig
from reviewlm.core.environment import other_home
from reviewlm.core.errors import BundleError, InputError
from reviewlm.tasks.classification.predict import PREDICTIONS_FILE
from reviewlm.tasks.execution.cluster import is_installed
from reviewlm.tracking.logged_models.export import CLASSIFIER
from reviewlm.tracking.registry.locating import tracker_at
from reviewlm.tracking.registry.opening import open_champion, open_version
from reviewlm.tracking.tags import metric_name, unpack_tags
from tests.flows.first_run import Ran as Home
from tests.flows.first_run import artifacts_of, mlflow_client
from tests.small_cluster import MISSING, small_cluster

pytestmark = pytest.mark.slow
PRESET = str(Path(__file__).parent / "tiny_classifiers.toml")
NAME = "reviewlm-demo-stars"
WORDS = ("The", "food", "was", "great", "staff")
LOGISTIC = '{kind="logistic", name="logistic", strengths=[1.0]}'
FINE_TUNED = """{kind="lstm", name="fine-tuned", start="lstm", hidden=24, embedding=16, training={epochs=1, batch=16,
  evaluations=1, precision="float32"}, unfreeze_epochs=0.2}""".replace("\n", "")
"""Two classifiers as overrides: each fit is a process, which takes seconds to start."""


def classified(home: Path, *overrides: str, files: list[str] | None = None) -> dict[str, Any]:
    """Run the flow; "gru" starts from a file with vectors of five words."""
    from reviewlm.flows.other_models import classify

    file = home.parent / "vectors.txt"
    file.write_text(
        "".join(
            f"{word} {' '.join(str(len(word) + place) for place in range(16))}\n" for word in WORDS
        )
    )
    named = [f"vectors.five={file}", "classification.models.gru.vectors=five"]
    with other_home(home):
        return classify(PRESET, files, [*named, *overrides])


@pytest.fixture(scope="module")
def done(
    prefect_server: None,
    tmp_path_factory: pytest.TempPathFactory,
    template_home: Path,
) -> Home:
    """A home folder in which the classifiers were fitted once."""
    home = Path(shutil.copytree(template_home, tmp_path_factory.mktemp("classified") / "home"))
    return Home(home, classified(home))


def test_all_classifiers_answer_the_same_reviews(done: Home) -> None:
    models = done.result["models"]
    assert [model["name"] for model in models] == ["logistic", "gru", "fine-tuned"]
    assert len({model["test"]["reviews"] for model in models}) == 1
    assert done.result["labels"] == ["1", "2", "3", "4", "5"]


def test_the_best_classifier_beats_the_majority(done: Home) -> None:
    best = max(model["test"]["accuracy"] for model in done.result["models"])
    assert best > done.result["majority"]["accuracy"]


def test_figures_follow_from_the_stored_predictions(done: Home) -> None:
    found = {}
    for file in (done.home / "store" / "predict").glob(f"*/{PREDICTIONS_FILE}"):
        manifest = json.loads((file.parent / "manifest.json").read_text())
        if manifest["options"]["split"] == "test":
            rows = pl.read_parquet(file)
            found[manifest["inputs"]["bundle"]] = float((rows["truth"] == rows["answer"]).mean())
    assert sorted(found.values()) == pytest.approx(
        sorted(one["test"]["accuracy"] for one in done.result["models"])
    )


def test_the_challenger_is_the_best_on_validation(done: Home) -> None:
    best = max(done.result["models"], key=lambda model: model["validation"]["macro_f1"])
    assert done.result["challenger"] == best["name"]


def test_the_first_challenger_is_promoted(done: Home) -> None:
    result = done.result
    assert (result["promoted"], result["champion_version"]) == (True, 1), result["reason"]


def test_the_challenger_is_registered_under_the_name_of_its_label(done: Home) -> None:
    version = mlflow_client(done).get_model_version(NAME, "1")
    tags = unpack_tags(version.tags)
    assert tags["gate/outcome"] == "promoted"
    assert tags["model"] == done.result["challenger"]
    assert tags["family"] == "synthetic"
    assert tags["gate/rule/same data family"]
    assert tags["lineage"]


def test_the_run_of_the_flow_has_its_decision(done: Home) -> None:
    files = artifacts_of(mlflow_client(done), done.result["mlflow_run_id"])
    assert {"decision.json", "decision.md", "classifiers.json"} <= files


def test_the_run_of_a_classifier_has_its_figures(done: Home) -> None:
    client = mlflow_client(done)
    for model in done.result["models"]:
        run, gain = client.get_run(model["mlflow_run_id"]), metric_name("test/gain_macro_f1")
        assert run.data.metrics["test/accuracy"] == pytest.approx(model["test"]["accuracy"])
        assert run.data.metrics[gain] == model["test"].get("gain_macro_f1", 0.0)
        assert run.data.tags["compare.baseline"] == "logistic"


def test_the_run_of_a_classifier_has_its_confusion(done: Home) -> None:
    client = mlflow_client(done)
    for model in done.result["models"]:
        files = artifacts_of(client, model["mlflow_run_id"])
        assert {"confusion.json", "per_label.json"} <= files


def test_the_registered_classifier_answers_as_offline(done: Home) -> None:
    with other_home(done.home):
        bundle, version = open_version(load_config(PRESET).workspace, NAME, "1", CLASSIFIER)
    assert version.name == NAME
    texts = ["the food was great", "", "it was awful and the staff was rude " * 50]
    found = bundle.classify(texts)
    assert found.probabilities_NK.sum(1) == pytest.approx(np.ones(3), abs=1e-6)
    alone = [bundle.classify([text]).answers_N[0] for text in texts]
    assert found.answers_N.tolist() == alone


@pytest.mark.long
def test_polarity_has_a_registered_model_of_its_own(done: Home) -> None:
    other = classified(
        done.home, "classification.label=polarity", f"classification.models=[{LOGISTIC}]"
    )
    assert other["registered_model"] == "reviewlm-demo-polarity"
    assert other["labels"] == ["negative", "positive"]
    assert other["reviews"] < done.result["reviews"]
    page = Path(other["report"]).read_text(encoding="utf-8")
    assert f"{other['reviews']} of {done.result['reviews']} have a label that is used" in page


def corpus_of(home: Path) -> Path:
    return next((home / "store" / "synthesise").glob("*/reviews.jsonl"))


@pytest.fixture(scope="module")
def moody_reviews(done: Home, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reviews with the fields "mood" and "tone"; those of 3 stars have no mood, and few have the tone "odd"."""
    records = []
    for number, line in enumerate(corpus_of(done.home).read_text().splitlines()):
        with suppress(ValueError, TypeError, KeyError):
            record = json.loads(line)
            mood = {
                1: "blame",
                2: "blame",
                4: "praise",
                5: "praise",
            }.get(record["stars"])
            tone = "odd" if number % 300 == 7 else mood and mood.upper()
            records.append(record | {"mood": mood, "tone": tone})
    file = tmp_path_factory.mktemp("moody") / "mine.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return file


@pytest.fixture(scope="module")
def by_mood(done: Home, moody_reviews: Path) -> dict[str, Any]:
    """The result for the label "mood"."""
    return classified(
        done.home,
        "classification.label=mood",
        f"classification.models=[{LOGISTIC}, {FINE_TUNED}]",
        files=[str(moody_reviews)],
    )


@pytest.mark.long
def test_a_field_of_the_files_is_predicted(by_mood: dict[str, Any], done: Home) -> None:
    assert by_mood["registered_model"] == "reviewlm-mood"
    assert by_mood["labels"] == ["blame", "praise"]
    best = max(model["test"]["accuracy"] for model in by_mood["models"])
    assert best > by_mood["majority"]["accuracy"] + 0.1
    assert by_mood["reviews"] < done.result["reviews"]


@pytest.fixture(scope="module")
def by_tone(
    done: Home,
    moody_reviews: Path,
    by_mood: dict[str, Any],
) -> dict[str, Any]:
    """The result for the label "tone" of the same files, where few reviews are enough to learn a label."""
    asked = (f"classification.models=[{FINE_TUNED}]", "classification.baseline=fine-tuned")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClassificationConfig, "min_label_reviews", 20)
        return classified(
            done.home, "classification.label=tone", *asked, files=[str(moody_reviews)]
        )


@pytest.mark.long
def test_a_label_that_is_too_rare_is_not_learnt(
    by_tone: dict[str, Any], by_mood: dict[str, Any]
) -> None:
    assert by_tone["labels"] == ["BLAME", "PRAISE"]
    assert by_tone["reviews"] <= by_mood["reviews"]


@pytest.mark.long
def test_another_label_of_the_same_files_repeats_only_the_classifiers(
    by_tone: dict[str, Any],
) -> None:
    reused = {"read", "ingest", "prepare", "vocabulary", "tokens", "fit"}
    assert reused <= set(by_tone["reused"])


def test_a_field_without_two_labels_is_refused_before_any_fit(
    done: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ClassificationConfig, "min_label_reviews", 100_000)
    with pytest.raises(InputError, match="fewer than two labels"):
        classified(done.home, "classification.label=useful", files=[str(corpus_of(done.home))])


def test_a_version_is_tried_before_it_is_promoted_by_hand(done: Home) -> None:
    with other_home(done.home):
        tracker = tracker_at(load_config(PRESET).workspace)
        bundle, version = open_champion(tracker, f"models:/{NAME}/1", form=None)

    assert version.version == 1
    assert list(bundle.labels) == done.result["labels"]


def test_a_classifier_is_not_opened_as_a_language_model(done: Home) -> None:
    config = load_config(PRESET)
    with other_home(done.home), pytest.raises(BundleError) as refused:
        open_version(config.workspace, config.promotion.model_name, f"{NAME}/1")
    assert "not a language model" in refused.value.cause


@pytest.mark.long
def test_a_version_made_again_in_another_folder_is_equal_to_the_last_byte(
    done: Home, tmp_path: Path
) -> None:
    from reviewlm.flows.versions import reproduce

    with other_home(done.home):
        found = reproduce(
            PRESET,
            None,
            None,
            f"models:/{NAME}/1",
            str(tmp_path / "again"),
        )
    made = [step["stage"] for step in found["steps"]]
    assert {"ingest", "vocabulary", "tokens", "fit-classifier"} < set(made)
    assert made.count("predict") == 2
    assert found["verdict"] == "bit-equal"
    assert all(row["now"] == row["then"] for row in found["figures"])
    assert {row["figure"] for row in found["figures"]} == {"accuracy"}


ON_NODE = {
    "device": "cpu",
    "ranks": 1,
    "threads": 1,
}
"""Resources that only the record of a fit on a node of a cluster names."""


def fits_of(home: Path) -> dict[str, tuple[dict[str, Any], bool]]:
    """Return the files of each fitted classifier with size and SHA-256, and whether a node of a cluster fitted it."""
    found = [
        json.loads(file.read_text())
        for file in (home / "store" / "fit-classifier").glob("*/manifest.json")
    ]
    varying = {"metrics.jsonl": None}
    return {
        one["facts"]["name"]: (
            {**one["files"], **varying},
            one["environment"].get("resources") == ON_NODE,
        )
        for one in found
        if one["facts"]["label"] == "stars"
    }


def test_networks_that_a_cluster_fits_are_equal_to_the_last_byte(done: Home) -> None:
    if not is_installed():
        pytest.skip(MISSING)
    before = fits_of(done.home)
    with small_cluster(nodes=0, head=1) as cluster:
        address = f"execution.cluster={cluster.address}"
        again = classified(done.home, address, "execution.rebuild=['fit-classifier']")
    after = fits_of(done.home)
    assert {name: files for name, (files, _) in after.items()} == {
        name: files for name, (files, _) in before.items()
    }
    assert {name for name, (_, away) in after.items() if away} == {"gru", "fine-tuned"}
    assert [model["test"] for model in again["models"]] == [
        model["test"] for model in done.result["models"]
    ]
