"""Fit a classifier."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from reviewlm.models.classification.bundle import save_classifier
from reviewlm.models.neural.labelling.rows import Sequences
from reviewlm.models.streams import TokenStream
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.tasks.classification.labelling import LEFT_OUT, Labelling, drawn_rows, labelling_of
from reviewlm.tasks.fitting.job import PROBES, ClassifierJob
from reviewlm.training.context import FitContext, FitProgress
from reviewlm.training.labelling.examples import LabelledSequences
from reviewlm.training.labelling.fitting import fit_classifier


def run(job: ClassifierJob, report: Callable[[FitProgress], None]) -> dict[str, float]:
    """Fit the classifier of a job, save its bundle in the job's work folder, and return the fit's summary."""
    vocabulary = Vocabulary.load(job.vocabulary)
    labelling = labelling_of(job.label, job.spec.labels, job.labels)
    streams = {"train": TokenStream.open(job.train), "validation": TokenStream.open(job.validation)}
    train, validation = (
        examples(job, split, stream, labelling) for split, stream in streams.items()
    )
    context = FitContext(
        job.work,
        job.device,
        job.threads,
        report,
        job.parts,
        vectors=job.vectors,
    )
    result = fit_classifier(
        job.spec,
        vocabulary,
        train,
        validation,
        context,
    )
    # No facts that differ from run to run, so that equal fits give equal bundles.
    shares = np.bincount(train.targets, minlength=len(job.spec.labels)) / len(train.targets)
    facts = {
        **job.facts,
        "label": job.label,
        "label_shares": [float(share) for share in shares],
    }
    save_classifier(
        job.bundle,
        job.spec,
        vocabulary,
        result.model,
        [text for text, _ in PROBES],
        facts,
    )
    return {**result.summary, "train_reviews": len(train.targets)}


def examples(
    job: ClassifierJob,
    split: str,
    stream: TokenStream,
    labelling: Labelling,
) -> LabelledSequences:
    """Return the reviews of a stream that have a label, of the training reviews only as many as may be used.

    Classifiers do not read the star tokens, which give the label away.
    """
    numbers_D = labelling.numbers(stream.documents)
    rows_N = np.flatnonzero(numbers_D != LEFT_OUT)
    if split == "train" and job.train_reviews is not None:
        rows_N = rows_N[drawn_rows(len(rows_N), job.train_reviews, job.seed)]
    return LabelledSequences(Sequences(stream.ids, stream.offsets).take(rows_N), numbers_D[rows_N])
