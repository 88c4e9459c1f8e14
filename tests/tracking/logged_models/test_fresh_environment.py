"""A registered model of any kind that a run promotes answers where only its logged requirements are installed.

The installation takes minutes. `REVIEWLM_LOGGED_ENVIRONMENT` names a virtual environment to use instead of a new one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reviewlm.models.bundles.bundle import Bundle, save_bundle
from reviewlm.models.classification.bundle import ClassifierBundle, load_classifier, save_classifier
from reviewlm.models.classification.spec import RecurrentClassifierSpec
from reviewlm.models.neural.labelling.rows import Sequences
from reviewlm.models.sampling import generate, suggest
from reviewlm.models.specs import TrainingSpec, VocabularySpec
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.tracking.logged_models.bundles import log_bundle
from reviewlm.tracking.logged_models.export import requirements
from reviewlm.tracking.registry.opening import open_champion
from reviewlm.tracking.registry.registry import Registry
from reviewlm.tracking.runs.runs import Tracker
from reviewlm.tracking.tags import MODEL_URI_TAG
from reviewlm.training.context import FitContext
from reviewlm.training.labelling.examples import LabelledSequences
from reviewlm.training.labelling.fitting import fit_classifier
from reviewlm.training.vocabularies.learn import learn_vocabulary
from tests.programs import path_of
from tests.serving.engine.small_models import TEXTS, bundle_of
from tests.tracking.mlflow_servers import Served, answers_of, model_folder, model_server

pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.timeout(2_400)]
ENVIRONMENT = "REVIEWLM_LOGGED_ENVIRONMENT"
CHAMPIONS = {
    "lstm": ("lstm", "word"),
    "mixture": ("gated", "bpe"),
    "cache": ("cached_gated", "word"),
}
"""Kind and vocabulary of each registered model. `--minutes` promotes a gated mixture with BPE, the demo one of words; a
cache may be over one."""
PROMPT, DRAW = (
    "The soup",
    {
        "seed": 7,
        "stars": 5,
        "max_tokens": 12,
        "temperature": 0.8,
        "top_p": 0.95,
    },
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fresh")


@pytest.fixture(scope="module")
def tracker(folder: Path, template_home: Path) -> Tracker:
    """A store with the champions."""
    shutil.copytree(template_home, folder / "home")
    tracker = Tracker(
        f"sqlite:///{folder / 'home' / 'mlflow.db'}", "reviewlm", folder / "home" / "mlartifacts"
    )
    for name, (kind, unit) in CHAMPIONS.items():
        made, probes = bundle_of(kind, unit), [(text, 5) for text in TEXTS[:3]]
        facts = {"stars_prior": made.stars_prior}
        save_bundle(
            folder / name,
            made.spec,
            made.vocabulary,
            made.model,
            probes,
            facts,
        )
        promote(tracker, name, folder / name)
    return tracker


def promote(
    tracker: Tracker,
    name: str,
    bundle: Path,
) -> None:
    """Register a bundle as the first champion of a registered model."""
    run_id, registry = tracker.start_run(name), Registry(tracker, name)
    log_bundle(tracker, run_id, bundle)
    version = registry.register(tracker.tag(run_id, MODEL_URI_TAG), run_id)
    registry.settle(
        version,
        None,
        True,
        "the first",
        {"gate/outcome": "promoted"},
    )


@pytest.fixture(scope="module", params=CHAMPIONS)
def champion(request: pytest.FixtureRequest, tracker: Tracker) -> tuple[str, Bundle]:
    return request.param, open_champion(tracker, f"models:/{request.param}@champion")[0]


@pytest.fixture(scope="module")
def classifier(tracker: Tracker, folder: Path) -> ClassifierBundle:
    """A recurrent classifier of two sentences, registered in the same store."""
    texts = ["The food was great.", "The food was awful."] * 20
    vocabulary = learn_vocabulary(texts, VocabularySpec(min_count=1), NormalForm())
    encoded = vocabulary.encode_documents(texts, [0] * len(texts), whole=False)
    examples = LabelledSequences(Sequences(encoded.ids, encoded.offsets), np.array([1, 0] * 20))
    training = TrainingSpec(
        epochs=8,
        batch=8,
        learning_rate=2e-2,
        precision="float32",
    )
    spec = RecurrentClassifierSpec(
        labels=("negative", "positive"),
        hidden=8,
        embedding=8,
        dropout=0.0,
        training=training,
    )
    fitted = fit_classifier(
        spec,
        vocabulary,
        examples,
        examples,
        FitContext(folder / "fit"),
    )
    save_classifier(
        folder / "classifier",
        spec,
        vocabulary,
        fitted.model,
        probes=texts[:2],
        facts={},
    )
    promote(tracker, "stars", folder / "classifier")
    return load_classifier(folder / "classifier")


@pytest.fixture(scope="module")
def python(tracker: Tracker, folder: Path) -> Path:
    """The interpreter of an environment with the requirements that the model names, and nothing else."""
    if given := os.environ.get(ENVIRONMENT):
        return Path(given) / "bin" / "python"
    listed, *others = tracker.artifact_root.glob("models/*/artifacts/requirements.txt")
    assert all(
        sorted(one.read_text().split()) == sorted(requirements()) for one in (listed, *others)
    )
    venv.create(folder / "venv", with_pip=True)
    found = folder / "venv" / "bin" / "python"
    pip = [
        str(found),
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--no-input",
        "install",
        "--quiet",
    ]
    asked = subprocess.run(
        [*pip, "--dry-run", "--no-deps", requirements()[0]],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if asked.returncode:
        pytest.skip(f"no package index can be reached: {asked.stderr.strip().splitlines()[-1]}")
    done = subprocess.run(
        [*pip, "-r", str(listed)],
        capture_output=True,
        text=True,
        timeout=1_800,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return found


def environment_of(python: Path) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "REVIEWLM", "PATH"))
    }
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    return {
        **kept,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PATH": path,
    }


def test_the_environment_has_nothing_of_the_project(python: Path, tmp_path: Path) -> None:
    program = path_of("list_project_packages")
    done = subprocess.run(
        [python, "-I", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def said(
    python: Path,
    tracker: Tracker,
    champion: tuple[str, Bundle],
    folder: Path,
) -> dict[str, Any]:
    """What a program in the environment is told by the champion, whose files are all it has."""
    program = path_of("ask_logged_model")
    done = subprocess.run(
        [python, "-I", program, PROMPT, json.dumps(DRAW), model_folder(tracker, champion[0])],
        cwd=folder,
        capture_output=True,
        text=True,
        env=environment_of(python),
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_a_champion_writes_in_python(said: dict[str, Any], champion: tuple[str, Bundle]) -> None:
    [text] = generate(champion[1], prompt=PROMPT, **DRAW)
    assert said["generate"] == [text]


def test_a_champion_streams_in_python(said: dict[str, Any]) -> None:
    assert "".join(said["stream"]) == said["generate"][0]
    assert len(said["stream"]) > 1


def test_a_champion_suggests_in_python(said: dict[str, Any], champion: tuple[str, Bundle]) -> None:
    words = [word for word, _ in suggest(champion[1], PROMPT, 3, 5).words]
    assert [word["word"] for word in said["suggest"]] == words


def test_a_champion_scores_in_python(said: dict[str, Any], champion: tuple[str, Bundle]) -> None:
    assert said["score"] == pytest.approx(champion[1].score_text(PROMPT, 5).nats, rel=1e-5)


def test_mlflow_serves_a_champion(
    python: Path,
    tracker: Tracker,
    champion: tuple[str, Bundle],
    folder: Path,
) -> None:
    name, bundle = champion
    with served(name, python, tracker, folder) as server:
        [answer] = answers_of(server.address, dataframe_records=rows(PROMPT), params=DRAW)
    assert answer["texts"] == generate(bundle, prompt=PROMPT, **DRAW)


def test_mlflow_serves_a_classifier(
    python: Path,
    tracker: Tracker,
    classifier: ClassifierBundle,
    folder: Path,
) -> None:
    texts = ["great food", "It was awful. Awful!", ""]
    with served("stars", python, tracker, folder) as server:
        answers = answers_of(server.address, dataframe_records=rows(*texts))
    found = classifier.classify(texts)
    assert [answer["label"] for answer in answers] == [
        classifier.labels[number] for number in found.answers_N
    ]
    assert [answer["label"] for answer in answers[:2]] == ["positive", "negative"]
    for answer, chances_K in zip(answers, found.probabilities_NK, strict=True):
        assert [label["probability"] for label in answer["labels"]] == pytest.approx(
            list(chances_K), rel=1e-5
        )


def served(
    name: str,
    python: Path,
    tracker: Tracker,
    folder: Path,
) -> Served:
    return model_server(
        tracker,
        folder,
        name,
        binaries=python.parent,
        **environment_of(python),
    )


def rows(*texts: str) -> list[dict[str, str]]:
    return [{"text": text} for text in texts]
