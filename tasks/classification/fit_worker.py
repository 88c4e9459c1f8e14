"""Run one fit of a classifier in a separate process: `python -m tasks.classification.fit_worker JOB.json`.

See `tasks/fitting/worker.py` for the messages that it writes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl

from corpus.splitting.split import iter_split
from models.base import ModelError
from models.classification.bundle import save_classifier
from models.neural.labelling.labelled_sequences import LabelledSequences
from models.neural.labelling.rows import Sequences
from models.streams import TokenStream
from models.tokens.vocabulary import Vocabulary
from tasks.classification.job import ClassifierJob, entries, reads_texts
from tasks.classification.labelling import LEFT_OUT, Labelling, drawn_rows, labelling_of
from tasks.fitting.job import PROBES
from tasks.fitting.worker import report_progress, run_worker
from training.classification.fitting import fit_classifier
from training.context import FitContext, FitProgress


def run(job: ClassifierJob, report: Callable[[FitProgress], None] | None = None) -> dict[str, float]:
    """Fit the classifier of a job, save its bundle in the job's work folder, and return the fit's summary."""
    vocabulary = Vocabulary.load(job.vocabulary)
    labelling = labelling_of(job.label, job.spec.labels, job.labels)
    streams = {"train": TokenStream.open(job.train), "validation": TokenStream.open(job.validation)}
    train, validation = (examples(job, split, stream, labelling, vocabulary) for split, stream in streams.items())
    context = FitContext(
        job.work, job.device, job.threads, report or report_progress, job.parts, vectors=job.vectors,
        lexicons={name: entries(folder) for name, folder in job.lexicons.items()},
    )  # fmt: skip
    result = fit_classifier(job.spec, vocabulary, train, validation, context)
    # No facts that differ from run to run, so that equal fits give equal bundles.
    shares = np.bincount(train.targets, minlength=len(job.spec.labels)) / len(train.targets)
    facts = {**job.facts, "label": job.label, "label_shares": [float(share) for share in shares]}
    save_classifier(job.bundle, job.spec, vocabulary, result.model, [text for text, _ in PROBES], facts)
    return {**result.summary, "train_reviews": len(train.targets)}


def examples(
    job: ClassifierJob, split: str, stream: TokenStream, labelling: Labelling, vocabulary: Vocabulary
) -> LabelledSequences:
    """Return the reviews of a stream that have a label, of the training reviews only as many as may be used.

    Classifiers do not read the star tokens, which give the label away.
    """
    numbers_D = labelling.numbers(stream.documents)
    rows_N = np.flatnonzero(numbers_D != LEFT_OUT)
    if split == "train" and job.train_reviews is not None:
        rows_N = rows_N[drawn_rows(len(rows_N), job.train_reviews, job.seed)]
    texts = written(job, split, stream, rows_N, vocabulary)
    chosen = replace(Sequences(stream.ids, stream.offsets).take(rows_N), written=texts)
    return LabelledSequences(chosen, numbers_D[rows_N])


def written(
    job: ClassifierJob, split: str, stream: TokenStream, rows_N: np.ndarray, vocabulary: Vocabulary
) -> pl.Series | None:
    """Return the texts of some reviews of a stream, if the classifier of a job counts lexicons or patterns in them.

    A planted review is not in the prepared data: its text is decoded from its ids.

    Raises:
        ModelError: kind "input": the job has no folder of prepared data.
    """
    if not reads_texts(job.spec):
        return None
    if job.clean is None:
        raise ModelError("lexicons and patterns are counted in texts: the job has no prepared data", "input")
    ids = stream.documents.select("review_id")[rows_N]
    batches = iter_split(job.clean, split)
    texts_of = pl.concat([batch.select("review_id", "text").join(ids, "review_id", how="semi") for batch in batches])
    texts = ids.join(texts_of, "review_id", how="left", maintain_order="left")["text"]
    for row in texts.is_null().arg_true():
        texts[int(row)] = vocabulary.decode(stream.document(int(rows_N[row])))
    return texts


if __name__ == "__main__":
    raise SystemExit(run_worker(lambda text: run(ClassifierJob.from_json(text))))
