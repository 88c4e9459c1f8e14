"""Plan a run for a time budget: measure the machine, choose the settings, say what to expect.

The settings are ordinary ones, `key=value`, and become part of the run's configuration. The plan is an artifact of data
and minutes, so the same command on the same data uses the same settings, whatever the machine does meanwhile.
`--rebuild plan` makes another one.
"""

from __future__ import annotations

import logging
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic, time
from typing import Any

from pydantic import TypeAdapter

from reviewlm.core.config.presets import load_config
from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.config.sections.execution import ExecutionConfig
from reviewlm.core.environment import available_cores, busy
from reviewlm.core.errors import ClusterFailed
from reviewlm.core.store import Artifact
from reviewlm.models.specs import ModelSpec, NGramSpec, RecurrentSpec, identity
from reviewlm.models.streams import TokenStream
from reviewlm.tasks.data.prepare import Prepared
from reviewlm.tasks.execution.limits import gpu_slot
from reviewlm.tasks.execution.progress import duration
from reviewlm.tasks.execution.stage import run_stage, stage_task, started, waited
from reviewlm.tasks.fitting.fit import FitPlan, FitSettings, RunJob, plan_fit, threads_of
from reviewlm.tasks.fitting.fit_process import run_job
from reviewlm.tasks.fitting.job import FitJob
from reviewlm.tasks.fitting.on_cluster import NodeTaken
from reviewlm.tasks.planning.gain_law import Expectation, expect
from reviewlm.tasks.planning.rule import (
    BASELINE,
    BPTT_LEN,
    MOST_PASSES,
    NETWORK,
    PROBE,
    VOCABULARY,
    ChosenNetwork,
    Data,
    Machine,
    Products,
    choose,
    output_of,
    seconds_after,
)
from reviewlm.training.context import Pace

PROBE_SECONDS = 4.0
LEAST_REVIEWS_FOR_CANARIES = 1_000
WARM_UP = 0.05
"""Share of the expected updates in which the learning rate rises."""
SLACK = 16.0
"""A training may have this many times the expected passes, for a machine that becomes less busy."""
MOST_MINUTES = 24 * 60
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PlanRequest:
    """Request of a user for a plan, with `--minutes`.

    Args:
        overrides: Settings given with `--set`, which win over the chosen ones.
    """

    minutes: float
    overrides: tuple[str, ...] = ()

    def seconds_left(self) -> float:
        """Return the seconds that the current run still has; waits for another run do not count."""
        return started().timestamp() + waited() + 60 * self.minutes - time()


@dataclass(frozen=True)
class RunPlan:
    """Chosen settings and what they should give.

    Args:
        tokens_per_second: Measured speed of the probe network.
        products: Number format of its products.
        after: Seconds that are planned for all that follows the training, the start of the fit that ends it included.
        start: Measured seconds of a short training that were no updates: the start and the end of its process.
        needs: Least whole minutes of a run with a network here, if there is none; None if there is one, or if the
            reviews are too few for any.
        ended_by: Once the network is trained, what ended its training: "time", "validation" (it no longer improved),
            "length" (all passes that the plan allows), or "user" (a length that was set); "" without a network.
        busy: Whether the machine was busy when the plan was made.
    """

    minutes: float
    settings: tuple[str, ...]
    network: ChosenNetwork | None
    expected: Expectation
    tokens_per_second: float
    after: float
    products: Products = "bf16"
    start: float = 0.0
    needs: int | None = None
    ended_by: str = ""
    busy: bool = False

    def in_words(self) -> str:
        """Return the chosen settings as people read them."""
        network = self.network
        if network is None:
            needs = "needs more reviews"
            if self.needs:
                needs = f"needs --minutes {self.needs} at the speed of now"

            return f"{self.minutes:g} min: a Kneser–Ney 5-gram model only; a network {needs}"

        size = f"{network.hidden} cells and {network.embedding} features"
        time_of_training = f"about {duration(network.seconds)} (about {network.passes:.2g} passes"
        regularised = f"dropout {network.dropout:g}, batch {network.batch})"
        return (
            f"{self.minutes:g} min: a Kneser–Ney 5-gram model, an LSTM of {size} trained for {time_of_training}, "
            f"{regularised}, and their mixture"
        )


def configuration(
    preset: str,
    source: SourceConfig,
    request: PlanRequest,
    chosen: Sequence[str],
) -> RunConfig:
    """Return a configuration with chosen settings, over which the user's own settings win."""
    planned = load_config(preset, [*chosen, *request.overrides])
    # Models of the embedded corpus have the demo's name, as in a run without a plan.
    return planned.with_input(source.input).named_by_data()


def with_canaries(
    preset: str,
    source: SourceConfig,
    request: PlanRequest,
    dataset: Artifact,
) -> RunConfig:
    """Return the configuration with canaries if there are reviews enough for them."""
    return configuration(preset, source, request, _of_text(dataset))


def _of_text(dataset: Artifact) -> list[str]:
    """Return the settings that follow from the number of reviews."""
    if dataset.facts["rows"] >= LEAST_REVIEWS_FOR_CANARIES:
        return []
    return ["audit.canaries=0"]


def _of_baseline(baseline: NGramSpec) -> list[str]:
    """Return the settings of a run of the baseline alone."""
    only = (
        f'kind = "ngram", name = "{BASELINE}", vocabulary = "{VOCABULARY}", order = {baseline.order}, '
        f"min_documents = {baseline.min_documents}"
    )
    return [f"models=[{{{only}}}]"]


def settings_of(network: ChosenNetwork) -> list[str]:
    """Return the settings of a chosen network; its training may be longer than expected, if there is time."""
    longest = min(MOST_PASSES, network.passes * SLACK)
    warmup = WARM_UP * network.passes / longest
    values: dict[str, Any] = {"hidden": network.hidden, "embedding": network.embedding}
    values["dropout"] = network.dropout
    values["training.learning_rate"] = network.learning_rate
    values["training.batch"] = network.batch
    values["training.epochs"] = round(longest, 4)
    values["training.warmup"] = round(warmup, 6)
    values["training.bptt_len"] = BPTT_LEN
    for name, value in output_of(network.hidden).items():
        values[f"objective.{name}"] = value

    return [f"models.{NETWORK}.{name}={value}" for name, value in values.items()]


@stage_task("plan")
def make_plan(
    config: RunConfig,
    request: PlanRequest,
    dataset: Artifact,
    prepared: Prepared,
) -> RunPlan:
    """Return the plan of a run; if the store has one for these data and minutes, that one.

    Where the time does not even suffice for an n-gram model, the plan is that model: a model that comes late is worth
    more than none. It says with how many minutes there would be a network.
    """
    baseline = _baseline(config.models)
    # This law was measured beside a model of all n-grams.
    fits = {"baseline": baseline, "reference": replace(baseline, min_documents=1)}
    settings = FitSettings.of(config)
    fitted = {
        name: plan_fit(settings, spec, prepared).build().artifact for name, spec in fits.items()
    }

    def make(work: Path) -> dict[str, Any]:
        return asdict(
            _choose(
                settings,
                config.models,
                request,
                dataset,
                prepared,
                fitted,
            )
        )

    options = {
        "minutes": request.minutes,
        "spec": identity(_spec(config.models, NETWORK)),
        "text": _of_text(dataset),
    }
    if config.execution.cluster:
        options["network"] = "on nodes"

    inputs = {name: artifact.digest for name, artifact in fitted.items()}
    built = run_stage(
        config.workspace,
        "plan",
        options,
        inputs,
        make,
    )
    if built.reused and _is_outdated(_plan_of(built.artifact)):
        log.info("plan: an earlier one, made on a busy machine, has no network: a new one is made")
        options["machine"] = "no longer busy"
        built = run_stage(
            config.workspace,
            "plan",
            options,
            inputs,
            make,
        )

    if built.reused:
        log.info(
            "plan: taken from an earlier run with these reviews and minutes; --rebuild plan makes a new one"
        )

    return _plan_of(built.artifact)


def _plan_of(artifact: Artifact) -> RunPlan:
    return TypeAdapter(RunPlan).validate_python(artifact.facts)


def _is_outdated(made: RunPlan) -> bool:
    """Return whether a plan without a network, made on a busy machine, may get one now that the machine is idle."""
    return made.network is None and made.busy and not busy()


def _choose(
    settings: FitSettings,
    models: Sequence[ModelSpec],
    request: PlanRequest,
    dataset: Artifact,
    prepared: Prepared,
    fitted: Mapping[str, Artifact],
) -> RunPlan:
    streams = {split: artifact.facts for split, artifact in prepared.tokens[VOCABULARY].items()}
    data = Data(
        streams["train"]["bytes"],
        streams["train"]["tokens"],
        streams["validation"]["tokens"] + streams["test"]["tokens"],
    )
    network_of_run = _spec(models, NETWORK)
    execution = settings.execution
    trials = [
        measured_speed(settings, network_of_run, prepared, threads)
        for threads in thread_numbers(execution)
    ]
    here = trainer = max(trials, key=lambda machine: machine.tokens_per_second)
    nodes = execution.cluster
    if nodes:  # which train; what follows is this machine's
        trainer = measured_on_nodes(settings, network_of_run, prepared)

    # One process trains until the time is nearly over, another one to the end.
    left = request.seconds_left() - 2 * trainer.start
    network = _network(data, trainer, here, left)
    fewer = []
    if here.threads < threads_of(execution) and not nodes:
        fewer = [f"execution.threads={here.threads}"]

    after = seconds_after(network, data, here)
    needs = None
    if network:
        chosen = settings_of(network)
        after += trainer.start
    else:
        chosen = _of_baseline(_baseline(models))
        needs = _needed_minutes(
            request.minutes,
            data,
            trainer,
            here,
            left,
        )

    held_out = streams["validation"]
    summary = fitted["reference" if network else "baseline"].facts["summary"]
    nats = summary["validation/nats"] * summary["validation/tokens"] + _left_out(prepared)
    bits = nats / held_out["bytes"] / math.log(2)
    return RunPlan(
        request.minutes,
        (*_of_text(dataset), *fewer, *chosen),
        network,
        expect(network.cost if network else 0, data.train_bytes, bits),
        trainer.tokens_per_second,
        after=after,
        products=trainer.products,
        start=trainer.start,
        needs=needs,
        busy=bool(busy()),
    )


def _left_out(prepared: Prepared) -> float:
    """Return the nats of what the ids of the validation reviews leave out: unknown words, case, spaces."""
    documents = TokenStream.open(prepared.tokens[VOCABULARY]["validation"].path).documents
    return float(documents["spelling_nats"].sum())


def _network(
    data: Data,
    trainer: Machine,
    here: Machine,
    left: float,
) -> ChosenNetwork | None:
    """Return the network for the seconds left until the end of the run; None if they do not suffice for one.

    Args:
        trainer: The machine that trains.
        here: The machine of the run, which does what follows.
    """
    network = choose(data, trainer, left - seconds_after(None, data, here))
    # The time after the training depends on the network, and the network on the time.
    for _ in range(3):
        if network is not None:
            network = choose(data, trainer, left - seconds_after(network, data, here))
    return network


def _needed_minutes(
    minutes: float,
    data: Data,
    trainer: Machine,
    here: Machine,
    left: float,
) -> int | None:
    """Return the least whole minutes, up to a day, of a run with a network, of which *left* seconds are left."""
    longer = range(math.floor(minutes) + 1, MOST_MINUTES)
    return next(
        (more for more in longer if _network(data, trainer, here, left + 60 * (more - minutes))),
        None,
    )


def thread_numbers(execution: ExecutionConfig) -> list[int]:
    """Return the numbers of threads to measure: all, and where others use the cores, the share that they leave.

    Threads wait for each other after each product of matrices, and the slowest of them waits for other programs: with
    13 processes on two cores, two threads are 4 to 15 times slower than one.
    """
    threads = threads_of(execution)
    load = os.getloadavg()[0] / available_cores()
    fewer = threads
    if not execution.threads:
        fewer = max(1, int(threads / max(load, 1.0)))

    if busy():
        return [fewer]
    return sorted({threads, fewer})


def measured_speed(
    settings: FitSettings,
    spec: ModelSpec,
    prepared: Prepared,
    threads: int,
) -> Machine:
    """Train the probe network on the real tokens for some seconds, without evaluations; return what was measured."""
    with tempfile.TemporaryDirectory() as folder:
        probe = _probe(settings, spec, prepared)
        job = probe.job(Path(folder), Pace(PROBE_SECONDS, evaluations=1))
        with gpu_slot(job.device, job.ranks) as gpus:
            return _speed_of(run_job, replace(job, gpus=gpus, threads=threads))


def measured_on_nodes(
    settings: FitSettings,
    spec: ModelSpec,
    prepared: Prepared,
) -> Machine:
    """Train the probe network on every node that may get the fit, at the same time; return the slowest.

    Its start is the longest of all.

    Raises:
        ClusterFailed: No node has a place free within a minute.
    """
    fit = _probe(settings, spec, prepared)
    cluster = fit.on_cluster()
    assert cluster
    with tempfile.TemporaryDirectory() as folder:
        job = fit.job(Path(folder), Pace(PROBE_SECONDS, evaluations=1))
        cluster.send_inputs(job)
        places = cluster.places(job)

        def measure(number: int) -> Machine | None:
            work = Path(folder) / str(number)
            work.mkdir()
            try:
                return _speed_of(places[number], replace(job, work=work))
            except NodeTaken as taken:
                log.warning("plan: %s; it is not counted", taken)
                return None

        with ThreadPoolExecutor(len(places)) as pool:
            machines = [machine for machine in pool.map(measure, range(len(places))) if machine]

    if not machines:
        raise ClusterFailed(
            "No node of the cluster has a place free for the network",
            where="execution.cluster",
            value=settings.execution.cluster,
            remedy="run the command again when the fits of others have ended, or without --minutes, which then waits",
        )
    log.info("plan: measured on %d of %d places for the network", len(machines), len(places))
    slowest = min(machines, key=lambda machine: machine.tokens_per_second)
    return replace(slowest, start=max(machine.start for machine in machines))


def _probe(
    settings: FitSettings,
    spec: ModelSpec,
    prepared: Prepared,
) -> FitPlan:
    """Return the fit of the probe, a small network with the other options of the run's network."""
    assert isinstance(spec, RecurrentSpec)
    training = replace(
        spec.training,
        batch=min(32, spec.training.batch),
        epochs=1_000.0,
        warmup=0.0,
    )
    probe = replace(
        spec,
        hidden=PROBE[0],
        embedding=PROBE[1],
        training=training,
    )
    return plan_fit(settings, probe, prepared)


def _speed_of(run: RunJob, job: FitJob) -> Machine:
    """Return the speed of a training by its median update, and the start by the seconds around its updates."""
    begun = monotonic()
    summary = run(job, lambda news: None)
    around = monotonic() - begun - summary["seconds"]
    tokens_per_second = summary["tokens"] / summary["updates"] / summary["step_seconds"]
    products: Products = "bf16" if summary["bf16"] else "float32"
    return Machine(tokens_per_second, job.threads, products, max(0.0, around))


def _baseline(models: Sequence[ModelSpec]) -> NGramSpec:
    baseline = _spec(models, BASELINE)
    assert isinstance(baseline, NGramSpec)
    return baseline


def _spec(models: Sequence[ModelSpec], name: str) -> ModelSpec:
    return next(spec for spec in models if spec.name == name)
