"""A sweep's memory: an Optuna study in a SQLite file, which survives kill -9 and is shared by all who work on it.

SQLite and not Optuna's journal file: a line of that which a kill cut short makes the file unreadable at the next one.
Each process that works on a study holds a lock file of its own, which the system lets go of when the process dies. So
a trial whose owner is dead is known at once; its values are asked for again, and its fit goes on from its checkpoint.

The sampler is the tree-structured Parzen estimator (Bergstra et al. 2011; Watanabe 2023), seeded anew for each trial by
its number: a sweep with one worker that was killed and taken up again asks what the undisturbed one would have asked.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import optuna
from filelock import FileLock, Timeout
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.pruners import BasePruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from core.config.search_space import Choice, Dimension, Value
from core.config.sections.sweep import SweepConfig
from core.errors import ArtifactError, disk_errors

DATABASE, ASKING = "study.db", "asking.lock"
OWNER, INTERRUPTED, RUN, REASON, FACTS = "owner", "interrupted", "run", "reason", "facts"
STATES = {
    TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed",
    TrialState.RUNNING: "running", TrialState.WAITING: "waiting",
}  # fmt: skip
IMPORTANCE_TRIALS = 4
"""Finished trials that a statement on importance needs, at least."""
optuna.logging.set_verbosity(optuna.logging.WARNING)


@contextmanager
def database_errors(folder: Path, *others: type[Exception]) -> Iterator[None]:
    """Turn errors of a study's database, and those of *others*, into ours."""
    expected: tuple[type[Exception], ...] = (SQLAlchemyError, StorageInternalError, *others)
    try:
        yield
    except expected as error:
        told = error.__cause__ if isinstance(error, StorageInternalError) else error
        busy = isinstance(told, OperationalError)  # locked, full or read-only
        raise ArtifactError(
            f"The study of a sweep cannot be {'read or written' if busy else 'opened'}", where=folder / DATABASE,
            cause=str(told).splitlines()[0],
            remedy="see to the disk and run the command again: it goes on where it stopped" if busy else
            "move the folder away and run the command again: what was fitted is taken from the store",
        ) from error


@dataclass(frozen=True)
class Trial:
    """A trial as it stands.

    Args:
        number: In the order of asking, from 0.
        state: "complete", "pruned", "failed" or "running".
        values: Of the options searched.
        nats: Validation loss per token of a complete trial.
        reached: Validation loss at each evaluation, numbered from 1.
        reason: Why it failed or was pruned.
        facts: What the fit says of itself.
        run_id: Its MLflow run.
    """

    number: int
    state: str
    values: dict[str, Value]
    nats: float | None = None
    reached: dict[int, float] = field(default_factory=dict)
    reason: str = ""
    facts: dict[str, float] = field(default_factory=dict)
    run_id: str = ""


class Asked:
    """A trial that this process works on."""

    def __init__(self, trial: optuna.Trial) -> None:
        self._trial = trial
        self.number: int = trial.number
        self.values: dict[str, Value] = dict(trial.params)
        self.run_id: str = trial.user_attrs.get(RUN, "")

    def describe(self, run_id: str) -> None:
        """Remember the MLflow run that shows this trial."""
        if run_id != self.run_id:
            self.run_id = run_id
            self._trial.set_user_attr(RUN, run_id)

    def report(self, evaluation: int, nats: float) -> None:
        """Remember the validation loss of one evaluation."""
        self._trial.report(nats, evaluation)

    def hopeless(self) -> bool:
        """Return whether the pruner has seen enough of this trial."""
        return self._trial.should_prune()


class Study:
    """One sweep's trials, shared with other processes.

    Args:
        folder: Made where it is not there; holds the database and the locks.
        options: Numbers of trials, pruner, seed.
        dimensions: What is searched.

    Raises:
        ArtifactError: The folder cannot be written to, or its database is damaged or of another version of Optuna.
    """

    def __init__(self, folder: Path, options: SweepConfig, dimensions: Mapping[str, Dimension]) -> None:
        self.folder, self.options = folder, options
        self.distributions = {name: _distribution(dimension) for name, dimension in dimensions.items()}
        self._owner = f"{uuid4().hex}.owner"
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with database_errors(folder, RuntimeError), self._asking():  # that is Optuna's of another version
            storage = optuna.storages.RDBStorage(
                f"sqlite:///{folder.absolute() / DATABASE}", engine_kwargs={"connect_args": {"timeout": 60}}
            )
            self._study = optuna.create_study(
                storage=storage, study_name="sweep", direction="minimize", pruner=_pruner(options), load_if_exists=True
            )

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Work on the study within this block: trials asked for here belong to this process while it lives."""
        with FileLock(self.folder / self._owner):
            try:
                self.give_up_dead()
                yield
            finally:
                (self.folder / self._owner).unlink(missing_ok=True)

    def ask(self) -> Asked | None:
        """Return the next trial to fit, None where there are as many as wanted."""
        with self._asking():
            trials = self._study.get_trials(deepcopy=False)
            begun = [trial for trial in trials if _counts(trial)]
            if len(begun) >= self.options.trials:
                return None
            self._study.sampler = self._sampler(len(begun))
            trial = self._study.ask(self.distributions)
            trial.set_user_attr(OWNER, self._owner)
        return Asked(trial)

    def complete(self, asked: Asked, nats: float, facts: Mapping[str, float]) -> None:
        """End a trial with its validation loss."""
        asked._trial.set_user_attr(FACTS, {name: value for name, value in facts.items() if isfinite(value)})
        self._study.tell(asked.number, nats)

    def prune(self, asked: Asked, reason: str) -> None:
        """End a trial that is not worth going on with."""
        asked._trial.set_user_attr(REASON, reason)
        self._study.tell(asked.number, state=TrialState.PRUNED)

    def fail(self, asked: Asked, reason: str) -> None:
        """End a trial that could not be fitted."""
        asked._trial.set_user_attr(REASON, reason)
        self._study.tell(asked.number, state=TrialState.FAIL)

    def give_back(self, asked: Asked) -> None:
        """Let someone else, or a later run, fit this trial: it was interrupted."""
        with self._asking():
            trial = self._study.get_trials(deepcopy=False)[asked.number]
            if not trial.state.is_finished():
                self._again(trial)

    def give_up_dead(self) -> None:
        """Ask again for the trials of processes that are dead."""
        with self._asking():
            for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if not self._lives(trial.user_attrs.get(OWNER, "")):
                    self._again(trial)

    def busy(self) -> bool:
        """Return whether some trial is being fitted."""
        return bool(self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))

    def trials(self) -> list[Trial]:
        """Return all trials but those that were interrupted (and asked for again), by number."""
        return [_trial(trial) for trial in self._study.get_trials(deepcopy=False) if _counts(trial)]

    def importances(self) -> dict[str, float]:
        """Return each option's share of the variance of the loss, by fANOVA (Hutter, Hoos & Leyton-Brown 2014).

        Empty where fewer than four trials came to an end, or all with the same loss.
        """
        losses = {trial.value for trial in self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))}
        if len(losses) < IMPORTANCE_TRIALS:
            return {}
        evaluator = FanovaImportanceEvaluator(seed=self.options.seed)
        return get_param_importances(self._study, evaluator=evaluator, params=list(self.distributions))

    def note(self, name: str) -> str:
        """Return what `remember` was told under this name, "" for nothing."""
        return str(self._study.user_attrs.get(name, ""))

    def remember(self, name: str, value: str) -> None:
        """Keep a note on the study."""
        self._study.set_user_attr(name, value)

    def lock(self, name: str) -> FileLock:
        """Return a lock that all processes at work on this study share."""
        return FileLock(self.folder / f"{name}.lock")

    def _asking(self) -> FileLock:
        return FileLock(self.folder / ASKING)

    def _sampler(self, number: int) -> optuna.samplers.TPESampler:
        seed = int(np.random.SeedSequence([self.options.seed, number]).generate_state(1)[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return optuna.samplers.TPESampler(n_startup_trials=self.options.random_trials, seed=seed)

    def _lives(self, owner: str) -> bool:
        if owner == self._owner:
            return True
        if not owner or not (self.folder / owner).is_file():
            return False
        try:
            with FileLock(self.folder / owner, timeout=0):
                (self.folder / owner).unlink(missing_ok=True)
                return False
        except Timeout:
            return True

    def _again(self, trial: FrozenTrial) -> None:
        """Close an interrupted trial, which counts for nothing, and queue its values."""
        optuna.Trial(self._study, trial._trial_id).set_user_attr(INTERRUPTED, True)
        self._study.tell(trial.number, state=TrialState.FAIL)
        if trial.params.keys() == self.distributions.keys():
            known = {RUN: trial.user_attrs[RUN]} if RUN in trial.user_attrs else {}
            self._study.enqueue_trial(trial.params, user_attrs=known)


def _counts(trial: FrozenTrial) -> bool:
    return trial.state != TrialState.WAITING and INTERRUPTED not in trial.user_attrs


def _trial(trial: FrozenTrial) -> Trial:
    about = trial.user_attrs
    nats = trial.value if trial.state == TrialState.COMPLETE else None  # of a pruned one Optuna keeps the latest
    return Trial(
        trial.number, STATES[trial.state], dict(trial.params), nats, dict(trial.intermediate_values),
        about.get(REASON, ""), about.get(FACTS, {}), about.get(RUN, ""),
    )


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.values)
    if dimension.whole:
        return IntDistribution(int(dimension.low), int(dimension.high), dimension.log, int(dimension.step or 1))
    return FloatDistribution(dimension.low, dimension.high, dimension.log, dimension.step)


def _pruner(options: SweepConfig) -> BasePruner:
    if options.pruner == "median":
        return MedianPruner(n_startup_trials=options.random_trials, n_warmup_steps=options.prune_after)
    if options.pruner == "halving":
        return _Halving(min_resource=options.prune_after, reduction_factor=3)
    return NopPruner()


class _Halving(SuccessiveHalvingPruner):
    """Successive halving; the interrupted attempt of a trial is no rival of the one that goes on with it."""

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        return super().prune(_Uninterrupted(study), trial)  # type: ignore[arg-type]


class _Uninterrupted:
    """A study without the attempts that were interrupted."""

    def __init__(self, study: optuna.Study) -> None:
        self._study = study

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def get_trials(self, deepcopy: bool = True) -> list[FrozenTrial]:
        return [trial for trial in self._study.get_trials(deepcopy=deepcopy) if _counts(trial)]
