"""What `reviewlm models classify fit`, `predict`, `weights` and `compare` hand on, show, and give as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import reviewlm.verbs.other_models.classify
from reviewlm.core.config.presets import load_config
from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.errors import BundleError, ConfigError
from reviewlm.models.classification.bundle import ClassifierBundle
from reviewlm.tracking.logged_models.export import CLASSIFIER
from reviewlm.tracking.registry.version_settings import VersionSettings
from reviewlm.training.context import FitContext
from reviewlm.training.labelling.fitting import fit_classifier
from tests.command_line import exit_code
from tests.models.classification.made_reviews import examples, small, vocabulary

VERB = reviewlm.verbs.other_models.classify
LINES = "great lovely\n\n   \nawful rude\r\nта-та great\n"


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    return exit_code(monkeypatch, "models", "classify", *arguments)


def answer(capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The only thing on standard output: one JSON object."""
    return dict(json.loads(capfd.readouterr().out))


def figures(accuracy: float, found: int) -> dict[str, Any]:
    """Figures of a classifier that recognises some of the 7 reviews of the rarer label."""
    ends = {"accuracy_lo": accuracy - 0.1, "accuracy_hi": accuracy + 0.1}
    return {
        "accuracy": accuracy,
        **ends,
        "macro_f1": accuracy,
        "macro_f1_lo": 0.0,
        "macro_f1_hi": 1.0,
        "log_loss": 0.5,
        "confusion": [[found, 7 - found], [0, 1_227]],
    }


FITTED = {
    "models": [
        {
            "name": "tfidf_logistic",
            "kind": "logistic",
            "test": figures(0.5, 2),
            "seconds": 1.5,
        },
        {
            "name": "cnn",
            "kind": "cnn",
            "test": figures(0.75, 0),
            "seconds": 9.5,
        },
    ],
    "label": "stars",
    "labels": ["1", "5"],
    "reviews": 1_234,
    "majority": {"label": "5", "accuracy": 0.45},
    "challenger": "cnn",
    "version": 3,
    "registered_model": "reviewlm-stars",
    "promoted": False,
    "reason": "the gain is too small",
    "report": "/home/classifiers.html",
    "mlflow_page": "",
    "mlflow_run_id": "run1",
}


@pytest.fixture
def flow(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The flow of `fit`, which returns `FITTED`; the list gets what it was called with."""
    given: list[Any] = []

    def run(*arguments: Any) -> dict[str, Any]:
        given.extend(arguments)
        return FITTED

    monkeypatch.setattr(VERB, "run_flow", run)
    return given


def test_fit_hands_its_options_to_the_flow(
    flow: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("--input", "mine.json", "--set", "classification.label=stars")
    assert (
        call(
            monkeypatch,
            "fit",
            *given,
            "--rebuild",
            "fit-classifier",
        )
        == 0
    )
    name, preset, input, overrides, _ = flow
    assert (name, preset, input) == ("classify", "classify", ["mine.json"])
    assert overrides == ["classification.label=stars", "execution.rebuild=['fit-classifier']"]


def test_fit_refuses_settings_without_classifiers(
    flow: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(monkeypatch, "fit") == 0
    check = flow[-1]
    check(load_config("classify"))
    with pytest.raises(ConfigError, match="has no classifiers"):
        check(load_config("small"))


@pytest.fixture
def shown_fit(
    flow: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> str:
    """What a fit shows of its result."""
    assert call(monkeypatch, "fit") == 0
    return capfd.readouterr().out


def test_fit_shows_the_table_best_first(shown_fit: str) -> None:
    assert "1,234 answered" in shown_fit
    assert shown_fit.index("cnn") < shown_fit.index("tfidf_logistic")


def test_fit_names_the_rarest_label_beside_the_most_frequent_one(shown_fit: str) -> None:
    frequent = "Always answering '5', the most frequent label: accuracy 45.0%."
    rare = "'1', has 7 test reviews; recognised of them: tfidf_logistic 2, cnn 0."
    assert frequent in shown_fit
    assert rare in shown_fit


def test_fit_shows_the_decision_of_the_gate(shown_fit: str) -> None:
    assert "reviewlm-stars version 3 (cnn): not champion." in shown_fit
    assert "Gate: the gain is too small." in shown_fit


def classifier(kind: str, work: Path) -> ClassifierBundle:
    """A classifier of three ratings that has read Latin letters only."""
    words = vocabulary()
    train = examples(words, 60, 1)
    spec = small(kind)
    model = fit_classifier(
        spec,
        words,
        train,
        train,
        FitContext(work),
    ).model
    return ClassifierBundle(spec, words, model)


@pytest.fixture
def opened(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    own_home: Path,
) -> list[str]:
    """A registered classifier that is found under any reference; the list gets the references."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.txt").write_bytes(LINES.encode())
    asked: list[str] = []

    def find(
        workspace: Any,
        model_name: str,
        reference: str,
        form: Any,
    ) -> Any:
        asked.append(reference)
        if reference == "nobody":
            raise BundleError("Nothing is registered as nobody yet")
        return classifier("logistic", tmp_path), SimpleNamespace(name="reviewlm-stars", version=4)

    monkeypatch.setattr("reviewlm.tracking.registry.opening.open_version", find)
    return asked


@pytest.fixture
def predicted(
    opened: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> dict[str, Any]:
    """What `predict` gives as JSON for a file of texts."""
    assert call(monkeypatch, "predict", "texts.txt", "--json") == 0
    return answer(capfd)


def test_predict_names_the_model_that_answers(predicted: dict[str, Any], opened: list[str]) -> None:
    assert (predicted["model"], predicted["version"]) == ("reviewlm-stars", 4)
    assert opened == ["champion"]


def test_each_answer_names_the_text_that_it_is_about(predicted: dict[str, Any]) -> None:
    assert [(one["line"], one["text"]) for one in predicted["answers"]] == [
        (1, "great lovely"),
        (4, "awful rude"),
        (5, "та-та great"),
    ]


def test_each_answer_has_the_likeliest_label(predicted: dict[str, Any]) -> None:
    assert [one["label"] for one in predicted["answers"][:2]] == ["5", "1"]
    for one in predicted["answers"]:
        assert one["probability"] == max(one["probabilities"].values())
        assert sum(one["probabilities"].values()) == pytest.approx(1)
        assert list(one["probabilities"]) == ["1", "3", "5"]


def test_predict_warns_of_texts_with_few_known_words(predicted: dict[str, Any]) -> None:
    assert [one["known_words"] for one in predicted["answers"][:2]] == [1, 1]
    assert ["line 5" in warning for warning in predicted["warnings"]] == [False, True]


@pytest.mark.parametrize(
    ("arguments", "kind", "code"),
    [
        pytest.param(["nowhere.txt"], "Unreadable", 3, id="no-file"),
        pytest.param(["empty.txt"], "EmptyInput", 3, id="no-text"),
        pytest.param(["texts.txt", "--model", "nobody"], "BundleError", 7, id="no-version"),
    ],
)
def test_what_cannot_be_classified_is_an_error(
    arguments: list[str],
    kind: str,
    code: int,
    opened: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    Path("empty.txt").write_text(" \n\n")
    assert call(monkeypatch, "predict", *arguments, "--json") == code
    assert answer(capfd)["error"]["kind"] == kind


def weighted(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    kind: str,
    work: Path,
) -> None:
    """Register a classifier of a kind."""
    found = classifier(kind, work), SimpleNamespace(name="reviewlm-stars", version=4)
    monkeypatch.setattr("reviewlm.tracking.registry.opening.open_version", lambda *asked: found)
    capfd.readouterr()  # what the fit has logged


@pytest.mark.usefixtures("own_home")
def test_weights_show_what_speaks_for_each_label_or_that_there_are_none(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    weighted(monkeypatch, capfd, "logistic", tmp_path)
    assert (
        call(
            monkeypatch,
            "weights",
            "--top",
            "2",
            "--json",
        )
        == 0
    )
    found = answer(capfd)["weights"]
    assert {one["feature"] for one in found if one["label"] == "5"} == {"great", "lovely"}
    assert call(monkeypatch, "weights") == 0
    assert "lovely +" in capfd.readouterr().out
    weighted(monkeypatch, capfd, "gru", tmp_path)
    assert call(monkeypatch, "weights", "--json") == 3
    assert answer(capfd)["error"]["what"] == "This classifier has no weight for each feature"


COMPARED = {
    "a": "reviewlm-stars version 2 (cnn)",
    "b": "reviewlm-stars version 1 (bag)",
    "label": "stars",
    "reviews": 80,
    "left_out": 20,
    "notes": ["B was fitted or chosen on 20 of the 100 test reviews: they are left out"],
    "models": [
        {
            "name": "A's name",
            "kind": "A",
            "test": figures(0.75, 7),
        },
        {
            "name": "B's name",
            "kind": "B",
            "test": figures(0.5, 3),
        },
    ],
    "majority": {"label": "5", "accuracy": 0.45},
    "sentence": "B is right and A wrong on 2 reviews.",
}


@pytest.fixture
def compared(
    own_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> list[Any]:
    """The flow of `compare`, which returns `COMPARED`; the list gets what was asked for."""
    file = tmp_path / "mine.jsonl"
    file.write_text('{"text": "great", "stars": 5}\n')
    asked: list[Any] = []
    chosen = VersionSettings(
        load_config("classify").with_input([str(file)]), "version 2: mine.jsonl", "version 2"
    )

    def settings(*given: Any) -> VersionSettings:
        asked.append(given)
        return chosen

    def run(
        name: str,
        config: RunConfig,
        preset: str,
        *given: Any,
        **arguments: Any,
    ) -> dict[str, Any]:
        asked.append((name, preset, *given, arguments))
        return COMPARED

    monkeypatch.setattr("reviewlm.tracking.registry.version_settings.settings_of", settings)
    monkeypatch.setattr("reviewlm.flow_runs._run", run)
    return asked


def test_compare_takes_the_data_of_the_versions(
    compared: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(monkeypatch, "compare", "champion", "previous") == 0
    assert compared == [
        (["champion", "previous"], "", [], [], CLASSIFIER),
        ("compare_classifiers_of", "", None, [], {"first": "champion", "second": "previous"}),
    ]


@pytest.mark.usefixtures("compared")
def test_compare_says_whose_data_it_takes(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "compare", "champion", "previous") == 0
    shown = capfd.readouterr().out
    assert "Data: version 2: mine.jsonl." in shown
    assert "Settings: version 2." in shown


@pytest.mark.usefixtures("compared")
def test_compare_counts_the_reviews_that_it_leaves_out(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "compare", "champion", "previous") == 0
    shown = capfd.readouterr().out
    assert "the same 80 test reviews" in shown
    assert "Note: B was fitted or chosen on 20 of the 100 test reviews: they are left out." in shown
    assert "B is right and A wrong on 2 reviews." in shown


@pytest.mark.usefixtures("compared")
def test_compare_gives_its_result_as_json(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert (
        call(
            monkeypatch,
            "compare",
            "champion",
            "previous",
            "--json",
        )
        == 0
    )
    assert answer(capfd) == {
        **COMPARED,
        "data": "version 2: mine.jsonl",
        "settings": "version 2",
    }


def test_compare_in_a_home_without_classifiers_says_how_to_make_one(
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert (
        call(
            monkeypatch,
            "compare",
            "champion",
            "previous",
            "--json",
        )
        == 7
    )
    error = answer(capfd)["error"]
    assert "reviewlm-stars@champion" in error["what"]
    assert "reviewlm models classify fit" in error["remedy"]
