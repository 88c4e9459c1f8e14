"""A bundle as an MLflow model: its own code travels with it, and what it is asked wrongly it refuses."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core.config.generation import MAX_TOKENS, SEED, TEMPERATURE, TOP_P
from core.errors import BundleError, StoreFull
from core.store import sha256_of_file
from tests.tracking.mlflow_servers import model_folder
from tracking.logged_models.bundles import log_bundle
from tracking.logged_models.export import PACKAGE, requirements, smoke_test, vendor
from tracking.logged_models.forms import CLASSIFIER, LANGUAGE_MODEL, Form, language_model_signature
from tracking.runs.runs import Tracker

HOST = '''
import json, sys
sys.path.insert(0, ".")
import models
import mlflow, pandas as pd
first, second = (mlflow.pyfunc.load_model(folder) for folder in sys.argv[1:])
rows = pd.DataFrame({"text": [""]})
said = [model.predict(rows)[0]["texts"][0].split()[1] for model in (first, second, first)]
import models.own
print(json.dumps({"said": said, "host": models.WHO, "own": models.own.WHO, "project": "tracking" in sys.modules}))
'''


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    (folder / "deep").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "deep" / "a.py").write_text("X = 1\n")
    return folder


def test_the_vendored_name_follows_the_code_and_nothing_else(package: Path, tmp_path: Path):
    first = vendor(package, tmp_path / "one", ["deep.a"])
    (package / "notes.txt").write_text("not code")
    (package / "deep" / "__pycache__").mkdir()
    (package / "deep" / "__pycache__" / "a.pyc").write_bytes(b"0")
    moved = shutil.move(package, tmp_path / "elsewhere")
    second = vendor(Path(moved), tmp_path / "two", ["deep.a"])
    assert first.name == second.name
    assert first.name.startswith("lm_")
    assert len(first.name) == len("lm_") + 12
    assert sorted(path.name for path in second.rglob("*") if path.is_file()) == ["__init__.py", "a.py"]
    (Path(moved) / "deep" / "a.py").write_text("X = 2\n")
    assert vendor(Path(moved), tmp_path / "three", ["deep.a"]).name != first.name


def test_a_file_that_moves_within_the_package_changes_the_name(package: Path, tmp_path: Path):
    first = vendor(package, tmp_path / "one", ["deep.a"]).name
    (package / "deep" / "a.py").rename(package / "a.py")
    assert vendor(package, tmp_path / "two", ["a"]).name != first


@pytest.mark.parametrize("form", [LANGUAGE_MODEL, CLASSIFIER])
def test_a_copy_holds_all_that_its_program_imports_and_nothing_that_fits_models(form: Form, tmp_path: Path):
    copy = vendor(PACKAGE, tmp_path, form.modules)
    files = [path for path in copy.rglob("*.py") if path.parent.name != "gpu"]  # those need a GPU's compiler
    names = sorted(".".join(path.relative_to(tmp_path).with_suffix("").parts) for path in files)
    assert len(names) < len(list(PACKAGE.rglob("*.py")))
    program = f"import importlib\nfor name in {names}:\n    importlib.import_module(name.removesuffix('.__init__'))"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, env={"PATH": os.environ["PATH"]})


def test_the_real_package_imports_itself_only_relatively():
    """Otherwise it would not run under another name."""
    import ast

    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            assert not [name for name in names if name.split(".")[0] in ("models", "reviewlm")], path


def test_requirements_are_exact_versions_that_an_index_has():
    names = {line.split("==")[0] for line in requirements()}
    assert names == {"mlflow", "numpy", "polars", "pydantic", "safetensors", "tokenizers", "torch"}
    assert all("==" in line and "+" not in line for line in requirements())


def test_the_signature_declares_what_sampling_takes():
    import inspect

    from models.sampling import generate

    declared = {param.name: param.default for param in language_model_signature().params}
    sampling = {name: entry.default for name, entry in inspect.signature(generate).parameters.items()}
    del sampling["bundle"], sampling["prompt"]
    sampling["stop"] = list(sampling["stop"])  # parameters are JSON
    sampling |= {"temperature": TEMPERATURE, "top_p": TOP_P, "max_tokens": MAX_TOKENS, "seed": SEED}
    assert sampling.items() <= declared.items()
    assert set(declared) - set(sampling) == {"task", "k"}


def test_a_logged_model_belongs_to_its_run_and_carries_its_digest(store):
    uri = store.model("a")
    model = store.tracker.client.get_logged_model(uri.removeprefix("models:/"))
    assert model.source_run_id == store.run_id
    assert model.status == "READY"
    assert model.tags["kind"] == "fake"
    assert model.tags["bundle_digest"] == sha256_of_file(store.folder / "bundle-0" / "spec.json")
    assert model.params == {"order": "3"}
    outputs = store.tracker.client.get_run(store.run_id).outputs.model_outputs
    assert [output.model_id for output in outputs] == [model.model_id]


def test_what_is_logged_holds_no_compiled_code_and_no_pickle(store):
    store.model("a")
    files = [path.suffix for path in (store.tracker.artifact_root / "models").rglob("*") if path.is_file()]
    assert files
    assert not {".pyc", ".pkl", ".pickle"} & set(files)


def test_a_folder_that_is_no_bundle_is_refused_before_anything_is_logged(tracker: Tracker, tmp_path: Path):
    run_id = tracker.start_run("a")
    with pytest.raises(BundleError, match="not a bundle"):
        log_bundle(tracker, run_id, tmp_path)
    assert tracker.client.search_logged_models([tracker.experiment_id]) == []


@pytest.mark.drill(
    "disk full", "no space while a model is logged",
    "exit code 5; the logged model is FAILED, not half-registered",
)  # fmt: skip
def test_a_model_that_could_not_be_saved_is_marked_as_failed(store, monkeypatch: pytest.MonkeyPatch):
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.tracker.client, "log_model_artifacts", full)
    with pytest.raises(StoreFull, match="No space is left"):
        store.model("a")
    found = store.tracker.client.search_logged_models([store.tracker.experiment_id])
    assert [str(model.status) for model in found] == ["FAILED"]


@pytest.mark.long
def test_two_versions_and_a_host_with_its_own_models_run_their_own_code(store, tmp_path: Path):
    versions = [store.registry.register(store.model("w", code), store.run_id) for code in ("one", "two")]
    folders = [model_folder(store.tracker, "reviewlm", number) for number in versions]
    (tmp_path / "foreign" / "models").mkdir(parents=True)
    (tmp_path / "foreign" / "models" / "__init__.py").write_text("WHO = 'host'")
    (tmp_path / "foreign" / "models" / "own.py").write_text("WHO = 'host too'")
    done = subprocess.run(
        [sys.executable, "-c", HOST, *folders], cwd=tmp_path / "foreign", capture_output=True, text=True,
        timeout=120, check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "said": ["one", "two", "one"], "host": "host", "own": "host too", "project": False,
    }


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, template_home: Path, stand_in: Any) -> Any:
    """A logged stand-in, loaded as a stranger loads it."""
    import mlflow.pyfunc

    folder = tmp_path_factory.mktemp("model")
    shutil.copytree(template_home, folder / "home")
    tracker = Tracker(f"sqlite:///{folder / 'home' / 'mlflow.db'}", "x", folder / "home" / "mlartifacts")
    package, bundle = stand_in.package(folder / "models", "one"), stand_in.bundle(folder / "bundle", "w")
    log_bundle(tracker, tracker.start_run("a"), bundle, package=package)
    [path] = (folder / "home" / "mlartifacts" / "models").glob("*/artifacts")
    return mlflow.pyfunc.load_model(str(path))


def ask(model: Any, text: str = "so ", **params: Any) -> dict[str, Any]:
    import pandas as pd

    [answer] = model.predict(pd.DataFrame({"text": [text]}), params=params)
    return answer


def test_generate_is_the_default_task(model: Any):
    answer = ask(model, n=2, stars=5, seed=3)
    assert answer == {"text": "so ", "bundle": "d1ge57d1ge57", "texts": ["so w one 5 3 0", "so w one 5 3 1"]}
    assert ask(model)["texts"] == ["so w one None 1 0"]


def test_suggest_gives_words_with_probabilities(model: Any):
    answer = ask(model, task="suggest", k=2)
    assert answer["words"] == [{"word": "w0", "probability": 0.25}, {"word": "w1", "probability": 0.25}]
    assert answer["rest"] == 0.5


def test_score_gives_the_figures_of_a_text(model: Any):
    answer = ask(model, "good food here", task="score")  # the stand-in gives every token probability one half
    assert (answer["tokens"], answer["bytes"], answer["oov"]) == (4, 15, 0)
    assert answer["perplexity"] == pytest.approx(2)
    assert answer["bits_per_byte"] == pytest.approx(4 / 15)
    assert [each["token"] for each in answer["per_token"]] == ["good", "food", "here", "<eos>"]
    assert sum(each["nats"] for each in answer["per_token"]) == pytest.approx(answer["nats"])


def test_what_the_model_never_met_is_told_beside_the_answer(model: Any):
    assert ask(model, stars=0)["warnings"] == ["w knows no rating 0"]
    assert "warnings" not in ask(model, stars=4)


def test_every_row_is_answered_for_itself(model: Any):
    import pandas as pd

    rows = pd.DataFrame({"text": ["a ", "b "]})
    assert [row["texts"] for row in model.predict(rows)] == [["a w one None 1 0"], ["b w one None 1 0"]]
    assert model.predict([{"text": "a "}])[0] == model.predict({"text": "a "})[0] == ask(model, "a ")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"temperature": -1.0}, "temperature is -1.0; it must be at least 0"),
        ({"temperature": "hot"}, "temperature"),
        ({"n": 1.5}, "'n'"),
        ({"task": "translate"}, "task is 'translate'; it must be one of"),
    ],
)
def test_a_wrong_parameter_is_refused_as_the_callers_mistake(model: Any, params: dict[str, Any], message: str):
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match=message) as caught:
        ask(model, **params)
    assert caught.value.get_http_status_code() == 400


def test_a_review_is_streamed_piece_by_piece(model: Any):
    assert list(model.predict_stream({"text": "a "}, params={"stars": 5, "seed": 3}))[:3] == ["a ", "w ", "one "]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"task": "score"}, "only task 'generate' with n = 1 can be streamed"),
        ({"n": 2}, "only task 'generate' with n = 1 can be streamed"),
        ({"temperature": -1.0}, "temperature is -1.0"),
    ],
)
def test_what_cannot_be_streamed_is_refused_as_the_callers_mistake(model: Any, params: dict[str, Any], message: str):
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match=message) as caught:
        list(model.predict_stream({"text": "a "}, params=params))
    assert caught.value.get_http_status_code() == 400


def test_an_unknown_parameter_is_refused_with_those_that_are_known(model: Any):
    import pandas as pd
    from mlflow.exceptions import MlflowException

    ours, rows, wrong = model.unwrap_python_model(), pd.DataFrame([{"text": "so "}]), {"temprature": 0.5}
    assert ours.predict(None, rows, {"temperature": 0.5}) == [ask(model, temperature=0.5)]
    for asked in (ours.predict, lambda *given: list(ours.predict_stream(*given))):
        with pytest.raises(MlflowException, match="unknown parameter 'temprature'; known are task, stars, n") as caught:
            asked(None, rows, wrong)
        assert caught.value.get_http_status_code() == 400


def test_mlflow_drops_names_that_the_signature_does_not_declare_before_it_calls_the_model(
    model: Any, caplog: pytest.LogCaptureFixture
):
    """If it fails, MLflow lets the model refuse them: say so in docs/how_to/other_programs.md."""
    import pandas as pd

    caplog.set_level("WARNING", "mlflow.models.utils")
    logging.getLogger("mlflow").addHandler(caplog.handler)
    try:
        assert ask(model, temprature=0.5) == ask(model)
        pieces = list(model.predict_stream({"text": "so "}, params={"temprature": 0.5}))
    finally:
        logging.getLogger("mlflow").removeHandler(caplog.handler)
    assert pieces == list(model.predict_stream({"text": "so "}))
    assert [record.name for record in caplog.records if "temprature" in record.message] == ["mlflow.models.utils"] * 2
    assert model.predict(pd.DataFrame([{"text": "so ", "temperature": 0.5}])) == [ask(model)]


def test_a_failure_of_the_model_is_not_the_callers_mistake(model: Any):
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match="out of memory") as caught:
        ask(model, max_tokens=1000)
    assert caught.value.get_http_status_code() == 500


@pytest.mark.parametrize(
    ("row", "message"),
    [({"prompt": "a"}, "missing inputs"), ({"text": None}, "text of row 0 is None"), ({"text": 5}, "text")],
)
def test_a_wrong_row_is_refused_as_the_callers_mistake(model: Any, row: dict[str, Any], message: str):
    import pandas as pd
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match=message) as caught:
        model.predict(pd.DataFrame([row]))
    assert caught.value.get_http_status_code() == 400


@pytest.mark.long
def test_the_smoke_test_fails_a_model_that_does_not_and_says_why(store):
    uri = store.model("a")
    [sampling] = (store.tracker.artifact_root / "models").rglob("sampling.py")
    sampling.write_text(sampling.read_text().replace("0.5)", "0.7)"))
    smoke = smoke_test(store.tracker, uri)
    assert not smoke.passed
    assert "sum to 1.2" in smoke.detail
