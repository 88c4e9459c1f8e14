"""The process of a run holds no data: its memory stays flat over twenty stages that each read all reviews."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.environment import HOME_VARIABLE
from corpus.synthetic.synth import write_reviews

pytestmark = [
    pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1200),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel of Linux counts private memory"),
]
REVIEWS, ROUNDS, SOME = 20_000, 10, 3
"""Each round is two stages. The least of some rounds is compared, because allocators keep freed memory for a while."""
CODE = """
import gc, json, re, sys
from pathlib import Path
from core.config.sections.execution import ExecutionConfig
from core.config.run_config import RunConfig
from core.config.sections.source import SourceConfig
from core.processes.memory import returned_memory
from models.specs import VocabularySpec
from tasks.data.ingest import ingest_files
from tasks.data.prepare import VOCABULARY_FILE, clean_and_split, tokenize, train_vocabulary

ROUNDS = int(sys.argv[2])
names = ["word", *(f"word{number}" for number in range(1, ROUNDS))]
config = RunConfig(
    source=SourceConfig(input=(sys.argv[1],)), execution=ExecutionConfig(threads=2),
    vocabulary={name: VocabularySpec(unit="word", size=1_000 + 10 * number) for number, name in enumerate(names)},
)
kept = []

def stage(task, *arguments):
    found = task.fn(config, *arguments)
    kept.append(found if hasattr(found, "folder") else found.data)  # as a flow keeps the results of its tasks
    return kept[-1]

def held():
    gc.collect()
    with returned_memory():
        pass
    told = Path("/proc/self/smaps_rollup").read_text()
    size = {name: int(re.search(rf"{name}:\\s+(\\d+)", told)[1]) << 10 for name in ("Anonymous", "LazyFree")}
    return size["Anonymous"] - size["LazyFree"]  # the system may take the latter at any time

clean = stage(clean_and_split, stage(ingest_files, None))
after = []
for name in names:
    vocabulary = stage(train_vocabulary, name, clean)
    stage(tokenize, str(vocabulary.folder / VOCABULARY_FILE), "train", clean)
    after.append(held())
assert len({one.digest for one in kept}) == 2 + 2 * ROUNDS
print(json.dumps(after))
"""


def test_the_memory_of_the_process_is_flat_over_twenty_stages(tmp_path: Path) -> None:
    file = tmp_path / "reviews.jsonl"
    write_reviews(file, REVIEWS, seed=5, workers=1)
    # With several arenas, the C library keeps more each round until some 40 stages have run, for any number of reviews.
    environment = {**os.environ, HOME_VARIABLE: str(tmp_path / "home"), "MALLOC_ARENA_MAX": "1"}
    command = [sys.executable, "-c", CODE, str(file), str(ROUNDS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1000)
    assert done.returncode == 0, done.stderr[-3_000:]
    after = json.loads(done.stdout.splitlines()[-1])
    early, late = min(after[SOME - 1 : 2 * SOME - 1]), min(after[-SOME:])
    # One table of the reviews takes about as much as their file; each round would leave one behind.
    left = (ROUNDS - 2 * SOME + 1) * file.stat().st_size
    assert late - early < left / 2, after
