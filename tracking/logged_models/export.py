"""Export a bundle as an MLflow model with a copy of `models/`, and test it in a fresh process.

`code_paths=["models"]` would not work: if one process loads two versions, the second silently runs the code of the
first, and a program that has its own package `models` runs that one. So the copy of the package is named by its
content, `lm_<first 12 digits of its SHA-256>`. This works because the package imports itself only relatively.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reviewlm.core.errors import BundleError
from reviewlm.core.manifest import sha256_of
from reviewlm.core.processes import interrupts
from reviewlm.core.processes.children import run_child
from reviewlm.core.provenance import digest_of
from reviewlm.core.sqlite_files import database_file
from reviewlm.tracking.artifacts import folder_of
from reviewlm.tracking.client import Connection
from reviewlm.tracking.runs.record import link_or_copy
from reviewlm.tracking.tags import (
    BUNDLE_DIGEST_TAG,
    CODE_TAG,
    MODEL_KIND,
    MODEL_URI_TAG,
    flatten,
    stored_name,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.models import ModelSignature

PACKAGE = Path(__file__).resolve().parents[2] / "models"
BUNDLE_PATH = "artifacts/bundle"
SPEC = "spec.json"
REQUIRED = ("mlflow", "numba", "numpy", "polars", "pydantic", "safetensors", "tokenizers", "torch")
PROGRAM = Path(__file__).with_name("pyfunc.py")
"""The pyfunc model of every family, which is copied next to the bundle."""
SMOKE = Path(__file__).with_name("smoke.py")
"""The program that tests a logged model in a fresh process."""
DETAIL_LENGTH = 500
"""Characters that the result of a smoke test has of the program's output."""
CLASSIFICATION = "classification"
"""Value of "task" in the `spec.json` of a classifier; a language model has none."""


@dataclass(frozen=True)
class Form:
    """The form in which MLflow gets the models of a family: language models or classifiers.

    Args:
        model_type: Shown in MLflow; tells the programs which family they have.
        opener: Module of `models` and the function in it that opens a bundle.
        texts: An example of the input.
        params: Parameters of the example.
        streamable: Whether the model has `predict_stream`.
    """

    model_type: str
    opener: str
    texts: list[str]
    params: Mapping[str, Any]
    streamable: bool

    def load(self, folder: Path, device: str) -> Any:
        """Open a bundle with the installed code; raise ModelError if it cannot be opened."""
        module, _, function = self.opener.partition(":")
        return getattr(import_module(f"reviewlm.models.{module}"), function)(folder, device=device)


LANGUAGE_MODEL = Form(
    "language model",
    "bundles.bundle:load_bundle",
    ["The food was"],
    {"task": "suggest", "k": 3},
    streamable=True,
)
CLASSIFIER = Form(
    "classifier",
    "classification.bundle:load_classifier",
    ["The food was great.", "We waited an hour."],
    {},
    streamable=False,
)


def signature_of(form: Form) -> ModelSignature:
    """Return the declared input, output and parameters; `pyfunc.py` explains them."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array, Object, Property

    from reviewlm.tracking.logged_models.pyfunc import COLUMN, DEFAULTS

    long = DataType.long
    double = DataType.double
    string = DataType.string
    text = ColSpec(string, COLUMN)
    answers: list[Any]
    if form is CLASSIFIER:
        label = Object(
            [Property("label", string), Property("score", double), Property("probability", double)]
        )
        answers = [
            text,
            ColSpec(string, "label"),
            ColSpec(Array(label), "labels"),
            ColSpec(string, "bundle"),
        ]
        return ModelSignature(Schema([text]), Schema(answers))

    word = Object([Property("word", string), Property("probability", double)])
    token = Object([Property("token", string), Property("nats", double)])
    outputs: list[tuple[Any, tuple[str, ...]]] = [
        (string, ("bundle", "typed")),
        (long, ("tokens", "bytes", "oov")),
        (Array(string), ("texts", "warnings")),
        (double, ("rest", "nats", "perplexity", "bits_per_byte", "open_bits_per_byte")),
        (double, ("spelling_nats", "surface_nats", "finished")),
        (Array(word), ("words",)),
        (Array(token), ("per_token",)),
    ]
    answers = [text]
    for kind, names in outputs:
        answers += [ColSpec(kind, name, required=False) for name in names]

    # `None` stands for a whole number that may be missing, a list for one of strings.
    kinds = {
        str: string,
        float: double,
        int: long,
        type(None): long,
        list: string,
    }
    params = []
    for name, default in DEFAULTS.items():
        shape = (-1,) if isinstance(default, list) else None
        params.append(ParamSpec(name, kinds[type(default)], default, shape))

    return ModelSignature(Schema([text]), Schema(answers), ParamSchema(params))


def form_of(facts: Mapping[str, Any]) -> Form:
    """Return the family of a bundle from its `spec.json`."""
    return CLASSIFIER if facts.get("task") == CLASSIFICATION else LANGUAGE_MODEL


def send_model(
    tracker: Connection,
    run_id: str,
    name: str,
    bundle: Path,
    package: Path,
) -> None:
    """Log a bundle as an MLflow model of a run, with the code of a package; the run gets its address as a tag.

    Raises:
        BundleError: The folder is not a bundle.
        TrackingUnavailable: MLflow does not answer.
    """
    facts = facts_of(bundle)
    with (
        tempfile.TemporaryDirectory(prefix="reviewlm-export-") as temporary,
        tracker.reaching() as client,
    ):
        from mlflow.models import Model

        logged = _find_or_create_logged_model(
            client,
            run_id,
            name,
            bundle,
            package,
            facts,
        )
        if str(logged.status) != "READY":
            model = Model(
                artifact_path=logged.artifact_location,
                model_uuid=logged.model_id,
                model_id=logged.model_id,
                run_id=run_id,
            )
            try:
                folder = _save(
                    Path(temporary),
                    bundle,
                    package,
                    model,
                    facts,
                )
                client.log_model_artifacts(logged.model_id, str(folder))
            except BaseException:
                with suppress(Exception):  # a second error must not hide the first
                    client.finalize_logged_model(logged.model_id, "FAILED")
                raise
            client.finalize_logged_model(logged.model_id, "READY")
        client.set_tag(run_id, stored_name(MODEL_URI_TAG), f"models:/{logged.model_id}")


def _find_or_create_logged_model(
    client: MlflowClient,
    run_id: str,
    name: str,
    bundle: Path,
    package: Path,
    facts: dict[str, Any],
) -> LoggedModel:
    """Return the run's model for this bundle and code, finished or not; create it if needed, as an output of the run.

    A request may have arrived although its answer was lost. Then the model exists, perhaps without its files.
    """
    run = client.get_run(run_id)
    form = form_of(facts)
    tags = {
        MODEL_KIND: str(facts.get("kind", "")),
        BUNDLE_DIGEST_TAG: sha256_of(bundle / SPEC),
        CODE_TAG: code_name(package),
    }
    candidates = client.search_logged_models(
        [run.info.experiment_id], f"source_run_id = '{run_id}'"
    )
    model = next(
        (
            model
            for model in candidates
            if model.name == name and tags.items() <= model.tags.items()
        ),
        None,
    )
    if model is None:
        model = client.create_logged_model(
            run.info.experiment_id,
            name,
            run_id,
            tags,
            flatten(facts.get("spec", {})),
            model_type=form.model_type,
        )

    add_output(client, run_id, model.model_id)
    return model


def add_output(
    client: MlflowClient,
    run_id: str,
    model_id: str,
) -> None:
    """Name a logged model as an output of a run, unless it is one: MLflow's list shows the versions of its outputs."""
    from mlflow.entities import LoggedModelOutput

    outputs = client.get_run(run_id).outputs
    models = outputs.model_outputs if outputs else ()
    if model_id not in {output.model_id for output in models}:
        client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])


def facts_of(bundle_folder: Path) -> dict[str, Any]:
    """Return the facts in the `spec.json` of a bundle; raise BundleError if the folder is not a bundle."""
    try:
        return dict(json.loads((bundle_folder / SPEC).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise BundleError("This is not a bundle", where=bundle_folder, cause=str(error)) from error


def _save(
    work: Path,
    bundle_folder: Path,
    package: Path,
    model: Any,
    facts: Mapping[str, Any],
) -> Path:
    """Write the folder of the MLflow model: a copy of its program, the vendored package and the bundle."""
    import mlflow.pyfunc
    import pandas as pd

    form = form_of(facts)
    example = pd.DataFrame({"text": form.texts})
    vendored = vendor(package, work)
    code = work / f"{vendored.name}_pyfunc.py"
    shutil.copyfile(PROGRAM, code)
    bundle = work / "bundle"
    # MLflow takes the folder's name and copies it.
    shutil.copytree(bundle_folder, bundle, copy_function=link_or_copy)
    input_example: Any = example
    if form.params:
        input_example = (example, dict(form.params))

    mlflow.pyfunc.save_model(
        path=str(work / "model"),
        python_model=str(code),
        code_paths=[str(vendored)],
        artifacts={"bundle": str(bundle)},
        model_config={"package": vendored.name, "family": form.model_type},
        signature=signature_of(form),
        pip_requirements=requirements(),
        input_example=input_example,
        mlflow_model=model,
        streamable=form.streamable,
    )
    for cache in (work / "model").rglob("__pycache__"):
        shutil.rmtree(cache)

    return work / "model"


def vendor(package: Path, into: Path) -> Path:
    """Copy the modules of a package to `into/lm_<digest of names and bytes>`, and return that folder."""
    target = into / code_name(package)
    for file in package.rglob("*.py"):
        copy = target / file.relative_to(package)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    return target


def code_name(package: Path) -> str:
    """Return the name of such a copy: `lm_` and the first digits of a digest of its file names and bytes."""
    return f"lm_{digest_of(package, package.rglob('*.py'))[:12]}"


def requirements() -> list[str]:
    """Return the exact installed versions, without local parts such as "+cpu", which package indexes do not have."""
    return [f"{name}=={version(name).split('+')[0]}" for name in REQUIRED]


@dataclass(frozen=True)
class Smoke:
    """Result of a smoke test (`smoke.py`): whether the model answers in a separate process, its answers and latency."""

    passed: bool
    detail: str
    seconds: float
    latency_ms: Mapping[str, float] | None = None


def smoke_test(
    tracker: Connection,
    model_uri: str,
    timeout: float = 300.0,
    form: Form = LANGUAGE_MODEL,
) -> Smoke:
    """Open a logged model in a fresh process and an empty folder, without the project, and use all that it can do."""
    start = time.perf_counter()
    environment = {}
    for name, value in os.environ.items():
        if not name.startswith("PYTHON"):
            environment[name] = value

    environment.update(MLFLOW_TRACKING_URI=tracker.uri, MLFLOW_REGISTRY_URI=tracker.uri)
    # On a busy machine two threads wait for each other: 20 times the latency.
    environment["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory(prefix="reviewlm-smoke-") as foreign:
        try:
            with interrupts.during("smoke test"):
                program = [str(SMOKE), _address_of_files(tracker, model_uri), form.model_type]
                done = run_child(
                    program,
                    timeout,
                    isolated=True,
                    cwd=foreign,
                    env=environment,
                )
        except subprocess.TimeoutExpired:
            return Smoke(False, f"no answer within {timeout:.0f} s", time.perf_counter() - start)

    seconds = time.perf_counter() - start
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no output"]
        return Smoke(False, lines[-1][:DETAIL_LENGTH], seconds)

    answer = json.loads(done.stdout.splitlines()[-1])
    return Smoke(True, answer["said"][:DETAIL_LENGTH], seconds, answer["latency_ms"])


def _address_of_files(tracker: Connection, model_uri: str) -> str:
    """Return the folder of a logged model, or its address if a server or a bucket has the files."""
    if database_file(tracker.uri) is None:
        return model_uri
    model = tracker.ask(lambda client: client.get_logged_model(model_uri.removeprefix("models:/")))
    return str(folder_of(model.artifact_location, tracker.uri) or model_uri)
