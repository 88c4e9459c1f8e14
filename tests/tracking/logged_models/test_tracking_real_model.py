"""The whole way of a real model: fitted, logged, registered, promoted, then opened through both doors."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from models.bundles.bundle import save_bundle
from models.sampling import generate, suggest
from models.specs import NGramSpec, VocabularySpec
from models.streams import TokenStream, write_stream
from models.text.normal_form import NormalForm
from tests.tracking.mlflow_servers import Served, model_folder
from tracking.logged_models.bundles import log_bundle
from tracking.registry.opening import open_champion
from tracking.registry.registry import Registry
from tracking.runs.runs import Tracker
from training.context import FitContext
from training.fit import fit_model
from training.vocabularies.learn import learn_vocabulary

TEXTS = [
    f"The {food} was {taste} and the staff {were} friendly."
    for food in ("pizza", "soup", "burger") for taste in ("good", "cold", "great") for were in ("was", "is")
]
TEXT = "The soup was good"
STRANGER = """
import json, sys
import mlflow.pyfunc, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[2])
rows = pd.DataFrame({"text": [sys.argv[1]]})
ask = lambda **params: model.predict(rows, params=params)[0]
print(json.dumps({
    "generate": ask(task="generate", n=2, stars=5, seed=7, temperature=0.7, top_p=0.9, max_tokens=12)["texts"],
    "suggest": ask(task="suggest", k=3, stars=5)["words"],
    "score": ask(task="score", stars=5)["nats"],
    "ours": sorted(name for name in sys.modules if name.split(".")[0] in ("models", "tracking", "reviewlm")),
}))
"""


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory, template_home: Path) -> Tracker:
    """A store whose champion is a trigram model of eighteen reviews."""
    folder = tmp_path_factory.mktemp("real")
    shutil.copytree(template_home, folder / "home")
    tracker = Tracker(f"sqlite:///{folder / 'home' / 'mlflow.db'}", "reviewlm", folder / "home" / "mlartifacts")
    run_id = tracker.start_run("kn3")
    registry = Registry(tracker, "reviewlm")
    version = registry.register(log_bundle(tracker, run_id, fitted(folder)), run_id)
    registry.settle(version, None, True, "the first", {"gate/outcome": "promoted"})
    return tracker


def fitted(folder: Path) -> Path:
    vocabulary = learn_vocabulary(TEXTS, VocabularySpec(min_count=1), NormalForm())
    reviews = pl.DataFrame({"review_id": [str(i) for i in range(len(TEXTS))], "text": TEXTS})
    reviews = reviews.with_columns(stars=pl.lit(5, pl.Int8), bytes=pl.col("text").str.len_bytes() + 1)
    write_stream(folder / "stream", vocabulary, [reviews])
    stream, spec = TokenStream.open(folder / "stream"), NGramSpec(name="kn3", order=3)
    model = fit_model(spec, vocabulary, stream, stream, FitContext(folder)).model
    save_bundle(folder / "bundle", spec, vocabulary, model, [(text, 5) for text in TEXTS[:3]], {})
    return folder / "bundle"


@pytest.mark.long
def test_a_stranger_gets_the_same_answers_without_our_code(tracker: Tracker, tmp_path: Path):
    environment = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, "-I", "-c", STRANGER, TEXT, model_folder(tracker)], cwd=tmp_path, env=environment,
        capture_output=True, text=True, timeout=180, check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["ours"] == []
    bundle, version = open_champion(tracker)
    assert version.version == 1
    sampling = {"n": 2, "stars": 5, "seed": 7, "temperature": 0.7, "top_p": 0.9, "max_tokens": 12}
    assert said["generate"] == generate(bundle, prompt=TEXT, **sampling)
    words = {word["word"]: word["probability"] for word in said["suggest"]}
    assert words == pytest.approx(dict(suggest(bundle, TEXT, k=3, stars=5).words))
    assert said["score"] == pytest.approx(bundle.score_text(TEXT, stars=5).nats)


@pytest.fixture(scope="module")
def server(tracker: Tracker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    def command(port: int) -> list[str]:
        where = ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
        return ["models", "serve", "-m", model_folder(tracker), *where]

    with Served(command, tmp_path_factory.mktemp("server"), "/ping") as served:
        yield served.address


def post(server: str, body: dict[str, Any]) -> tuple[int, Any]:
    request = urllib.request.Request(
        f"{server}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())["predictions"]
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())["message"]


@pytest.mark.slow
def test_mlflow_serves_the_champion_over_http(server: str, tracker: Tracker):
    bundle, _ = open_champion(tracker)
    rows = [{"text": TEXT}]
    status, answers = post(server, {"dataframe_records": rows, "params": {"task": "generate", "n": 2, "seed": 7}})
    written = generate(bundle, n=2, prompt=TEXT, temperature=0.8, top_p=0.95, max_tokens=300, seed=7)
    assert (status, answers[0]["texts"]) == (200, written)
    status, answers = post(server, {"inputs": {"text": [TEXT]}, "params": {"task": "suggest", "k": 3}})
    assert status == 200
    assert [word["word"] for word in answers[0]["words"]] == [word for word, _ in suggest(bundle, TEXT, k=3).words]
    split = {"columns": ["text"], "data": [[TEXT], ["The pizza was great"]]}
    status, answers = post(server, {"dataframe_split": split, "params": {"task": "score"}})
    assert status == 200
    nats = [bundle.score_text(text).nats for text in (TEXT, "The pizza was great")]
    assert [answer["nats"] for answer in answers] == pytest.approx(nats)
    assert all(math.isfinite(answer["bits_per_byte"]) for answer in answers)
    expected = bundle.score_text(TEXT).per_token
    assert [each["token"] for each in answers[0]["per_token"]] == [token for token, _ in expected]
    assert [each["nats"] for each in answers[0]["per_token"]] == pytest.approx([nats for _, nats in expected])
    assert answers[0]["bundle"] == bundle.digest[:12]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": -1.0}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"stars": 9}, "stars"),
        ({"n": 0}, "n"),
    ],
)
def test_mlflow_answers_400_to_a_wrong_parameter(server: str, params: dict[str, Any], message: str):
    status, said = post(server, {"dataframe_records": [{"text": ""}], "params": params})
    assert status == 400
    assert message in said
