"""Store the trials of a sweep in an Optuna study: a SQLite file that survives kill -9 and is shared by processes.

SQLite is used instead of Optuna's journal file: if a kill cuts a line of the journal short, the next line makes the
file unreadable. Each process that works on a study holds its own lock file, which the system releases when the process
dies. So a trial of a dead process is detected at once: its values are queued again, and its fit continues from its
checkpoint.

The sampler is the tree-structured Parzen estimator (Bergstra et al. 2011; Watanabe 2023). It is seeded for each trial
by the trial's number. So a sweep with one worker that is killed and resumed draws the same trials as an undisturbed
one.
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
from core.storing.sqlite_files import database_address

DATABASE, ASKING = "study.db", "asking.lock"
OWNER, INTERRUPTED, RUN, REASON, FACTS = "owner", "interrupted", "run", "reason", "facts"
STATES = {
    TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed",
    TrialState.RUNNING: "running", TrialState.WAITING: "waiting",
}  # fmt: skip
IMPORTANCE_TRIALS = 4
"""Minimum number of finished trials with different losses for computing importances."""
optuna.logging.set_verbosity(optuna.logging.WARNING)


@contextmanager
def database_errors(folder: Path, *others: type[Exception]) -> Iterator[None]:
    """Convert errors of a study's database, and exceptions of the types *others*, into ArtifactError."""
    expected: tuple[type[Exception], ...] = (SQLAlchemyError, StorageInternalError, *others)
    try:
        yield
    except expected as error:
        told = error.__cause__ if isinstance(error, StorageInternalError) else error
        busy = isinstance(told, OperationalError)  # locked, full or read-only
        raise ArtifactError(
            f"The study of a sweep cannot be {'read or written' if busy else 'opened'}", where=folder / DATABASE,
            cause=str(told).splitlines()[0],
            remedy="check the disk and run the command again: it continues where it stopped" if busy else
            "move the folder away and run the command again: what was fitted is taken from the store",
        ) from error


@dataclass(frozen=True)
class Trial:
    """Snapshot of a trial.

    Args:
        number: Position in the order of asking, from 0.
        state: "complete", "pruned", "failed" or "running".
        values: Values of the searched options.
        nats: Validation loss per token (nats) of a complete trial.
        reached: Validation loss at each evaluation, numbered from 1.
        reason: Why it failed or was pruned.
        facts: Summary of the fit.
        run_id: Id of its MLflow run.
    """

    number: int
    state: str
    values: dict[str, Value]
    nats: float | None = None
    reached: dict[int, float] = field(default_factory=dict)
    reason: str = ""
    facts: dict[str, float] = field(default_factory=dict)
    run_id: str = ""


class RunningTrial:
    """Trial that this process is fitting."""

    def __init__(self, trial: optuna.Trial) -> None:
        self._trial = trial
        self.number: int = trial.number
        self.values: dict[str, Value] = dict(trial.params)
        self.run_id: str = trial.user_attrs.get(RUN, "")

    def describe(self, run_id: str) -> None:
        """Store the id of the MLflow run that shows this trial."""
        if run_id != self.run_id:
            self.run_id = run_id
            self._trial.set_user_attr(RUN, run_id)

    def report(self, evaluation: int, nats: float) -> None:
        """Store the validation loss (nats per token) of one evaluation."""
        self._trial.report(nats, evaluation)

    def hopeless(self) -> bool:
        """Return whether the pruner wants to end this trial."""
        return self._trial.should_prune()


class Study:
    """Trials of one sweep, shared with other processes.

    Args:
        folder: Folder of the database and the locks; created if missing.
        options: Numbers of trials, pruner, seed.
        dimensions: The search space.

    Raises:
        ArtifactError: The folder cannot be written, or its database is damaged or from another version of Optuna.
    """

    def __init__(self, folder: Path, options: SweepConfig, dimensions: Mapping[str, Dimension]) -> None:
        self.folder, self.options = folder, options
        self.distributions = {name: _distribution(dimension) for name, dimension in dimensions.items()}
        self._owner = f"{uuid4().hex}.owner"
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with database_errors(folder, RuntimeError), self._asking():  # RuntimeError: other Optuna version
            storage = optuna.storages.RDBStorage(
                database_address(folder.absolute() / DATABASE), engine_kwargs={"connect_args": {"timeout": 60}}
            )
            self._study = optuna.create_study(
                storage=storage, study_name="sweep", direction="minimize", pruner=_pruner(options), load_if_exists=True
            )

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Join the study for this block: trials asked for here belong to this process as long as it runs."""
        with FileLock(self.folder / self._owner):
            try:
                self.give_up_dead()
                yield
            finally:
                (self.folder / self._owner).unlink(missing_ok=True)

    def ask(self) -> RunningTrial | None:
        """Return the next trial to fit; None if the study has the wanted number of trials."""
        with self._asking():
            trials = self._study.get_trials(deepcopy=False)
            begun = [trial for trial in trials if _counts(trial)]
            if len(begun) >= self.options.trials:
                return None
            self._study.sampler = self._sampler(len(begun))
            trial = self._study.ask(self.distributions)
            trial.set_user_attr(OWNER, self._owner)
        return RunningTrial(trial)

    def complete(self, asked: RunningTrial, nats: float, facts: Mapping[str, float]) -> None:
        """Mark a trial as complete, with its validation loss (nats per token)."""
        asked._trial.set_user_attr(FACTS, {name: value for name, value in facts.items() if isfinite(value)})
        self._study.tell(asked.number, nats)

    def prune(self, asked: RunningTrial, reason: str) -> None:
        """Mark a trial as pruned."""
        asked._trial.set_user_attr(REASON, reason)
        self._study.tell(asked.number, state=TrialState.PRUNED)

    def fail(self, asked: RunningTrial, reason: str) -> None:
        """Mark a trial as failed."""
        asked._trial.set_user_attr(REASON, reason)
        self._study.tell(asked.number, state=TrialState.FAIL)

    def give_back(self, asked: RunningTrial) -> None:
        """Queue an interrupted trial again, for another process or a later run."""
        with self._asking():
            trial = self._study.get_trials(deepcopy=False)[asked.number]
            if not trial.state.is_finished():
                self._again(trial)

    def give_up_dead(self) -> None:
        """Queue the trials of dead processes again."""
        with self._asking():
            for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if not self._lives(trial.user_attrs.get(OWNER, "")):
                    self._again(trial)

    def busy(self) -> bool:
        """Return whether any trial is being fitted."""
        return bool(self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))

    def trials(self) -> list[Trial]:
        """Return all trials by number, without interrupted attempts (whose values were queued again)."""
        return [_trial(trial) for trial in self._study.get_trials(deepcopy=False) if _counts(trial)]

    def importances(self) -> dict[str, float]:
        """Return each option's share of the variance of the loss, by fANOVA (Hutter, Hoos & Leyton-Brown 2014).

        Empty if the complete trials have fewer than `IMPORTANCE_TRIALS` different losses.
        """
        losses = {trial.value for trial in self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))}
        if len(losses) < IMPORTANCE_TRIALS:
            return {}
        evaluator = FanovaImportanceEvaluator(seed=self.options.seed)
        return get_param_importances(self._study, evaluator=evaluator, params=list(self.distributions))

    def note(self, name: str) -> str:
        """Return the note that `remember` stored under this name, "" if there is none."""
        return str(self._study.user_attrs.get(name, ""))

    def remember(self, name: str, value: str) -> None:
        """Store a note on the study."""
        self._study.set_user_attr(name, value)

    def lock(self, name: str) -> FileLock:
        """Return a lock that is shared by all processes that work on this study."""
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
        """Close an interrupted trial, which no longer counts, and queue its values again."""
        optuna.Trial(self._study, trial._trial_id).set_user_attr(INTERRUPTED, True)
        self._study.tell(trial.number, state=TrialState.FAIL)
        if trial.params.keys() == self.distributions.keys():
            known = {RUN: trial.user_attrs[RUN]} if RUN in trial.user_attrs else {}
            self._study.enqueue_trial(trial.params, user_attrs=known)


def _counts(trial: FrozenTrial) -> bool:
    return trial.state != TrialState.WAITING and INTERRUPTED not in trial.user_attrs


def _trial(trial: FrozenTrial) -> Trial:
    about = trial.user_attrs
    nats = trial.value if trial.state == TrialState.COMPLETE else None  # a pruned trial has its latest loss here
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
    """Successive halving that ignores interrupted attempts, so that a trial does not compete with its own retry."""

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        return super().prune(_Uninterrupted(study), trial)  # type: ignore[arg-type]


class _Uninterrupted:
    """View of a study without interrupted attempts."""

    def __init__(self, study: optuna.Study) -> None:
        self._study = study

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def get_trials(self, deepcopy: bool = True) -> list[FrozenTrial]:
        return [trial for trial in self._study.get_trials(deepcopy=deepcopy) if _counts(trial)]
