"""Run one fit of a classifier in a separate process: `python -m tasks.classification.fit_worker JOB.json`.

See `tasks/fitting/worker.py` for the messages that it writes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from models.base import FitContext, FitProgress
from models.classification.bundle import save_classifier
from models.classification.fitting import fit_classifier
from models.neural.labelling.labelled_sequences import LabelledSequences
from models.neural.labelling.rows import Sequences
from models.streams import TokenStream
from models.tokens.vocabulary import Vocabulary
from tasks.classification.job import ClassifierJob
from tasks.classification.labels import LEFT_OUT, Labelling, drawn_rows, labelling_of
from tasks.fitting.job import PROBES
from tasks.fitting.worker import report_progress, run_worker


def run(job: ClassifierJob, report: Callable[[FitProgress], None] | None = None) -> dict[str, float]:
    """Fit the classifier of a job, save its bundle in the job's work folder, and return the fit's summary."""
    vocabulary = Vocabulary.load(job.vocabulary)
    labelling = labelling_of(job.label, job.spec.labels, job.labels)
    train, validation = (labelled(TokenStream.open(folder), labelling) for folder in (job.train, job.validation))
    if job.train_reviews is not None:
        train = drawn(train, job.train_reviews, job.seed)
    context = FitContext(
        job.work, job.device, job.threads, report or report_progress, job.parts, vectors=job.vectors
    )  # fmt: skip
    result = fit_classifier(job.spec, vocabulary, train, validation, context)
    # No facts that differ from run to run, so that equal fits give equal bundles.
    shares = np.bincount(train.targets, minlength=len(job.spec.labels)) / len(train.targets)
    facts = {**job.facts, "label": job.label, "label_shares": [float(share) for share in shares]}
    save_classifier(job.bundle, job.spec, vocabulary, result.model, [text for text, _ in PROBES], facts)
    return {**result.summary, "train_reviews": len(train.targets)}


def labelled(stream: TokenStream, labelling: Labelling) -> LabelledSequences:
    """Return the reviews of a stream that have a label; classifiers do not read the star tokens that give it away."""
    numbers_D = labelling.numbers(stream.documents)
    return chosen(Sequences(stream.ids, stream.offsets), numbers_D, np.flatnonzero(numbers_D != LEFT_OUT))


def drawn(examples: LabelledSequences, count: int, seed: int) -> LabelledSequences:
    """Return *count* examples drawn at random, in their order; all of them if there are no more."""
    if count >= len(examples.targets):
        return examples
    assert isinstance(examples.sequences, Sequences)
    return chosen(examples.sequences, examples.targets, drawn_rows(len(examples.targets), count, seed))


def chosen(sequences: Sequences, targets_N: np.ndarray, rows_N: np.ndarray) -> LabelledSequences:
    """Return some of the sequences with their targets, in the order given."""
    return LabelledSequences(sequences.take(rows_N), targets_N[rows_N])


if __name__ == "__main__":
    raise SystemExit(run_worker(lambda text: run(ClassifierJob.from_json(text))))
