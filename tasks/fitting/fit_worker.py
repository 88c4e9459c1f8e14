"""Fit a language model; with several processes ("ranks") that train one network together.

The rank and the number of ranks come from the variables that torchrun sets, too (`training/neural/data_parallel.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from reviewlm.models.base import LanguageModel
from reviewlm.models.bundles.bundle import INT8_LOSS, save_bundle
from reviewlm.models.specs import model_class
from reviewlm.models.streams import TRAINING_TEXT, TokenStream, stars_prior
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.tasks.execution.cluster import RayEngine
from reviewlm.tasks.fitting.job import PROBES, LanguageModelJob
from reviewlm.training.context import FitContext, FitProgress
from reviewlm.training.fit import fit_model


def run(job: LanguageModelJob, report: Callable[[FitProgress], None]) -> dict[str, float]:
    """Fit the model of a job, save its bundle in the job's work folder, and return the fit's summary.

    With several ranks, only rank 0 saves; the others return an empty summary.
    """
    spec = job.spec
    vocabulary = Vocabulary.load(job.vocabulary)
    train = TokenStream.open(job.train)
    validation = TokenStream.open(job.validation)
    engine = RayEngine(job.cluster, job.storage) if job.cluster else None
    context = FitContext(
        job.work,
        job.device,
        job.threads,
        report,
        job.parts,
        engine,
        job.init_weights,
        pace=job.pace,
        vectors=job.vectors,
    )
    if ranks_of_environment() > 1:
        context = _among_others(context, job.init_method)

    result = fit_model(
        spec,
        vocabulary,
        train,
        validation,
        context,
    )
    if context.rank:
        return {}
    if job.pace:  # the training is not finished
        return dict(result.summary)

    # No facts that differ from run to run, so that equal fits give equal bundles.
    cut = {name: train.facts[name] for name in ("oov_share", "fertility")}
    facts = {
        **job.facts,
        "stars_prior": stars_prior(train),
        TRAINING_TEXT: cut,
    }
    if hasattr(spec, "training") or job.parts:
        facts |= _loss_of_int8(job, vocabulary, result.model, validation)

    save_bundle(
        job.bundle,
        spec,
        vocabulary,
        result.model,
        PROBES,
        facts,
    )
    return dict(result.summary)


def _loss_of_int8(
    job: LanguageModelJob,
    vocabulary: Vocabulary,
    model: LanguageModel,
    validation: TokenStream,
) -> dict[str, float]:
    """Return the fact that says what int8 would lose; empty where the model has no network for int8."""
    from reviewlm.models.neural.device import limited_threads  # these import torch
    from reviewlm.training.neural.int8_loss import loss_of_int8

    with limited_threads(job.threads):
        if job.device != "cpu":
            with TemporaryDirectory(dir=job.work) as folder:
                model.save(Path(folder))
                model = model_class(job.spec.kind).load(Path(folder), job.spec, vocabulary, "cpu")
        loss = loss_of_int8(model, validation)

    return {} if loss is None else {INT8_LOSS: loss}


def ranks_of_environment() -> int:
    """Return the number of processes that train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _among_others(context: FitContext, init_method: str) -> FitContext:
    """Return the fit context of this rank; ModelError of kind "input" if it has no device."""
    from reviewlm.training.neural.data_parallel import own_device  # imports torch

    rank = int(os.environ["RANK"])
    ranks = ranks_of_environment()
    device = own_device(context.device, int(os.environ.get("LOCAL_RANK", rank)), ranks)
    return replace(
        context,
        device=device,
        rank=rank,
        ranks=ranks,
        init_method=init_method,
    )
