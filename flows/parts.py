"""Define the parts that flows are made of: ingest, prepare, train, evaluate; each is a flow that others call."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from prefect import flow
from prefect.futures import PrefectFuture, as_completed

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.environment import available_cores
from reviewlm.core.processes.memory import return_freed
from reviewlm.core.store import Artifact, Store
from reviewlm.flows.server.parameters import Given, on_workers
from reviewlm.tasks.data.card import describe_data
from reviewlm.tasks.data.ingest import ingest_files, synthesise
from reviewlm.tasks.data.prepare import (
    TRAIN_FIRST,
    VOCABULARY_FILE,
    Prepared,
    check_table,
    choose,
    clean_and_split,
    tokenize,
    train_vocabulary,
    vocabularies_in_use,
)
from reviewlm.tasks.evaluation.compare import compare_models
from reviewlm.tasks.evaluation.evaluate import Measured, measure
from reviewlm.tasks.evaluation.intervals import Evaluated, estimate_floor
from reviewlm.tasks.evaluation.processes import model_processes
from reviewlm.tasks.execution.stage import step
from reviewlm.tasks.fitting.fit import (
    device_of,
    fit,
    fitted_parts,
    reading_cost,
    relative_cost,
)
from reviewlm.tasks.fitting.fit_process import interruptible_fits
from reviewlm.tasks.fitting.job import Fitted
from reviewlm.tasks.fitting.warm_start import champion_vocabulary, warn_of_unknown
from reviewlm.tasks.promotion.ancestry import earlier_data, earlier_data_of
from reviewlm.tasks.records.track import VersionSettings, log_inputs, tracker_of

AT_A_TIME = 2
"""Works with models that are done at the same time, where `execution.workers` does not ask for more."""


@flow(
    name="ingest",
    flow_run_name="ingest: {config.source.title}",
    persist_result=False,
)
def ingest(config: Given[RunConfig]) -> Artifact:
    """Return the data set. A critical finding of the suite "raw" stops the run here, before any training."""
    with step("ingest", "read and check the reviews"):
        synthetic = None
        if not config.source.input:
            synthetic = synthesise(config.workspace, config.source.synthetic)

        dataset = ingest_files(config, synthetic)
        check_table(config, "raw", dataset)
        return dataset


def recorded_or_read(chosen: VersionSettings) -> Artifact:
    """Return the stored data set of the version in *chosen*; ingest again if there is none or the store lost it."""
    dataset = None
    if chosen.dataset:
        dataset = Store.of(chosen.config.home).find("ingest", chosen.dataset)

    if dataset is None:
        return ingest(chosen.config)
    return dataset


def prepare(
    config: RunConfig,
    dataset: Artifact,
    vocabularies: Sequence[str] | None = None,
    of: str = "",
) -> Prepared:
    """Return all data that the models are fitted and measured on, each part checked.

    Args:
        vocabularies: Names of those to prepare; None: those that the language models use.
        of: Digest of a version's prepared data, which are wanted again; empty: those of a new run.
    """
    with step("prepare", "clean, split and tokenize the reviews"):
        names = vocabularies_in_use(config.models, config.vocabulary)
        if vocabularies is not None:
            names = vocabularies

        return on_workers(prepare_data, config.execution.workers)(config, dataset, names, of)


@flow(
    name="prepare",
    flow_run_name="prepare: {config.source.title}",
    persist_result=False,
)
def prepare_data(
    config: Given[RunConfig],
    dataset: Given[Artifact],
    names: Sequence[str],
    of: str = "",
) -> Prepared:
    """Return the data set cleaned, split, checked and tokenized, with its vocabularies and data card.

    If there are several workers, the data card is drawn while the vocabularies are trained. Canaries are planted in the
    training split if the settings ask for some.

    Args:
        names: Names of the vocabularies to prepare.
        of: Digest of a version's prepared data, which are wanted again; empty: those of a new run.
    """
    past = earlier_data_of(config.home, of)
    clean = clean_and_split(
        config, dataset, earlier_data(config, dataset) if past is None else past
    )
    # `ingest` has already done the check "raw", so this is only a look-up. The run's report needs its result too.
    checks = [check_table(config, *what) for what in (("raw", dataset), ("clean", clean))]
    canaries = None
    if config.audit.canaries:
        canaries = choose(config.workspace, config.audit, clean)

    planted = {"train": canaries}  # canaries go into the training split only
    workspace = config.workspace
    card = describe_data.submit(workspace, config.source, dataset, clean)
    vocabularies = {}
    streams = {}
    champions = {}
    for name in names:
        vocabulary = champions[name] = champion_vocabulary(config, name)
        # Wait for each one: the trainer of unigram vocabularies sets its number of threads for the whole process.
        spec = config.vocabulary[name]
        trained = train_vocabulary.submit(
            workspace,
            name,
            spec,
            config.clean,
            clean,
            vocabulary,
        )
        vocabularies[name] = trained.result()
        file = str(vocabularies[name].folder / VOCABULARY_FILE)
        streams[name] = {
            split: tokenize.submit(
                workspace,
                file,
                split,
                clean,
                name,
                planted.get(split),
            )
            for split in TRAIN_FIRST
        }

    tokens = {}
    for vocabulary_name, splits in streams.items():
        results = {split: stream.result() for split, stream in splits.items()}
        tokens[vocabulary_name] = results

    for name, vocabulary in champions.items():
        if vocabulary:
            warn_of_unknown(name, vocabulary, tokens[name]["train"])

    checked = []
    for name in tokens:
        for split in TRAIN_FIRST:
            table = f"tokens {name} {split}"
            checked.append(check_table.submit(config, "tokens", tokens[name][split], table))

    checks += [check.result() for check in checked]
    return Prepared(
        clean,
        card.result(),
        vocabularies,
        tokens,
        tuple(checks),
        canaries,
    )


@flow(
    name="fit-models",
    flow_run_name="fit-models: {config.source.title}",
    persist_result=False,
)
def fit_models(
    config: Given[RunConfig],
    prepared: Given[Prepared],
    parent_run_id: str,
    classifiers: bool = False,
) -> list[Fitted]:
    """Return the fitted models, or classifiers, in the configuration's order.

    Fit the baseline first, then the others, the most expensive first. A model with parts, such as a mixture, or a
    classifier that starts from a language model, is fitted as soon as its parts are.
    """
    asked = config.classification.models if classifiers else config.models
    # Only now: a run for a time budget has planned its models, and MLflow lets no parameter be changed.
    tracker_of(config.workspace).log_params(
        parent_run_id, {"models": ", ".join(spec.name for spec in asked)}
    )
    needed = {name for spec in asked for name in getattr(spec, "parts", ())}
    specs = [*asked, *(spec for spec in config.models if spec.name in needed and spec not in asked)]
    waiting = sorted(specs, key=lambda spec: (spec.name != config.baseline, -relative_cost(spec)))
    running: list[tuple[Any, PrefectFuture[Fitted]]] = []
    fitted: list[tuple[Any, Fitted]] = []
    with interruptible_fits():
        while len(fitted) < len(specs):
            parts_there = {spec.name: one for spec, one in fitted if spec in config.models}
            for spec in tuple(waiting):
                parts = fitted_parts(spec, parts_there)
                if parts is not None:
                    waiting.remove(spec)
                    running.append(
                        (
                            spec,
                            fit.submit(
                                config,
                                spec,
                                prepared,
                                parent_run_id,
                                parts,
                            ),
                        )
                    )
            done = next(as_completed([future for _, future in running]))
            fitted += [(spec, future.result()) for spec, future in running if future is done]
            running = [pair for pair in running if pair[1] is not done]

    return [one for spec in asked for other, one in fitted if other is spec]


def train(
    config: RunConfig,
    prepared: Prepared,
    parent_run_id: str,
) -> list[Fitted]:
    """Fit the models in parallel, one per worker of the configuration.

    The floor of the evaluation is estimated meanwhile: it is Python code of seconds, and this process only waits.
    """
    count = len(config.models)
    most = config.execution.workers
    with step(
        "train", f"fit {count} models, at most {most} at a time" if count > 1 else "fit the model"
    ):
        log_inputs(config.workspace, prepared, parent_run_id)
        with ThreadPoolExecutor(1, thread_name_prefix="floor") as beside:
            floor = beside.submit(copy_context().run, estimate_floor, config.workspace, prepared)
            # The fits need what it and the data stages had.
            floor.add_done_callback(lambda done: return_freed())
            fitted = on_workers(fit_models, config.execution.workers)(
                config, prepared, parent_run_id
            )
            floor.result()

        return fitted


def evaluate(
    config: RunConfig,
    prepared: Prepared,
    fitted: list[Fitted],
    parent_run_id: str,
) -> Evaluated:
    """Return the measured models in the order of *fitted*, with comparison table, grammar floor and samples."""
    # Much of it is Python of one thread, so two at a time keep two cores busy, however many fits run at a time. On a
    # GPU, do one work at a time: a second model would need memory of its own.
    at_a_time = max(config.execution.workers, min(AT_A_TIME, available_cores()))
    workers = 1 if device_of(config.execution) == "cuda" else at_a_time
    several = f"score, sample and audit {len(fitted)} models, then compare them"
    work = several if len(fitted) > 1 else "score, sample and audit the model"
    with (
        step("evaluate", work),
        model_processes(config.execution, held_out_tokens(prepared, fitted)),
    ):
        evaluated = on_workers(measure_models, workers)(config, prepared, fitted, parent_run_id)

    return_freed()  # before the gate and the figures, which do not fit into the gaps
    return evaluated


def held_out_tokens(prepared: Prepared, fitted: Sequence[Fitted]) -> int:
    """Return how many tokens some models are scored on, all together."""
    streams = [prepared.tokens[model.spec.vocabulary] for model in fitted]
    return sum(
        int(stream[split].facts["tokens"]) for stream in streams for split in ("validation", "test")
    )


@flow(
    name="evaluate",
    flow_run_name="evaluate: {config.source.title}",
    persist_result=False,
)
def measure_models(
    config: Given[RunConfig],
    prepared: Given[Prepared],
    fitted: Given[list[Fitted]],
    parent_run_id: str,
) -> Evaluated:
    """Measure models side by side, the slowest first: else one would end alone; then compare them.

    Raises:
        Exception: That of the first model with a work that failed, after all others are measured.
    """
    specs = {model.spec.name: model.spec for model in fitted}
    waiting = sorted(fitted, key=lambda model: reading_cost(model.spec, specs), reverse=True)
    futures = {model.spec.name: measure.submit(config, model, prepared) for model in waiting}
    measured: dict[str, Measured] = {}
    failed: list[Exception] = []
    for name, future in futures.items():
        try:
            measured[name] = future.result()
        except Exception as error:
            failed.append(error)

    if failed:
        raise failed[0]

    in_order = [measured[model.spec.name] for model in fitted]
    return compare_models(config, prepared, in_order, parent_run_id)
