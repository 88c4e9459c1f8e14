"""Define the configuration of a run: typed sections with their ranges, and checks across sections and models.

`core/config/presets.py` reads presets and overrides. Each stage's module in `tasks/` chooses the settings that count
for the stage's digest. The sections `execution`, `serving` and `upkeep` count for none.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from reviewlm.core.config.section import Line, Section, require_names
from reviewlm.core.config.sections.data import (
    ChecksConfig,
    CleanConfig,
    DriftConfig,
    DuplicatesConfig,
    SelectionConfig,
    SourceConfig,
    SplitConfig,
)
from reviewlm.core.config.sections.evaluation import (
    DEMO_MODEL,
    OWN_MODEL,
    AuditConfig,
    EvaluationConfig,
    PromotionConfig,
)
from reviewlm.core.config.sections.execution import ExecutionConfig, ServingConfig, UpkeepConfig
from reviewlm.core.config.sections.other_models import (
    ClassificationConfig,
    EmbeddingConfig,
    PunctuationConfig,
    SweepConfig,
)
from reviewlm.core.environment import home_folder
from reviewlm.core.workspace import Workspace
from reviewlm.models.classification.spec import CLASSIFIERS, language_model_of, unlike_start
from reviewlm.models.options import Seed
from reviewlm.models.specs import (
    KINDS,
    SCORES_ONLY,
    MixtureSpec,
    ModelSpec,
    Name,
    NeuralCacheSpec,
    NGramSpec,
    NPLMSpec,
    RecurrentSpec,
    VocabularySpec,
    parts_of,
)

MODELS: tuple[ModelSpec, ...] = (NGramSpec(), RecurrentSpec())
"""Models of a configuration that names none."""
Model = Annotated[ModelSpec, Field(discriminator="kind")]


class RunConfig(Section):
    """All settings that a run of the pipeline depends on.

    Attributes:
        preset: Name of the preset, for people.
        seed: Seed of everything that draws at random and has no seed of its own.
        baseline: Name of the model that all others are compared with.
        vectors: Files of word vectors by name, for networks whose option `vectors` names one: word2vec, GloVe or
            fastText, or the folder of `reviewlm models embed`.
    """

    preset: Line = "small"
    seed: Seed = 1
    source: SourceConfig = SourceConfig()
    clean: CleanConfig = CleanConfig()
    selection: SelectionConfig = SelectionConfig()
    duplicates: DuplicatesConfig = DuplicatesConfig()
    checks: ChecksConfig = ChecksConfig()
    drift: DriftConfig = DriftConfig()
    split: SplitConfig = SplitConfig()
    vectors: dict[Name, Line] = Field(default_factory=dict)
    vocabulary: dict[Name, VocabularySpec] = Field(
        default_factory=lambda: {"word": VocabularySpec()}
    )
    models: tuple[Model, ...] = MODELS
    baseline: str = "kn5"
    evaluation: EvaluationConfig = EvaluationConfig()
    audit: AuditConfig = AuditConfig()
    promotion: PromotionConfig = PromotionConfig()
    classification: ClassificationConfig = ClassificationConfig()
    embedding: EmbeddingConfig = EmbeddingConfig()
    punctuation: PunctuationConfig = PunctuationConfig()
    sweep: SweepConfig = SweepConfig()
    execution: ExecutionConfig = ExecutionConfig()
    serving: ServingConfig = ServingConfig()
    upkeep: UpkeepConfig = UpkeepConfig()

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        """Return a schema without details: Prefect makes one at import for each flow that takes a configuration."""
        return {"type": "object", "title": cls.__name__}

    @model_validator(mode="before")
    @classmethod
    def _one_seed_for_all(cls, options: Any) -> Any:
        """Copy `seed` to every part that draws random numbers and has no seed set."""
        if not isinstance(options, dict) or "seed" not in options:
            return options
        options = copy.deepcopy(options)
        for section in seeded_sections(options):
            section.setdefault("seed", options["seed"])
        return options

    @model_validator(mode="after")
    def _names_fit_together(self) -> RunConfig:
        if not self.models:
            raise ValueError("models is empty; at least one is needed")

        require_names("models", self.models, self.baseline)
        for spec in self.models:
            self._require_inputs("model", spec)
            require_parts(spec, self.models)
            if isinstance(spec, NGramSpec) and spec.smoothing in SCORES_ONLY:
                raise ValueError(
                    f"model {spec.name!r} has smoothing {spec.smoothing!r}, which gives scores, not probabilities, so "
                    "it has no perplexity; choose another method (`reviewlm models ngram fit` knows this one too)"
                )

        for classifier in self.classification.models:
            self._require_inputs("classifier", classifier)
            self._require_start(classifier)

        return self

    def _require_inputs(self, kind: str, spec: Any) -> None:
        """Refuse a model whose vocabulary, or word vectors that it starts from, the configuration does not name."""
        if spec.vocabulary not in self.vocabulary:
            vocabularies = list(self.vocabulary)
            raise ValueError(
                f"{kind} {spec.name!r} needs vocabulary {spec.vocabulary!r}; there are {vocabularies}"
            )

        name = getattr(spec, "vectors", "")
        if name and not self.vectors.get(name):
            raise ValueError(
                f"{kind} {spec.name!r} starts from the word vectors {name!r}; the section `vectors` must name their "
                f"file (vectors.{name}=FILE); it has {list(self.vectors)}"
            )

    def _require_start(self, classifier: Any) -> None:
        """Refuse a classifier that starts from a model that cannot give its layers."""
        start = language_model_of(classifier)
        if not start:
            return

        models = {spec.name: spec for spec in self.models}
        model = models.get(start)
        if not isinstance(model, RecurrentSpec) or model.vocabulary != classifier.vocabulary:
            raise ValueError(
                f"classifier {classifier.name!r} starts from {start!r}, which must be a recurrent language model "
                f"of the section `models` with the vocabulary {classifier.vocabulary!r}; there are {list(models)}"
            )
        if difference := unlike_start(classifier, model):
            raise ValueError(
                f"classifier {classifier.name!r} starts from {start!r}, whose network has other options; set "
                f"for the classifier: {difference}"
            )

    def with_input(self, input: Sequence[str]) -> RunConfig:
        """Return the configuration with these files, folders or globs as input; unchanged if there are none."""
        if not input:
            return self
        source = self.source.model_copy(update={"input": tuple(input)})
        return self.model_copy(update={"source": source}).named_by_data()

    def named_by_data(self) -> RunConfig:
        """Return the configuration with the demo's model names for the embedded corpus, and a user's for files.

        Without input only for what registers models: a command may ask for the user's model.
        """
        model = self.promotion.model_name
        classifier = self.classification.promotion.model_name
        if self.source.input:
            return self.asking(
                OWN_MODEL if model == DEMO_MODEL else None,
                "" if classifier.startswith(DEMO_MODEL) else None,
            )

        own = ("", OWN_MODEL, f"{OWN_MODEL}-{self.classification.label}")
        return self.asking(
            DEMO_MODEL if model == OWN_MODEL else None, DEMO_MODEL if classifier in own else None
        )

    def asking(self, model: str | None, classifier: str | None = None) -> RunConfig:
        """Return the configuration with other names of registered models; None keeps a name."""
        changes: dict[str, Any] = {}
        if model is not None:
            changes["promotion"] = self.promotion.model_copy(update={"model_name": model})
        if classifier is not None:
            policy = self.classification.promotion.model_copy(update={"model_name": classifier})
            changes["classification"] = self.classification.model_copy(update={"promotion": policy})
        return self.model_copy(update=changes)

    @property
    def experiment(self) -> str:
        """Name of the experiment in MLflow."""
        return self.execution.experiment or self.promotion.model_name

    @property
    def title(self) -> str:
        """Preset and data in a few words, for the names of runs: "demo, embedded corpus"."""
        return f"{Path(self.preset).stem}, {self.source.title}"

    @property
    def home(self) -> Path:
        """The folder of store, tracking database and Prefect's state; `REVIEWLM_HOME` wins over the setting."""
        return home_folder(self.execution.home)

    @property
    def tracking_address(self) -> str:
        """Address of the MLflow server or database that runs and models are written to."""
        return self.workspace.tracking_address

    @property
    def workspace(self) -> Workspace:
        """Where the run keeps its results and how this machine computes them."""
        return Workspace(self.home, self.experiment, self.execution)


def default_models() -> list[dict[str, Any]]:
    """Return `MODELS` as a preset would write them, without values that the whole configuration sets."""
    return [{"kind": spec.kind} for spec in MODELS]


def seeded_sections(options: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the parts of a configuration that draw random numbers, each with a seed of its own."""
    sections = [_below(options, "source", "synthetic"), _below(options, "sweep")]
    models = options.setdefault("models", default_models())
    classifiers = _below(options, "classification")
    for specs, kinds in ((models, KINDS), (classifiers.get("models"), CLASSIFIERS)):
        for spec in specs if isinstance(specs, list) else ():
            kind = ""
            if isinstance(spec, dict):
                kind = str(spec.get("kind"))

            fields = getattr(kinds.get(kind, [None])[0], "__pydantic_fields__", {})
            if "seed" in fields:
                sections.append(spec)
            elif "training" in fields:
                sections.append(_below(spec, "training"))

    return sections


def _below(options: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return a section, created if it is missing; a temporary empty one if the value there is no table."""
    for name in names:
        below = options.setdefault(name, {})
        options = below if isinstance(below, dict) else {}
    return options


def require_parts(spec: ModelSpec, models: Sequence[ModelSpec]) -> None:
    """Check that the parts of a mixture or cache come before it, have its vocabulary, and are of the kinds that it needs.

    Args:
        models: All models of the configuration, in order.

    Raises:
        ValueError: A part is missing or does not fit; pydantic turns it into an error that names the setting.
    """
    before = {model.name: model for model in models[: models.index(spec)]}
    for name in parts_of(spec):
        if name not in before:
            raise ValueError(
                f"model {spec.name!r} uses {name!r}, which must be one of the models before it: "
                f"{list(before)}"
            )
        if before[name].vocabulary != spec.vocabulary:
            raise ValueError(
                f"model {spec.name!r} has vocabulary {spec.vocabulary!r}, its part {name!r} "
                f"{before[name].vocabulary!r}; both must use the same vocabulary"
            )

    if isinstance(spec, MixtureSpec) and spec.method == "gated" and not _holds_ngram(spec, before):
        raise ValueError(
            f"model {spec.name!r} has method 'gated', which needs an n-gram model among its parts; add one, or "
            "use method 'linear'"
        )
    if isinstance(spec, NeuralCacheSpec) and not isinstance(
        part := before[spec.part], RecurrentSpec | NPLMSpec
    ):
        raise ValueError(
            f"model {spec.name!r} of kind {spec.kind!r} needs a neural model; its part {part.name!r} is of kind "
            f"{part.kind!r}"
        )


def _holds_ngram(spec: ModelSpec, before: Mapping[str, ModelSpec]) -> bool:
    """Return whether a model is an n-gram model or contains one, at any depth."""
    return isinstance(spec, NGramSpec) or any(
        _holds_ngram(before[name], before) for name in parts_of(spec)
    )
