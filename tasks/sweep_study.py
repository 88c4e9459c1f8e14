"""Store the trials of a sweep in an Optuna study: a SQLite file that survives kill -9.

SQLite is used instead of Optuna's journal file: if a kill cuts a line of the journal short, the next line makes the
file unreadable. One process works on a study at a time, so a trial that still runs when the study is opened was
interrupted: its values are queued again, and its fit continues from its checkpoint.

The sampler is the tree-structured Parzen estimator (Bergstra et al. 2011; Watanabe 2023). It is seeded for each trial
by the number of trials before it. So a sweep with one worker that is killed and resumed draws the same trials as an
undisturbed one.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import optuna
from filelock import FileLock, Timeout
from matplotlib.figure import Figure
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.pruners import MedianPruner
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from core.config.search_space import Choice, Dimension
from core.config.sections.sweep import SweepConfig
from core.errors import ArtifactError, disk_errors
from core.storing.sqlite_files import database_address
from models.perplexity import perplexity

DATABASE = "study.db"
NUMBER, RUN, REASON, FACTS = "number", "run", "reason", "facts"
"""Attributes of a trial: its number among those that count, its MLflow run, why it failed, the summary of its fit."""
IMPORTANCE_TRIALS = 4
"""Minimum number of complete trials with different losses for computing importances."""
optuna.logging.set_verbosity(optuna.logging.WARNING)
log = logging.getLogger(__name__)


@contextmanager
def study_errors(folder: Path) -> Iterator[None]:
    """Convert errors of a study's database into ArtifactError; RuntimeError: it is of another version of Optuna."""
    try:
        yield
    except (SQLAlchemyError, StorageInternalError, RuntimeError) as error:
        cause = error.__cause__ if isinstance(error, StorageInternalError) else error
        busy = isinstance(cause, OperationalError)  # locked, full or read-only
        raise ArtifactError(
            f"The study of a sweep cannot be {'read or written' if busy else 'opened'}", where=folder / DATABASE,
            cause=str(cause).splitlines()[0],
            remedy="check the disk and run the command again: it continues where it stopped" if busy else
            "move the folder away and run the command again: what was fitted is taken from the store",
        ) from error


@contextmanager
def opened_study(folder: Path, options: SweepConfig, dimensions: Mapping[str, Dimension]) -> Iterator[Study]:
    """Yield the study of a folder, which is made if it is missing; another process that works on it is waited for.

    Raises:
        ArtifactError: The folder cannot be written, or its database is damaged or from another version of Optuna.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "study.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("waiting for another run of this sweep, whose trials are used again: %s", folder)
            lock.acquire()
    with lock:
        lock.release()  # acquired twice
        with study_errors(folder):
            study = Study(folder, options, dimensions)
        yield study


class Study:
    """Trials of one sweep. See `opened_study`."""

    def __init__(self, folder: Path, options: SweepConfig, dimensions: Mapping[str, Dimension]) -> None:
        self.folder, self.options = folder, options
        self.distributions = {name: _distribution(dimension) for name, dimension in dimensions.items()}
        storage = optuna.storages.RDBStorage(database_address(folder.absolute() / DATABASE))
        self._study = optuna.create_study(
            storage=storage, study_name="sweep", direction="minimize", load_if_exists=True,
            pruner=MedianPruner(n_startup_trials=options.random_trials, n_warmup_steps=options.prune_after),
        )  # fmt: skip
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._study.tell(trial.number, state=TrialState.FAIL)
            if NUMBER in trial.user_attrs:
                self._study.enqueue_trial(trial.params, user_attrs={NUMBER: trial.user_attrs[NUMBER]})

    def ask(self) -> optuna.Trial | None:
        """Return the next trial to fit; None if the study has the wanted number of trials."""
        begun = len(self._begun())
        if begun >= self.options.trials:
            return None
        seed = int(np.random.SeedSequence([self.options.seed, begun]).generate_state(1)[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            self._study.sampler = optuna.samplers.TPESampler(n_startup_trials=self.options.random_trials, seed=seed)
        trial = self._study.ask(self.distributions)
        if NUMBER not in trial.user_attrs:  # those of an interrupted attempt have theirs
            trial.set_user_attr(NUMBER, begun)
        return trial

    def tell(self, trial: optuna.Trial, state: TrialState, reason: str, facts: Mapping[str, float]) -> None:
        """End a trial: complete, with the summary of its fit, or pruned or failed, with the reason."""
        trial.set_user_attr(REASON, reason)
        trial.set_user_attr(FACTS, dict(facts))
        self._study.tell(trial, facts["validation_nats"] if state == TrialState.COMPLETE else None, state)

    def trials(self) -> list[FrozenTrial]:
        """Return all ended trials by number, without interrupted attempts (whose values were queued again)."""
        return [trial for trial in self._begun() if trial.state.is_finished()]

    def note(self, name: str) -> str:
        """Return the note that `remember` stored under this name, "" if there is none."""
        return str(self._study.user_attrs.get(name, ""))

    def remember(self, name: str, value: str) -> None:
        """Store a note on the study."""
        self._study.set_user_attr(name, value)

    def importances(self) -> dict[str, float]:
        """Return each option's share of the variance of the loss, by fANOVA (Hutter, Hoos & Leyton-Brown 2014).

        Empty if the complete trials have fewer than `IMPORTANCE_TRIALS` different losses.
        """
        losses = {trial.value for trial in self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))}
        if len(losses) < IMPORTANCE_TRIALS:
            return {}
        evaluator = FanovaImportanceEvaluator(seed=self.options.seed)
        return get_param_importances(self._study, evaluator=evaluator, params=list(self.distributions))

    def figures(self) -> Iterator[tuple[str, Figure]]:
        """Yield Optuna's pictures with their names: the history, each option's values, which options matter."""
        from optuna.visualization import matplotlib as plots

        matplotlib.use("Agg")
        shown: dict[str, Any] = {"target": _perplexity_of, "target_name": "validation perplexity"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # experimental; one value has no range
            yield "sweep_history", _figure(plots.plot_optimization_history(self._study, **shown))
            yield "sweep_slices", _figure(plots.plot_slice(self._study, **shown))
            if self.importances():
                evaluator = FanovaImportanceEvaluator(seed=self.options.seed)
                yield "sweep_importance", _figure(plots.plot_param_importances(self._study, evaluator=evaluator))

    def _begun(self) -> list[FrozenTrial]:
        """Return the trials that count, by number: no queued ones, and no interrupted attempts (failed, no reason)."""
        trials = [
            trial for trial in self._study.get_trials(deepcopy=False)
            if trial.state != TrialState.WAITING and NUMBER in trial.user_attrs
            and (trial.state != TrialState.FAIL or REASON in trial.user_attrs)
        ]  # fmt: skip
        return sorted(trials, key=lambda trial: int(trial.user_attrs[NUMBER]))


def _perplexity_of(trial: FrozenTrial) -> float:
    return perplexity(trial.value or 0.0)


def _figure(axes: Any) -> Figure:
    """Return the figure of what Optuna draws, and let pyplot forget it."""
    from matplotlib import pyplot

    figure: Figure = np.atleast_1d(axes).flat[0].figure
    pyplot.close(figure)
    return figure


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.values)
    if dimension.whole:
        return IntDistribution(int(dimension.low), int(dimension.high), dimension.log, int(dimension.step or 1))
    return FloatDistribution(dimension.low, dimension.high, dimension.log, dimension.step)
