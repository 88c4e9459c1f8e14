"""Kill -9 at many points of a fit: weights, journal, MLflow's history and samples are those of an undisturbed fit.

Points lie between any two lines of the trainer, before any touch of a file, and within journal lines and checkpoints.
Each store is killed several times in a row, every time on its way from where the last restart point left it.
"""

import hashlib
import json
import multiprocessing
import random

import numpy as np
import polars as pl
import pytest
from safetensors import safe_open

from reviewlm.models.bundles.bundle import load_bundle
from reviewlm.models.sampling import generate
from reviewlm.models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec, VocabularySpec
from reviewlm.models.streams import write_stream
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.tasks.fitting.job import LanguageModelJob
from reviewlm.tracking.client import open_client
from reviewlm.tracking.runs.runs import Tracker
from reviewlm.tracking.tags import own_metric_name
from reviewlm.training.neural.training_metrics import MEASURED
from reviewlm.training.vocabularies.learn import learn_vocabulary
from tests.tasks.fitting.drilled_fit import run

pytestmark = pytest.mark.long  # one kill -9 of a fit is in tests/training/neural
STORES, KILLS = 5, 4
PRELOAD = [
    "reviewlm.tasks.fitting.fit_worker",
    "reviewlm.models.neural.architectures",
    "reviewlm.training.neural.trainer",
    "torch._dynamo",
    "pyarrow.parquet",
]
CLOCK = {"time", *MEASURED}
RECIPE = TrainingSpec(
    epochs=2,
    batch=4,
    bptt_len=9,
    bptt_grad_len=14,
    learning_rate=2e-2,
    evaluations=4,
    state_reset_prob=0.1,
    precision="float32",
    ema=0.8,
)
SPEC = RecurrentSpec(
    kind="gru",
    hidden=10,
    embedding=8,
    dropout=0.2,
    objective=ObjectiveSpec("softmax"),
    training=RECIPE,
)
WORDS = ["the", "soup", "bread", "was", "is", "good", "bad", "cold", "."]


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A fit on a few short texts, as the `fit` task asks for it."""
    folder, draw = tmp_path_factory.mktemp("data"), np.random.default_rng(1)
    texts = {
        split: [" ".join(draw.choice(WORDS, draw.integers(2, 12))) for _ in range(count)]
        for split, count in (("train", 60), ("validation", 15))
    }
    vocabulary = learn_vocabulary(texts["train"], VocabularySpec(min_count=1), NormalForm())
    vocabulary.save(folder / "vocabulary.json")
    for split, some in texts.items():
        frame = pl.DataFrame(
            {
                "review_id": [f"{split}{n}" for n in range(len(some))],
                "text": some,
                "stars": [n % 5 + 1 for n in range(len(some))],
                "bytes": [len(text) + 1 for text in some],
            }
        )
        write_stream(folder / split, vocabulary, [frame])
    return LanguageModelJob(
        spec=SPEC,
        vocabulary=folder / "vocabulary.json",
        train=folder / "train",
        validation=folder / "validation",
        work=folder,
        facts={"fit_digest": "x"},
    )


@pytest.fixture(scope="module")
def start():
    """Run the fit in a child, forked from a server that has everything imported and no threads yet."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)

    def started(home, *arguments):
        child = context.Process(target=run, args=(str(home), *arguments))
        child.start()
        child.join(120)
        return child.exitcode

    return started


@pytest.fixture(scope="module")
def tracker(tmp_path_factory):
    home = tmp_path_factory.mktemp("mlflow")
    return Tracker(f"sqlite:///{home / 'mlflow.db'}", "reviewlm", home / "mlartifacts")


def journal_file(home):
    """The journal of a fit that is done, or of one that was killed; None where there is none yet."""
    return next((home / "store").glob("**/metrics.jsonl"), None)


def history(tracker, run_id):
    """All points of all metrics in MLflow but those of the clock."""
    client = open_client(tracker.uri)
    return {
        own_metric_name(name): [
            (point.step, point.value) for point in client.get_metric_history(run_id, name)
        ]
        for name in client.get_run(run_id).data.metrics
        if own_metric_name(name) not in CLOCK
    }


def updates_so_far(home):
    """Return the update that the newest restart point of a killed fit lies after; 0 where there is none."""
    files = sorted((home / "store" / ".work").glob("*/checkpoints/*.safetensors"))
    if not files:
        return 0
    with safe_open(files[-1], "pt") as file:
        return json.loads(file.metadata()["facts"])["course"]["updates"]


def result(home):
    """What a finished fit leaves: checksums of the bundle's files, the journal, samples."""
    bundle = next((home / "store" / "fit").glob("*/bundle"))
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in bundle.iterdir()}
    lines = [json.loads(line) for line in journal_file(home).read_text().splitlines()]
    journal = [{name: value for name, value in line.items() if name not in CLOCK} for line in lines]
    return files, journal, generate(load_bundle(bundle), 5, max_tokens=15, seed=3)


@pytest.fixture(scope="module")
def undisturbed(
    start,
    job,
    tracker,
    tmp_path_factory,
):
    """The result and MLflow's history of a fit that nobody killed, and how many points it has."""
    home, trace = (
        tmp_path_factory.mktemp("undisturbed"),
        tmp_path_factory.mktemp("trace") / "counts.json",
    )
    assert (
        start(
            home,
            job,
            0.0,
            None,
            str(trace),
        )
        == 0
    )
    run_id = tracker.start_run("undisturbed")
    tracker.log_journal(run_id, journal_file(home))
    return result(home), history(tracker, run_id), json.loads(trace.read_text())


def points(counts, store):
    """Return the points of one store: of every kind, early enough to be reached on the way from a restart point.

    In every other store they also lie so late that four deaths in a row lead over the border of the two epochs.
    """
    draw = random.Random(store)
    kinds = ["line", "line", ("touch", "journal", "tensors")[store % 3], "line", "touch"][:KILLS]
    if store % 2:
        kinds.reverse()
    low, high = (0, 1 / 4) if store % 2 else (1 / 6, 1 / 4)
    return [
        (kind, draw.randint(1 + int(counts[kind] * low), int(counts[kind] * high)))
        for kind in kinds
    ]


@pytest.fixture
def drawn_points(undisturbed):
    """List the points at which the drill kills."""
    _, _, counts = undisturbed
    return [point for store in range(STORES) for point in points(counts, store)]


def test_the_drill_kills_at_twenty_points(drawn_points):
    assert len(drawn_points) == 20
    assert len(set(drawn_points)) >= 16


def test_the_drill_kills_at_points_of_every_kind(drawn_points):
    assert {kind for kind, _ in drawn_points} == {"line", "touch", "journal", "tensors"}


def test_the_fit_of_the_drill_has_much_to_lose(undisturbed):
    (_, journal, texts), metrics, _ = undisturbed

    assert len(metrics["train/nats"]) > 30
    assert len(metrics["validation/nats"]) == RECIPE.evaluations
    assert len(set(texts)) > 1
    assert journal


@pytest.mark.drill(
    "killed at any moment",
    "kill -9 of a fit at 20 points",
    "same model, each metric once in MLflow",
)
@pytest.mark.parametrize("store", range(STORES))
def test_a_killed_fit_ends_as_if_nothing_had_happened(
    start,
    job,
    tracker,
    undisturbed,
    tmp_path,
    store,
):
    """In every other store there are restart points at evaluations only; MLflow is told after every death."""
    expected, metrics, counts = undisturbed
    seconds = 0.0 if store % 2 == 0 else 1e9
    run_id, reached = tracker.start_run(f"killed {store}"), []
    for fatal in points(counts, store):
        if seconds:  # then few files are written
            fatal = (
                fatal[0],
                {"tensors": 1 + fatal[1] % 2, "touch": 1 + fatal[1] % 12}.get(fatal[0], fatal[1]),
            )
        assert start(tmp_path, job, seconds, fatal) == -9, fatal
        reached.append(updates_so_far(tmp_path))
        if journal := journal_file(tmp_path):
            tracker.log_journal(run_id, journal)
    border = len(metrics["train/nats"]) // 2  # between the two epochs; each update has a line
    assert seconds or 0 < reached[0] < border < reached[-1]
    assert start(tmp_path, job, seconds) == 0
    tracker.log_journal(run_id, journal_file(tmp_path))
    assert result(tmp_path) == expected
    assert history(tracker, run_id) == metrics
