"""Which test reviews two registered classifiers are compared on: none that either of them has learnt from."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.errors import BundleError, EmptyInput, InputError
from reviewlm.core.store import Artifact, Store
from reviewlm.core.workspace import Workspace
from reviewlm.models.classification.bundle import load_classifier, save_classifier
from reviewlm.tasks.classification import compare, predict
from reviewlm.tasks.classification.compare import compare_two_classifiers, group_predictions
from reviewlm.tasks.classification.labelling import of_stars
from reviewlm.tasks.execution.stage import run_stage
from reviewlm.training.context import FitContext
from reviewlm.training.labelling.fitting import fit_classifier
from tests.models.classification.made_reviews import examples, small, texts, vocabulary

REVIEWS = 60
STARS = ("1", "2", "3", "4", "5")


@pytest.fixture(autouse=True)
def registered(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Folders of the registered versions, by number."""
    versions: dict[str, Path] = {}

    def find(
        workspace: Workspace,
        model_name: str,
        reference: str,
    ) -> Any:
        if reference not in versions:
            raise BundleError(f"Nothing is registered as {reference} yet")
        return SimpleNamespace(
            folder=versions[reference],
            version=SimpleNamespace(name="reviewlm-stars", version=int(reference)),
        )

    monkeypatch.setattr(compare, "find", find)
    monkeypatch.setattr(
        "reviewlm.tasks.promotion.ancestry.registry_of",
        lambda *asked: SimpleNamespace(versions=lambda: []),
    )
    return versions


def prepared(
    salt: str,
    splits: Mapping[int, str],
    prefix: str = "r",
) -> Artifact:
    """Prepared data of the same reviews: number of each review and its split; *prefix* begins the ids."""
    made, targets = texts(REVIEWS, 3)

    def make(work: Path) -> dict[str, Any]:
        rows = [
            {
                "review_id": f"{prefix}{number}",
                "text": made[number],
                "stars": int((1, 3, 5)[targets[number]]),
                "split": split,
                "date": None,
                "categories": "",
                "user_id": "",
                "business_id": "",
            }
            for number, split in splits.items()
        ]
        pl.DataFrame(rows).write_parquet(work / "clean.parquet")
        counts = {
            split: {"reviews": list(splits.values()).count(split)}
            for split in ("train", "validation", "test")
        }
        return {"splits": counts}

    return run_stage(
        RunConfig().workspace,
        "prepare",
        {"salt": salt, "prefix": prefix},
        {},
        make,
    ).artifact


def cut(first: int, second: int) -> dict[int, str]:
    """Reviews before *first* are the test split, those before *second* the validation split."""
    return {
        n: "test" if n < first else "validation" if n < second else "train" for n in range(REVIEWS)
    }


def classifier(
    folder: Path,
    clean: Artifact,
    labels: tuple[str, ...] = STARS,
    **facts: Any,
) -> Path:
    """A classifier of the made language that was fitted on prepared data, as a bundle."""
    words = vocabulary()
    train = examples(words, 80, len(str(folder)))
    of_label = np.array([labels.index(star) if star in labels else 0 for star in ("1", "3", "5")])
    targets = of_label[train.targets]
    targets[: len(labels)] = np.arange(len(labels))
    spec = small("logistic", labels=labels, name="lr")
    fitted = type(train)(train.sequences, targets)
    model = fit_classifier(
        spec,
        words,
        fitted,
        fitted,
        FitContext(folder / "work"),
    ).model
    save_classifier(
        folder / "bundle",
        spec,
        words,
        model,
        ["great"],
        {"learnt_from": [clean.digest], **facts},
    )
    return folder / "bundle"


def compared(clean: Artifact, *overrides: str) -> dict[str, Any]:
    config = load_config(
        "classify", ["evaluation.resamples=200", "execution.device=cpu", *overrides]
    )
    return dict(compare_two_classifiers.fn(config, clean, "1", "2"))


def test_reviews_that_a_version_was_fitted_or_chosen_on_are_left_out_of_both_sides(
    registered: dict[str, Path], tmp_path: Path
) -> None:
    """Of today's test reviews 0 … 29, the other split had 0 … 9 as test, 10 … 19 as validation, 20 … 29 as training."""
    today, before = prepared("today", cut(30, 40)), prepared("before", cut(10, 20))
    registered.update(
        {"1": classifier(tmp_path / "a", before), "2": classifier(tmp_path / "other", today)}
    )
    found = compared(today)
    assert (found["reviews"], found["left_out"]) == (10, 20)
    assert found["notes"] == [
        "A was fitted or chosen on 20 of the 30 test reviews: they are left out"
    ]
    assert [model["test"]["reviews"] for model in found["models"]] == [10, 10]
    assert (found["a"], found["b"]) == (
        "reviewlm-stars version 1 (lr)",
        "reviewlm-stars version 2 (lr)",
    )


def test_data_that_the_store_has_lost_are_a_note(
    registered: dict[str, Path], tmp_path: Path
) -> None:
    today, before = prepared("today", cut(30, 40)), prepared("before", cut(10, 20))
    registered.update(
        {"1": classifier(tmp_path / "a", before), "2": classifier(tmp_path / "other", today)}
    )
    shutil.rmtree(before.folder)
    assert Store.of(RunConfig().home).find("prepare", before.digest) is None
    [note] = compared(today)["notes"]
    assert note.startswith("it is not known whether A learnt from these test reviews: ")
    assert before.digest in note


def test_without_a_review_that_both_do_not_know_there_is_nothing_to_compare(
    registered: dict[str, Path], tmp_path: Path
) -> None:
    today, before = (
        prepared("today", cut(30, 40)),
        prepared("before", {n: "train" for n in range(REVIEWS)}),
    )
    registered.update(
        {"1": classifier(tmp_path / "a", before), "2": classifier(tmp_path / "other", today)}
    )
    with pytest.raises(
        EmptyInput, match="no test review that neither version has learnt from"
    ) as refused:
        compared(today)
    assert refused.value.value == "30 test reviews, 30 of them learnt"
    assert "--input" in refused.value.remedy


def test_a_version_with_other_labels_is_refused(
    registered: dict[str, Path], tmp_path: Path
) -> None:
    today = prepared("today", cut(30, 40))
    polarity = classifier(tmp_path / "p", today, ("negative", "positive"))
    registered.update({"1": polarity, "2": classifier(tmp_path / "other", today)})
    with pytest.raises(InputError, match="predicts other labels") as refused:
        compared(today)
    assert (refused.value.where, refused.value.value) == (
        "reviewlm-stars version 1",
        "negative, positive",
    )


def test_groups_that_have_no_labelled_review_do_not_count() -> None:
    """An interval draws as many groups as there are numbers, so a gap would be a group without a review."""
    documents = pl.DataFrame({"review_id": ["a", "b", "c", "d"], "group": [0, 1, 4, 4]})
    rows = pl.DataFrame(
        {
            "review_id": ["d", "b", "c"],
            "truth": [0, 1, 0],
            "answer": [0, 0, 0],
        }
    )
    found = group_predictions(("1", "5"), rows.with_columns(probabilities=None), documents)
    assert found.groups_N is not None
    assert found.groups_N.max() == 1
    assert found.groups_N[0] == found.groups_N[2] != found.groups_N[1]


def test_a_bundle_is_wrong_on_reviews_of_a_label_that_it_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows "negative" and "positive"; the numbers of its answers are those of the labels that are asked for."""
    today = prepared("today", cut(30, 40))
    bundle = classifier(tmp_path / "p", today, ("negative", "positive"))
    by_stars = of_stars(
        ("good", "positive", "negative"),
        {
            1: 2,
            2: 2,
            3: 0,
            4: 1,
            5: 1,
        },
    )
    monkeypatch.setattr(predict, "labelling_of", lambda label, names, folder: by_stars)
    config = load_config("classify", ["execution.device=cpu"])
    built = predict.predict_bundle(
        config.workspace,
        config.classification,
        bundle,
        today,
        "test",
        "p",
        None,
        by_stars.names,
    )
    rows = predict.predictions_of(built.artifact)
    assert rows["probabilities"].null_count() == rows.height, "it has none for one of the labels"
    unknown = rows.filter(truth=0)
    assert unknown.height > 0
    assert set(unknown["answer"]) <= {1, 2}
    texts_of_test = (
        pl.read_parquet(today.folder / "clean.parquet").filter(split="test")["text"].to_list()
    )
    said = load_classifier(bundle).classify(texts_of_test)
    own = [("negative", "positive")[number] for number in said.answers_N]
    assert [by_stars.names[number] for number in rows["answer"]] == own
