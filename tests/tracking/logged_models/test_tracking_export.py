"""A bundle as an MLflow model: its own code travels with it, and what it is asked wrongly it refuses."""

from __future__ import annotations

import json
import os
import py_compile
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

import pytest

from reviewlm.core.errors import StoreFull
from reviewlm.core.store import sha256_of
from reviewlm.tracking.logged_models.bundles import log_bundle
from reviewlm.tracking.logged_models.export import PACKAGE, vendor
from reviewlm.tracking.logged_models.pyfunc import open_code
from reviewlm.tracking.runs.runs import Tracker
from tests.programs import command
from tests.syntax_trees import tree_of
from tests.tracking.mlflow_servers import model_folder


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    (folder / "deep").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "deep" / "__init__.py").write_text("")
    (folder / "deep" / "a.py").write_text("X = 1\n")
    return folder


def test_the_vendored_name_follows_the_code(package: Path, tmp_path: Path):
    first = vendor(package, tmp_path / "one")
    assert first.name.startswith("lm_")
    assert len(first.name) == len("lm_") + 12
    (package / "deep" / "a.py").write_text("X = 2\n")
    assert vendor(package, tmp_path / "two").name != first.name


@pytest.fixture
def package_with_others(package: Path, tmp_path: Path) -> Path:
    """A copy of the package at another place, with files that are no code."""
    folder = Path(shutil.copytree(package, tmp_path / "elsewhere"))
    (folder / "notes.txt").write_text("not code")
    (folder / "deep" / "__pycache__").mkdir()
    (folder / "deep" / "__pycache__" / "a.pyc").write_bytes(b"0")
    return folder


def test_the_vendored_name_follows_nothing_but_the_code(
    package: Path,
    package_with_others: Path,
    tmp_path: Path,
):
    first, second = vendor(package, tmp_path / "one"), vendor(package_with_others, tmp_path / "two")
    assert first.name == second.name


def test_only_code_is_vendored(package_with_others: Path, tmp_path: Path):
    folder = vendor(package_with_others, tmp_path / "vendored")
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
    assert files == ["__init__.py", "deep/__init__.py", "deep/a.py"]


@pytest.fixture
def copied(
    package: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Path]:
    """A copy of the package on Python's path, as MLflow puts it there; it is forgotten afterwards."""
    copy = vendor(package, tmp_path / "code")
    monkeypatch.syspath_prepend(str(copy.parent))
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    yield copy
    for name in [name for name in sys.modules if name.split(".")[0] == copy.name]:
        del sys.modules[name]


def test_planted_bytecode_of_a_copy_is_not_run_nor_is_any_left_behind(copied: Path):
    bytecode = Path(cache_from_source(str(copied / "deep" / "a.py")))
    bytecode.parent.mkdir()
    planted = copied.parent / "planted.py"
    planted.write_text("X = 'planted'\n")
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(planted), str(bytecode), invalidation_mode=unchecked)

    open_code(copied.name)
    assert import_module(f"{copied.name}.deep.a").X == 1
    assert list(copied.rglob("*.pyc")) == [bytecode]
    with pytest.raises(ModuleNotFoundError):
        import_module(f"{copied.name}.deep.b")


@pytest.mark.parametrize("change", ["edited", "added", "removed"])
def test_a_copy_whose_sources_have_changed_is_not_run(copied: Path, change: str):
    from mlflow.exceptions import MlflowException

    file = copied / "deep" / "a.py"
    if change == "removed":
        file.unlink()
    else:
        (file if change == "edited" else copied / "b.py").write_text("X = 2\n")
    with pytest.raises(MlflowException, match="has changed since the model was registered"):
        open_code(copied.name)
    assert copied.name not in sys.modules


def test_a_copy_holds_all_that_its_modules_import(tmp_path: Path):
    copy = vendor(PACKAGE, tmp_path)
    # Those need a GPU's compiler.
    files = [path for path in copy.rglob("*.py") if path.parent.name != "gpu"]
    modules = [".".join(path.relative_to(tmp_path).with_suffix("").parts) for path in files]
    names = sorted(module.removesuffix(".__init__") for module in modules)
    alone = {"PATH": os.environ["PATH"]}
    done = subprocess.run(
        command("import_modules", *names),
        cwd=tmp_path,
        env=alone,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_the_real_package_imports_itself_only_relatively():
    """Otherwise it would not run under another name."""
    import ast

    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(tree_of(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            assert not [name for name in names if name.split(".")[0] in ("models", "reviewlm")], (
                path
            )


@pytest.fixture
def logged(store: Any) -> Any:
    """MLflow's entry of a logged model."""
    return store.tracker.client.get_logged_model(store.model("a").removeprefix("models:/"))


def test_a_logged_model_belongs_to_its_run(logged: Any, store: Any):
    assert logged.source_run_id == store.run_id
    outputs = store.tracker.client.get_run(store.run_id).outputs.model_outputs
    assert [output.model_id for output in outputs] == [logged.model_id]


def test_a_logged_model_is_described(logged: Any, store: Any):
    assert logged.status == "READY"
    assert logged.tags["kind"] == "fake"
    assert logged.tags["bundle_digest"] == sha256_of(store.folder / "bundle-0" / "spec.json")
    assert logged.params == {"order": "3"}


@pytest.mark.drill(
    "disk full",
    "no space while a model is logged",
    "exit code 5; the logged model is FAILED, not half-registered",
)
def test_a_model_that_could_not_be_saved_is_marked_as_failed(
    store, monkeypatch: pytest.MonkeyPatch
):
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.tracker.client, "log_model_artifacts", full)
    with pytest.raises(StoreFull, match="No space is left"):
        store.model("a")
    found = store.tracker.client.search_logged_models([store.tracker.experiment_id])
    assert [str(model.status) for model in found] == ["FAILED"]


@pytest.mark.long
def test_two_versions_run_their_own_code_in_a_host_that_has_a_package_of_that_name(
    store, tmp_path: Path
):
    versions = [
        store.registry.register(store.model("w", code), store.run_id) for code in ("one", "two")
    ]
    folders = [model_folder(store.tracker, "reviewlm", number) for number in versions]
    (tmp_path / "foreign" / "models").mkdir(parents=True)
    (tmp_path / "foreign" / "models" / "__init__.py").write_text("WHO = 'host'")
    (tmp_path / "foreign" / "models" / "own.py").write_text("WHO = 'host too'")
    done = subprocess.run(
        command("host_two_versions", *folders),
        cwd=tmp_path / "foreign",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "said": ["one", "two", "one"],
        "host": "host",
        "own": "host too",
        "project": False,
    }


@pytest.fixture(scope="module")
def model(
    tmp_path_factory: pytest.TempPathFactory,
    template_home: Path,
    stand_in: Any,
) -> Any:
    """A logged stand-in, loaded as a stranger loads it."""
    import mlflow.pyfunc

    folder = tmp_path_factory.mktemp("model")
    shutil.copytree(template_home, folder / "home")
    tracker = Tracker(
        f"sqlite:///{folder / 'home' / 'mlflow.db'}", "x", folder / "home" / "mlartifacts"
    )
    package, bundle = (
        stand_in.package(folder / "models", "one"),
        stand_in.bundle(folder / "bundle", "w"),
    )
    log_bundle(tracker, tracker.start_run("a"), bundle, package=package)
    [path] = (folder / "home" / "mlartifacts" / "models").glob("*/artifacts")
    return mlflow.pyfunc.load_model(str(path))


def ask(model: Any, text: str = "so ", **params: Any) -> dict[str, Any]:
    import pandas as pd

    [answer] = model.predict(pd.DataFrame({"text": [text]}), params=params)
    return answer


def test_suggest_gives_words_with_probabilities(model: Any):
    answer = ask(model, task="suggest", k=2)
    assert answer["words"] == [
        {"word": "w0", "probability": 0.25},
        {"word": "w1", "probability": 0.25},
    ]
    assert answer["rest"] == 0.5


def test_score_gives_the_figures_of_a_text(model: Any):
    # The stand-in gives every token probability one half.
    answer = ask(model, "good food here", task="score")
    assert (answer["tokens"], answer["bytes"], answer["oov"]) == (4, 15, 0)
    assert answer["spelling_nats"] == answer["surface_nats"] == 0
    assert answer["perplexity"] == pytest.approx(2)
    assert answer["bits_per_byte"] == pytest.approx(4 / 15)
    assert [each["token"] for each in answer["per_token"]] == ["good", "food", "here", "<eos>"]
    assert sum(each["nats"] for each in answer["per_token"]) == pytest.approx(answer["nats"])


def test_a_review_is_streamed_piece_by_piece(model: Any):
    assert list(model.predict_stream({"text": "a "}, params={"stars": 5, "seed": 3}))[:3] == [
        "a ",
        "w ",
        "one ",
    ]


def stream(model: Any, **params: Any) -> list[str]:
    return list(model.predict_stream({"text": "a "}, params=params))


def predict(model: Any, **row: Any) -> Any:
    import pandas as pd

    return model.predict(pd.DataFrame([row]))


@pytest.mark.parametrize(
    ("asked", "given", "message"),
    [
        (ask, {"temperature": -1.0}, "temperature is -1.0; it must be at least 0"),
        (ask, {"temperature": "hot"}, "temperature"),
        (ask, {"n": 1.5}, "'n'"),
        (ask, {"task": "translate"}, "task is 'translate'; it must be one of"),
        (stream, {"task": "score"}, "only task 'generate' with n = 1 can be streamed"),
        (stream, {"n": 2}, "only task 'generate' with n = 1 can be streamed"),
        (stream, {"temperature": -1.0}, "temperature is -1.0"),
        (predict, {"prompt": "a"}, "missing inputs"),
        (predict, {"text": None}, "is None; it must be a text"),
        (predict, {"text": 5}, "text"),
    ],
)
def test_what_is_asked_wrongly_is_refused_as_the_callers_mistake(
    model: Any,
    asked: Any,
    given: dict[str, Any],
    message: str,
):
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match=message) as caught:
        asked(model, **given)
    assert caught.value.get_http_status_code() == 400
