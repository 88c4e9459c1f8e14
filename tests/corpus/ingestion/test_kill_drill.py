"""Kill -9 at many points of reading, ingestion, cleaning, vocabulary and tokenization: the rerun leaves the same bytes.

Most of the points are touches of the file system (the process dies right before the n-th one), some in every stage;
the others are moments. A store is killed in each stage in turn before it is completed.
"""

import hashlib
import json
import multiprocessing
import random
import time

import orjson
import pytest

from tests.corpus.ingestion.drilled_stages import run
from tests.marked_cases import long_but

STORES = 5
MOMENTS = 2
STAGES = ("read", "ingest", "prepare", "vocabulary", "tokens")
WORDS = [f"word{number}" for number in range(40)]


@pytest.fixture(scope="module")
def start():
    """Start a child that runs the stages: forked from a server that has everything imported and no threads yet."""
    context = multiprocessing.get_context("forkserver")
    ours = (
        "reviewlm.corpus.cleaning.clean",
        "reviewlm.corpus.ingestion.ingest",
        "reviewlm.models.tokens.vocabulary",
        "reviewlm.models.streams",
    )
    context.set_forkserver_preload([*ours, "pyarrow"])

    def started(*arguments):
        child = context.Process(
            target=run, args=[str(each) for each in arguments[:2]] + list(arguments[2:])
        )
        child.start()
        return child

    return started


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Two files with bad lines, repeated ids and repeated texts."""
    draw, folder = random.Random(7), tmp_path_factory.mktemp("inputs")
    for name in ("a.jsonl", "b.jsonl"):
        lines = []
        for number in range(150):
            text = " ".join(draw.choices(WORDS, k=draw.randrange(3, 12)))
            record = {
                "review_id": f"r{draw.randrange(280)}",
                "stars": draw.choice([1, 5, 5, 4]),
                "text": text,
                "date": f"20{draw.randrange(10, 20)}-01-01",
            }
            lines.append(b"{broken" if number % 40 == 7 else orjson.dumps(record))
        (folder / name).write_bytes(b"\n".join(lines))
    return folder


def contents(home):
    """What every artifact holds; of the manifest all but the times."""
    found = {}
    for path in sorted(path for path in (home / "store").glob("[!.]*/*/**/*") if path.is_file()):
        name = path.relative_to(home).as_posix()
        if path.name == "manifest.json":
            manifest = orjson.loads(path.read_bytes())
            found[name] = {key: manifest[key] for key in ("facts", "files", "inputs")}
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.fixture(scope="module")
def undisturbed(
    start,
    inputs,
    tmp_path_factory,
):
    """The artifacts of a run that nobody killed, the touches of each stage, and how long it took."""
    home, trace = (
        tmp_path_factory.mktemp("undisturbed"),
        tmp_path_factory.mktemp("trace") / "counts.json",
    )
    # The server starts with the first child.
    start(home.with_name("none"), inputs, ("", 1)).join(60)
    began = time.monotonic()
    child = start(home, inputs, None, str(trace))
    child.join(60)
    assert child.exitcode == 0
    return contents(home), json.loads(trace.read_text()), time.monotonic() - began


def points(counts, store):
    """Return touches of each stage: of the first store the first ones, of the second the last, then at random."""
    draw = random.Random(store)
    for stage in STAGES:
        yield stage, {0: 1, 1: counts[stage]}.get(store, draw.randint(1, counts[stage]))


@pytest.mark.drill(
    "killed at any moment",
    "kill -9 at touches of files in each data stage",
    "next run: the same bytes",
)
@pytest.mark.parametrize("store", long_but(range(STORES), {0}))
def test_a_run_killed_at_touches_of_files_is_completed_to_the_same_bytes(
    start,
    inputs,
    undisturbed,
    tmp_path,
    store,
):
    expected, counts, _ = undisturbed
    for fatal in points(counts, store):
        child = start(tmp_path, inputs, fatal)
        child.join(60)
        assert child.exitcode == -9, fatal
        # What stands under its final name is an artifact of the undisturbed run, and a whole one.
        assert contents(tmp_path).items() <= expected.items(), fatal
    complete(start, inputs, tmp_path)
    assert contents(tmp_path) == expected


@pytest.mark.slow
@pytest.mark.drill(
    "killed at any moment",
    "kill -9 of the data stages at random moments",
    "next run: the same bytes",
)
@pytest.mark.parametrize("moment", long_but(range(MOMENTS), {0}))
def test_a_run_killed_at_moments_is_completed_to_the_same_bytes(
    start,
    inputs,
    undisturbed,
    tmp_path,
    moment,
):
    expected, _, seconds = undisturbed
    for share in random.Random(moment).choices(range(10, 60), k=2):
        child = start(tmp_path, inputs)
        child.join(seconds * share / 100)
        child.kill()
        child.join(60)
    complete(start, inputs, tmp_path)
    assert contents(tmp_path) == expected


def complete(
    start,
    inputs,
    home,
):
    """Let a child finish the work."""
    child = start(home, inputs)
    child.join(60)
    assert child.exitcode == 0
    assert not list((home / "store").glob("[!.]*/*/**/*.tmp"))
