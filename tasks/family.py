"""Say what one kind of registered model is to the path from its fit to the alias `champion`.

Language models and classifiers are one subclass each (`tasks/promotion/language.py`, `tasks/classification/family.py`):
how a registered bundle is measured, and what its gate knows besides. Registering, the smoke test, the comparison on the
champion's own reviews, the decision and its settling exist once, in `tasks/promotion/`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.sections.evaluation import GatePolicy
from reviewlm.core.store import Artifact
from reviewlm.evaluation.gate.case import GateCase
from reviewlm.evaluation.gate.evidence import Evidence, ModelEvidence
from reviewlm.tasks.data.prepare import Prepared
from reviewlm.tasks.fitting.fit import bundle_digest
from reviewlm.tasks.fitting.job import MeasuredModel
from reviewlm.tracking.logged_models.export import Form

Scored = ModelEvidence[Any]
"""What a model did on the test reviews, before the gate knows its name and family."""


@dataclass(frozen=True)
class Champion:
    """Current champion, measured on the challenger's test reviews; if its bundle is lost, it has no folder."""

    version: int
    scored: Scored
    folder: Path | None = None
    data: str = ""


class ModelFamily(ABC):
    """One kind of registered model in the gate of a run.

    It is no dataclass: Prefect would search the fields of one for results of other tasks.

    Args:
        evaluated: All its models, including the baseline.
        challenger: The one that is to be registered.
        drift: Whether new reviews have drifted, in a sentence.
        no_network: Why no network was trained; empty if the run has one.
        refused: Why models that were tried before in this run are no champion, by name.

    Attributes:
        case: The gate of this kind.
        form: How its models are exported to MLflow, served and tested.
    """

    case: ClassVar[type[GateCase]]
    form: ClassVar[Form]
    evaluated: Any
    challenger: MeasuredModel

    def __init__(
        self,
        config: RunConfig,
        prepared: Prepared,
        evaluated: Any,
        challenger: MeasuredModel,
        drift: str = "",
        refused: Mapping[str, str] | None = None,
        no_network: str = "",
    ) -> None:
        self.config = config
        self.prepared = prepared
        self.drift = drift
        self.evaluated = evaluated
        self.challenger = challenger
        self.refused = dict(refused or {})
        self.no_network = no_network

    @property
    def bundle(self) -> Path:
        """The challenger's bundle as it was fitted."""
        return self.challenger.fitted.bundle

    @property
    @abstractmethod
    def policy(self) -> GatePolicy:
        """Policy of its gate."""

    @abstractmethod
    def load_stored(self, model: Any) -> Scored:
        """Return the scores of a model on the test reviews, as the run has stored them.

        Raises:
            Damaged: It has changed since it was stored.
        """

    @abstractmethod
    def score_registered(
        self,
        folder: Path,
        label: str,
        stored: Scored,
    ) -> Scored:
        """Measure the registered challenger, because the registered bundle is served, not the fit it was copied from.

        Raises:
            BundleError, Damaged: It does not open, or is not as it was registered.
        """

    @abstractmethod
    def score_champion(self, folder: Path, label: str) -> Scored:
        """Measure the champion's bundle on the challenger's test reviews; errors as `score_registered`."""

    @abstractmethod
    def score_champions_reviews(
        self,
        chosen: Artifact,
        earlier: Artifact,
        scored: tuple[Scored, Scored],
        folders: Mapping[str, Path],
    ) -> tuple[Any, Any] | None:
        """Return the rows of challenger and champion on the champion's own test reviews; None if none has a label.

        Args:
            chosen: The reviews, as an artifact with only a test split.
            earlier: The prepared data that they are of.

        Raises:
            BundleError, Damaged, InputError: They cannot be measured on them.
        """

    @abstractmethod
    def baseline_model(self) -> Any:
        """Return the model of the run that is the challenger's baseline."""

    def baseline(self) -> ModelEvidence[Any]:
        """Return the evidence about the challenger's baseline."""
        base = self.baseline_model()
        scores = self.baseline_scores(base)
        return replace(scores, digest=bundle_digest(base.fitted.bundle), name=base.name)

    @abstractmethod
    def baseline_scores(self, base: Any) -> Scored:
        """Return the scores of the baseline on the test reviews."""

    def ruled_out(self, model: Any) -> str:
        """Return why the gate must refuse a model of the run whatever it scores; empty if there is no such reason."""
        return ""

    def instead(self, challenger: Any, why: str) -> Self:
        """Return a copy of the run with another challenger.

        Args:
            challenger: Another model of the run.
            why: Why the gate refused the present one.
        """
        refused = {**self.refused, self.challenger.name: why}
        return type(self)(
            self.config,
            self.prepared,
            self.evaluated,
            challenger,
            self.drift,
            refused,
            self.no_network,
        )

    def complete_evidence(
        self, evidence: Evidence[Any], champion: Champion | None
    ) -> Evidence[Any]:
        """Return the evidence with what only this family's gate asks for."""
        return evidence
