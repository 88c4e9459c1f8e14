"""Resolve a warm start (`training.start = "champion"`) to weights on disk and a digest that the fit depends on.

A model that starts from the champion uses the champion's vocabulary, because the weights are valid for that one only.
If there is no champion yet, its bundle is lost, or it has no matching network, the fit starts with fresh weights and
logs the reason. A scheduled run must succeed in its first week, and in the week in which the model is changed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.sections.evaluation import PromotionConfig
from reviewlm.core.errors import BundleError, converted_errors
from reviewlm.core.store import Artifact, Store, canonical, sha256_of
from reviewlm.core.workspace import Workspace
from reviewlm.models.bundles.bundle import SPEC
from reviewlm.models.bundles.description import verify_files
from reviewlm.models.neural.spec import WEIGHTS
from reviewlm.models.specs import ModelSpec, identity
from reviewlm.models.streams import TRAINING_TEXT
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.vocabulary import FILE, Vocabulary
from reviewlm.tasks.fitting.job import FittedSpec
from reviewlm.tasks.records.track import registry_of
from reviewlm.tracking.registry.versions import CHAMPION, Version

INPUT = "start"
"""Name of the start weights among the inputs of a fit."""
WEIGHTS_FILE = f"bundle/{WEIGHTS}"
LEARNT = "learnt_from"
VECTORS = "word_vectors"
"""Facts of a bundle about it, its parts and its start weights: digests of the prepared data that they were trained on,
its own first, and names of the word vectors in which an embedding began."""
MORE_UNKNOWN = 1.25
MORE_TOKENS = 1.05
"""Growth of the share of unknown tokens, and of the tokens per word, from which a new vocabulary is advised."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """Starting point of a fit.

    Args:
        folder, digest: Folder and SHA-256 of the weights; empty: fresh weights.
        note: A sentence about it.
        past: `past_of` the bundle with the weights.
    """

    folder: Path | None = None
    digest: str = ""
    note: str = ""
    past: Mapping[str, Sequence[str]] = field(default_factory=dict)


def past_of(*described: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the facts `LEARNT` and `VECTORS` of what is made of bundles, by what their `spec.json` say.

    A bundle that does not say what it has learnt from has learnt from "unknown" data, which the gate refuses.
    """
    learnt = (one for bundle in described for one in bundle.get(LEARNT) or ["unknown"])
    vectors = (one for bundle in described for one in bundle.get(VECTORS, ()))
    return {LEARNT: list(dict.fromkeys(learnt)), VECTORS: list(dict.fromkeys(vectors))}


def wants_champion(spec: FittedSpec) -> bool:
    """Return whether a model is configured to start from the champion's weights."""
    return getattr(getattr(spec, "training", None), "start", "fresh") == "champion"


def champion_digest(
    workspace: Workspace,
    promotion: PromotionConfig,
    spec: ModelSpec,
) -> str:
    """Return the digest of the champion's bundle if a model starts from it; "" if it does not or there is no champion.

    Fits with other options than *spec* may match other networks of that bundle, so the digest covers the whole bundle.
    """
    if not wants_champion(spec):
        return ""
    registry = registry_of(workspace, promotion.model_name)
    version = registry.alias(CHAMPION)
    try:
        if version is None:
            return ""
        return sha256_of(registry.bundle_folder(version) / SPEC)
    except (BundleError, OSError):  # bundle lost: each fit starts fresh and logs why
        return ""


def starting_point(
    workspace: Workspace,
    promotion: PromotionConfig,
    spec: FittedSpec,
    vocabulary: Artifact,
    inputs: Mapping[str, str],
) -> Start:
    """Return the starting point of a fit; its digest is one of the fit's inputs.

    The champion may be the result of this same fit on the same tokens. Then return the original starting point, so that
    the fit is found in the store and not trained further from its own weights.

    Args:
        vocabulary: Artifact of the vocabulary of its tokens.
    """
    if not wants_champion(spec):
        return Start()

    registry = registry_of(workspace, promotion.model_name)
    version = registry.alias(CHAMPION)
    if version is None:
        return _fresh(spec, "there is no champion yet")

    try:
        from reviewlm.training.neural.warm_start import find_network  # imports torch

        bundle = registry.bundle_folder(version)
        with converted_errors(bundle):
            folder, reason = find_network(bundle, spec, vocabulary.facts["vocabulary_digest"])  # type: ignore[arg-type]
            if folder is None:
                return _fresh(spec, f"champion v{version.version} does not fit: {reason}")
            digest = _weights_as_saved(bundle, folder / WEIGHTS)
    except BundleError as error:  # the gate refuses to replace it, with a remedy
        return _fresh(spec, _lost(version, error))

    same_fit = _fit_of(Store.of(workspace.home), digest, spec, inputs)
    if same_fit is not None and (
        not same_fit.manifest["inputs"].get(INPUT) or _is_kept(workspace, same_fit)
    ):
        return Start(
            None,
            same_fit.manifest["inputs"].get(INPUT, ""),
            f"champion v{version.version} is this same fit",
        )

    log.info("'%s' starts from the weights of champion v%d", spec.name, version.version)
    past = past_of(json.loads((bundle / SPEC).read_text(encoding="utf-8")))
    return Start(folder, digest, f"from the weights of champion v{version.version}", past)


def _weights_as_saved(bundle: Path, weights: Path) -> str:
    """Return the SHA-256 of a bundle's weights.

    Raises:
        ModelError: kind "bundle": the weights are gone or have changed since they were saved.
    """
    name = weights.relative_to(bundle).as_posix()
    saved = str(json.loads((bundle / SPEC).read_text(encoding="utf-8")).get("files", {}).get(name))
    verify_files(bundle, {name: saved})
    return saved


def _lost(version: Version, error: BundleError) -> str:
    return f"champion v{version.version} is lost: {'; '.join(part for part in (error.what, error.cause) if part)}"


def _fresh(spec: FittedSpec, reason: str) -> Start:
    log.warning("'%s' starts from fresh weights, not from the champion's: %s", spec.name, reason)
    return Start(note=f"fresh: {reason}")


def _is_kept(workspace: Workspace, fit: Artifact) -> bool:
    """Return whether a stored fit will be used again. Otherwise its start weights would be needed, which are gone."""
    return (
        "fit" not in workspace.execution.rebuild
        and Store.of(workspace.home).find_usable("fit", fit.digest) is not None
    )


def _fit_of(
    store: Store,
    weights: str,
    spec: Any,
    inputs: Mapping[str, str],
) -> Artifact | None:
    """Return the stored fit of *spec* on *inputs* that produced these weights; None if there is none."""
    options = json.loads(canonical(identity(spec)))  # as a manifest has them: tuples are lists
    for fit in store.all("fit"):
        made = fit.manifest["inputs"]
        entry = fit.manifest["files"].get(WEIGHTS_FILE, {})
        same = {name: digest for name, digest in made.items() if name != INPUT} == dict(inputs)
        if entry.get("sha256") == weights and fit.manifest["options"] == options and same:
            return fit
    return None


def champion_vocabulary(config: RunConfig, name: str) -> Path | None:
    """Return the champion's vocabulary file if a model that uses vocabulary *name* starts from the champion, else None.

    Also return None if no model can: there is no champion or it is lost, the vocabulary's options or the normal form of
    the text have changed, or the champion has no matching network.
    """
    specs = [spec for spec in config.models if spec.vocabulary == name and wants_champion(spec)]
    registry = registry_of(config.workspace, config.promotion.model_name)
    if not specs or (version := registry.alias(CHAMPION)) is None:
        return None

    form = NormalForm(**config.clean.model_dump())
    try:
        bundle = registry.bundle_folder(version)
        with converted_errors(bundle):
            theirs = Vocabulary.load(bundle / FILE)
            if (
                theirs.spec != config.vocabulary[name]
                or theirs.normal_form.to_dict() != form.to_dict()
            ):
                log.warning(
                    "vocabulary '%s' is learnt again: the champion's has other options or normal form",
                    name,
                )
                return None
            from reviewlm.training.neural.warm_start import find_network  # imports torch

            folders = (find_network(bundle, spec, theirs.digest)[0] for spec in specs)  # type: ignore[arg-type]
            folder = next(filter(None, folders), None)
            if folder is None:
                return None
            _weights_as_saved(bundle, folder / WEIGHTS)
    except BundleError as error:
        log.warning("vocabulary '%s' is learnt again: %s", name, _lost(version, error))
        return None

    log.info(
        "vocabulary '%s' is taken from champion v%d: a model starts from its weights",
        name,
        version.version,
    )
    return bundle / FILE


def warn_of_unknown(
    name: str,
    file: Path,
    tokens: Artifact,
) -> None:
    """Say how well a champion's vocabulary fits the new training text, beside the text it was fitted on."""
    before = json.loads((file.parent / SPEC).read_text(encoding="utf-8")).get(TRAINING_TEXT)
    unknown = tokens.facts["oov_share"]
    tokens_per_word = tokens.facts["fertility"]
    log.info(
        "vocabulary '%s' is the champion's: %s tokens of the new training text (%.2f%%) are unknown to it, and a word "
        "takes %.3f tokens",
        name,
        f"{tokens.facts['oov']:,}",
        100 * unknown,
        tokens_per_word,
    )
    if before and (
        unknown > MORE_UNKNOWN * before["oov_share"]
        or tokens_per_word > MORE_TOKENS * before["fertility"]
    ):
        log.warning(
            "of the champion's training text %.2f%% were unknown and a word took %.3f tokens. A run with "
            "training.start=fresh learns a vocabulary of the new text",
            100 * before["oov_share"],
            before["fertility"],
        )
