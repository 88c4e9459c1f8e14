"""Reproduce a registered version stage by stage in a separate home folder, and compare each with its record."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from datetime import datetime
from pathlib import Path
from time import time
from typing import Any

from reviewlm.core.config.presets import parse_config
from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.sections.data import SyntheticConfig
from reviewlm.core.errors import ConfigError, ReviewLMError
from reviewlm.core.lineage import Lineage, Step, StepComparison, step_of
from reviewlm.core.store import Artifact
from reviewlm.corpus.ingestion.parts import SET_ASIDE
from reviewlm.corpus.reading.sources import Listed, identify, originals
from reviewlm.models.classification.spec import classifier_from_dict
from reviewlm.models.specs import as_written, spec_from_dict
from reviewlm.models.tokens.vocabulary import FILE
from reviewlm.tasks.classification.field_labels import field_labels
from reviewlm.tasks.classification.predict import predict_bundle
from reviewlm.tasks.data.ingest import (
    READ_AT,
    READ_ORDER,
    SYNTHETIC_FILE,
    make_data_set,
    read_file,
    set_aside_again,
    synthesise,
)
from reviewlm.tasks.data.prepare import (
    CANARIES_INPUT,
    EARLIER,
    VOCABULARY_FILE,
    Prepared,
    choose,
    clean_and_split,
    tokenize,
    train_vocabulary,
)
from reviewlm.tasks.embed import START_VECTORS, rows_of_file
from reviewlm.tasks.evaluation.evaluate import draw_samples, score_bundle
from reviewlm.tasks.execution.stage import RESOURCES, show_table, stage_task
from reviewlm.tasks.fitting.fit import LABELS, FitPlan, FitSettings
from reviewlm.tasks.fitting.job import BUNDLE_FOLDER, FIT_CLASSIFIER, Fitted
from reviewlm.tasks.fitting.warm_start import INPUT, Start
from reviewlm.tasks.records.gather import PART, facts_of

UNUSED = "unused"
"""Name of the language model that the configuration of a classifier's reproduction must have."""
log = logging.getLogger(__name__)


def configuration_of(lineage: Lineage) -> RunConfig:
    """Return the recorded configuration, reduced to the version's own model and its parts.

    Raises:
        ConfigError: The current code does not know a recorded setting; the error names the version's commit.
    """
    values = deepcopy(lineage.configuration)
    # Take the model names from the fits: a reused fit may have been built under another name, kept in its bundle.
    specs = [step.facts["spec"] for step in lineage.steps if step.stage == "fit"]
    classifiers = [step.facts["spec"] for step in lineage.steps if step.stage == FIT_CLASSIFIER]
    name = [*specs, *classifiers][0]["vocabulary"]
    vocabulary = next(step.options["spec"] for step in lineage.steps if step.stage == "vocabulary")
    if not specs:
        specs = [
            {
                "kind": "ngram",
                "name": UNUSED,
                "vocabulary": name,
            }
        ]

    values["models"] = specs
    values["baseline"] = specs[0]["name"]
    values["vocabulary"] = {name: vocabulary}

    chosen = {"models": [spec | {"labels": []} for spec in classifiers]}
    if classifiers:
        chosen["baseline"] = classifiers[0]["name"]
    values["classification"] = values.get("classification", {}) | chosen

    try:
        with as_written():
            return parse_config({**values, "execution": {"cluster": ""}})
    except ConfigError as error:
        commit = lineage.step(lineage.fit).environment.get("git_commit")
        commit = commit or "that the version was made by"
        raise ConfigError(
            f"The version's configuration does not fit this code: {error.what}",
            where=error.where,
            value=error.value,
            cause="a setting was renamed or removed since then",
            remedy=f"check out commit {commit}, and try again",
        ) from error


class Reproduction:
    """Reproduction of the steps of a record, in their order; `REVIEWLM_HOME` must be set to the new home folder.

    Args:
        sources: Paths of the raw files, from `gather.find_sources`.
        bundle: Folder of the version's bundle; it contains a vocabulary that was kept from an earlier champion.
        weights: Folders of start weights, by SHA-256 of the weights.
        earlier: Prepared data that these have learnt from, by digest.
    """

    def __init__(
        self,
        lineage: Lineage,
        sources: Mapping[str, Path],
        bundle: Path,
        weights: Mapping[str, Path] | None = None,
        earlier: Mapping[str, Artifact] | None = None,
    ) -> None:
        self.lineage = lineage
        self.sources = sources
        self.bundle = bundle
        self.weights = weights or {}
        self.earlier = earlier or {}
        self.config = configuration_of(lineage)
        self.made: dict[str, Artifact] = {}
        self.fitted: dict[str, Fitted] = {}

    def make(self, step: Step) -> StepComparison:
        """Build one step again from the steps reproduced before, and compare it with its record."""
        maker = getattr(self, f"_{step.stage.replace('-', '_')}")
        artifact = maker(step)
        self.made[step.key] = artifact
        again = step_of(
            artifact.stage,
            artifact.digest,
            artifact.manifest,
            {},
            facts_of(artifact),
        )
        return StepComparison(step, again, self.lineage.label(step))

    def _config_of(self, step: Step) -> RunConfig:
        """Return the configuration with the device, threads and processes that built a recorded step."""
        then = {**step.environment.get("execution", {}), **step.environment.get(RESOURCES, {})}
        machine = step.environment.get("machine", {})
        cores = machine.get("cores", 1)
        gpus = machine.get("gpus", [])
        device = then.get("device", "auto")
        if device == "auto" and machine:
            device = "cuda" if gpus else "cpu"

        threads = then.get("threads")
        if not threads:
            threads = max(1, cores // then.get("workers", 1))

        ranks = then.get("ranks", 1)
        if not ranks:
            ranks = len(gpus) if device == "cuda" else 1

        chosen = {
            "device": device,
            "workers": 1,
            "threads": threads,
            "ranks": ranks,
        }
        execution = self.config.execution.model_copy(update=chosen)
        return self.config.model_copy(update={"execution": execution})

    def _of(self, step: Step, name: str) -> Artifact:
        return self.made[step.made_by[name]]

    def _synthesise(self, step: Step) -> Artifact:
        config = self._config_of(step)
        # Use the step's own options. If the run was given the corpus as files, the configuration may differ from them.
        return _built(synthesise.fn(config.workspace, SyntheticConfig(**step.options)))

    def _read(self, step: Step) -> Artifact:
        config = self._config_of(step)
        sha256 = step.inputs["file"]
        why = step.facts.get(SET_ASIDE)
        if why:
            listed = Listed(step.options["name"], step.facts["bytes"], sha256)
            return set_aside_again(
                config.workspace,
                config.source,
                listed,
                step.facts["path"],
                why,
            ).artifact

        if "file" in step.made_by:
            path = self._of(step, "file").folder / SYNTHETIC_FILE
        else:
            path = self.sources[sha256]
        source = identify(path, step.options["name"])
        then = datetime.fromisoformat(step.facts[READ_AT])
        return read_file(
            config.workspace,
            config.source,
            source,
            lambda *done: None,
            now=then,
        ).artifact

    def _ingest(self, step: Step) -> Artifact:
        config = self._config_of(step)
        listed = []
        readings = {}
        for name in sorted(step.made_by):
            reading = self._of(step, name)
            _, _, file = name.partition(":")
            source = Listed(file, reading.facts["bytes"], reading.facts["sha256"])
            listed.append(source)
            readings[source.key] = reading

        order = step.options.get(READ_ORDER) or range(len(originals(listed)))
        return make_data_set(
            config.workspace,
            config.source,
            listed,
            readings,
            list(order),
        ).artifact

    def _prepare(self, step: Step) -> Artifact:
        config = self._config_of(step)
        if "business" in step.inputs:
            place = {"business": str(self.sources[step.inputs["business"]])}
            config = config.model_copy(update={"source": config.source.model_copy(update=place)})
        inputs = step.inputs.items()
        earlier = [self.earlier[digest] for name, digest in inputs if name.startswith(EARLIER)]
        return _built(clean_and_split.fn(config, self._of(step, "dataset"), earlier))

    def _vocabulary(self, step: Step) -> Artifact:
        config = self._config_of(step)
        [name] = config.vocabulary
        spec = config.vocabulary[name]
        file = self.bundle / FILE if "kept" in step.inputs else None
        built = train_vocabulary.fn(
            config.workspace,
            name,
            spec,
            config.clean,
            self._clean(),
            file,
        )
        return _built(built)

    def _clean(self) -> Artifact:
        return next(artifact for artifact in self.made.values() if artifact.stage == "prepare")

    def _tokens(self, step: Step) -> Artifact:
        config = self._config_of(step)
        file = str(self._of(step, "vocabulary").folder / VOCABULARY_FILE)
        [name] = config.vocabulary
        canaries = self._of(step, CANARIES_INPUT) if CANARIES_INPUT in step.made_by else None
        split = step.options["split"]
        clean = self._of(step, "clean")
        return _built(
            tokenize.fn(
                config.workspace,
                file,
                split,
                clean,
                name,
                canaries,
            )
        )

    def _vectors(self, step: Step) -> Artifact:
        config = self._config_of(step)
        vocabulary = self._of(step, "vocabulary")
        train = self._of(step, "train")
        file = self.sources[step.inputs["file"]]
        return rows_of_file(
            config.workspace,
            step.facts["name"],
            file,
            vocabulary,
            train,
        )

    def _fit(self, step: Step) -> Artifact:
        config = self._config_of(step)
        spec: Any
        if step.stage == FIT_CLASSIFIER:
            spec = classifier_from_dict(step.facts["spec"])
        else:
            spec = spec_from_dict(step.facts["spec"])

        tokens = {split: self._of(step, split) for split in ("train", "validation")}
        of_parts = [name for name in step.inputs if name.startswith(PART)]
        parts = {name.removeprefix(PART): self.fitted[step.made_by[name]] for name in of_parts}
        read = [name for name in (START_VECTORS, LABELS) if name in step.made_by]
        made = {name: self._of(step, name) for name in read}
        learned = next(
            artifact for artifact in self.made.values() if artifact.stage == "vocabulary"
        )
        # A fit does not use the data card, so it is not reproduced; the clean reviews take its place.
        clean = self._clean()
        prepared = Prepared(clean, clean, {spec.vocabulary: learned}, {spec.vocabulary: tokens})
        sha256 = step.inputs.get(INPUT, "")
        start = Start()
        if sha256:
            start = Start(self.weights[sha256], sha256, past=step.facts)
        settings = FitSettings.of(config)
        artifact = (
            FitPlan(
                settings,
                spec,
                prepared,
                parts,
                made,
                start,
            )
            .build()
            .artifact
        )
        self.fitted[step.key] = Fitted(spec, artifact, "", False)
        return artifact

    _fit_classifier = _fit

    def _canaries(self, step: Step) -> Artifact:
        config = self._config_of(step)
        return _built(choose.fn(config.workspace, config.audit, self._clean()))

    def _labels(self, step: Step) -> Artifact:
        config = self._config_of(step)
        dataset = self._of(step, "dataset")
        labels = field_labels.fn(config.workspace, config.source, config.classification, dataset)
        return _built(labels)

    def _predict(self, step: Step) -> Artifact:
        config = self._config_of(step)
        bundle = self._of(step, "bundle").folder / BUNDLE_FOLDER
        labels = None
        if LABELS in step.made_by:
            labels = self._of(step, LABELS)

        split = step.options["split"]
        clean = self._of(step, "clean")
        return predict_bundle(
            config.workspace,
            config.classification,
            bundle,
            clean,
            split,
            self.lineage.model,
            labels,
        ).artifact

    def _score(self, step: Step) -> Artifact:
        config = self._config_of(step)
        bundle = self._of(step, "bundle").folder / BUNDLE_FOLDER
        tokens = self._of(step, "tokens")
        return score_bundle(
            config.workspace,
            config.evaluation,
            bundle,
            tokens,
            self.lineage.label(step),
        ).artifact

    def _samples(self, step: Step) -> Artifact:
        config = self._config_of(step)
        bundle = self._of(step, "bundle").folder / BUNDLE_FOLDER
        return draw_samples(
            config.workspace, config.evaluation, bundle, self.lineage.model
        ).artifact


def _built(result: Any) -> Artifact:
    """Return the artifact that a stage's task has built; refuse a reused one, which would prove nothing.

    Raises:
        ReviewLMError: The artifact was reused.
    """
    if not isinstance(result, Artifact):
        raise ReviewLMError(
            "A stage was taken from the store instead of rebuilt",
            cause="the home folder is not new",
        )
    return result


def steps_again(
    reproduction: Reproduction,
    make: Callable[[Step], StepComparison],
    platform: Sequence[str],
) -> list[StepComparison]:
    """Reproduce the steps in order; on the same platform stop after the first step that differs.

    Args:
        platform: Differences between the recorded platform and the current one; empty if there are none.
    """
    compared: list[StepComparison] = []
    for step in reproduction.lineage.steps:
        compared.append(make(step))
        if compared[-1].files and not platform:
            break
    return compared


@stage_task("make again", run_name="make {step.stage} again")
def make_again(reproduction: Reproduction, step: Step) -> StepComparison:
    """Reproduce one step of a version and compare it with the record."""
    began = time()
    compared = reproduction.make(step)
    outcome = "bit-equal"
    if compared.files:
        outcome = f"differs: {', '.join(compared.files[:3])}"
    label = compared.label or "-"
    log.info(
        "%-10s %-24s %s (%.1f s)",
        step.stage,
        label,
        outcome,
        time() - began,
    )
    return compared


@stage_task("show verdict")
def show_verdict(verdict: Mapping[str, Any]) -> None:
    """Show the result of the reproduction in Prefect."""
    rows: list[dict[str, Any]] = []
    for step in verdict["steps"]:
        files = ", ".join(step["files"][:3])
        row = {
            "stage": step["stage"],
            "of": step["label"],
            "equal": step["equal"],
            "files": files,
        }
        rows.append(row)

    show_table("reproduce", rows, f"**{verdict['model']}**: {verdict['verdict']}")
