"""The data stages as one program over a small store, and a way to end it at its n-th touch of the file system."""

import json
import os
import signal
import sys
import threading
from collections import Counter
from pathlib import Path

import reviewlm.corpus.ingestion.ingest
from reviewlm.core.config.sections.data import CleanConfig, SourceConfig, SplitConfig
from reviewlm.core.store import Store
from reviewlm.corpus.cleaning.clean import prepare
from reviewlm.corpus.ingestion.build_dataset import assemble
from reviewlm.corpus.ingestion.ingest import read_source
from reviewlm.corpus.ingestion.parts import SourceReading
from reviewlm.corpus.reading.sources import identify, source_names
from reviewlm.corpus.splitting.split import iter_split
from reviewlm.models.specs import VocabularySpec
from reviewlm.models.streams import write_stream
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.training.vocabularies.learn import learn_vocabulary

CONFIG = SourceConfig(part_rows=40, ids="newest")
TOUCHES = {
    "open",
    "os.rename",
    "os.link",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "shutil.rmtree",
    "os.truncate",
}
UNITS = ("word", "bpe")


class Touches:
    """Counts what the process does to files below a folder; at the wanted one it ends at once, like a power cut.

    Args:
        folder: Files elsewhere do not count.
        fatal: A stage and the number of its touch, from 1; none: it lives.
    """

    def __init__(self, folder: Path, fatal: tuple[str, int] | None) -> None:
        self.folder, self.fatal, self.stage = os.fsencode(folder), fatal, ""
        self.counts: Counter[str] = Counter()
        self._one = threading.Lock()  # stages have threads, and `+=` of two at once counts one

    def hook(self, event: str, arguments: tuple[object, ...]) -> None:
        """Be told of an audit event (PEP 578), before it takes effect."""
        if event not in TOUCHES or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        if os.fsencode(arguments[0]).startswith(self.folder):
            with self._one:
                self.counts[self.stage] += 1
                if (self.stage, self.counts[self.stage]) == self.fatal:
                    os.kill(os.getpid(), signal.SIGKILL)


def run(
    home: str,
    inputs: str,
    fatal: tuple[str, int] | None = None,
    trace: str = "",
) -> None:
    """Build all artifacts that are not there yet; write to *trace* how many touches each stage had."""
    reviewlm.corpus.ingestion.ingest.BLOCK_BYTES = 3000
    touches = Touches(Path(home), fatal)
    sys.addaudithook(touches.hook)
    build(Path(home), Path(inputs), touches)
    if trace:
        Path(trace).write_text(json.dumps(touches.counts))


def build(
    home: Path,
    inputs: Path,
    touches: Touches,
) -> None:
    """Go through the stages as the tasks do."""
    store = Store(home / "store")

    def stage(
        name,
        options,
        parents,
        make,
    ):
        touches.stage = name
        return store.build(
            name,
            1,
            options,
            parents,
            make,
        ).artifact

    sources = [
        identify(path, name, store.root / ".files") for path, name in source_names([inputs]).items()
    ]
    read = {
        source.sha256: stage(
            "read",
            {"name": source.name},
            {"file": source.sha256},
            lambda work, source=source: read_source(source, work, CONFIG).facts,
        )
        for source in sources
    }
    readings = {digest: SourceReading(artifact.folder) for digest, artifact in read.items()}
    data = stage(
        "ingest",
        {},
        {digest: artifact.digest for digest, artifact in read.items()},
        lambda work: assemble(work, sources, readings, CONFIG),
    )
    clean = stage(
        "prepare",
        {},
        {"data": data.digest},
        lambda work: prepare(data.folder, work, CleanConfig(), SplitConfig()),
    )
    vocabularies = [
        stage(
            "vocabulary",
            {"unit": unit},
            {"clean": clean.digest},
            lambda work, unit=unit: _vocabulary(
                work, clean.folder, VocabularySpec(unit=unit, size=300)
            ),
        )
        for unit in UNITS
    ]
    for artifact in vocabularies:
        vocabulary = Vocabulary.load(artifact.folder / "vocabulary.json")
        for split in ("train", "test"):
            parents = {"clean": clean.digest, "vocabulary": artifact.digest}
            stage(
                "tokens",
                {"split": split},
                parents,
                lambda work, vocabulary=vocabulary, split=split: write_stream(
                    work, vocabulary, iter_split(clean.folder, split)
                ),
            )


def _vocabulary(
    work,
    clean,
    spec,
):
    texts = (text for batch in iter_split(clean, "train") for text in batch["text"])
    vocabulary = learn_vocabulary(texts, spec, NormalForm(**CleanConfig().model_dump()))
    vocabulary.save(work / "vocabulary.json")
    return {"size": vocabulary.size}
