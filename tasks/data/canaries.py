"""Choose the canaries that test whether a model memorises: once per data set; tokenization plants them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.config.run_config import RunConfig
from core.store import Artifact
from corpus.synthetic.canaries import choose_canaries
from tasks.stage import as_task_state, run_stage, show_facts, stage

CANARIES_INPUT = "canaries"
"""Name of the canaries among the inputs of a token stream that contains them."""
OPTIONS = {"canaries", "copies", "canary_words", "max_canary_share", "seed"}


@stage("canaries")
def choose(config: RunConfig, clean: Artifact) -> Artifact:
    """Choose the texts to plant among the training reviews; the manifest records their number."""

    def make(work: Path) -> dict[str, Any]:
        canaries = choose_canaries(clean.folder, config.audit)
        canaries.save(work)
        return canaries.facts()

    options = config.audit.model_dump(mode="json", include=OPTIONS)
    built = run_stage(config, "canaries", options, {"clean": clean.digest}, make, "for the audit")
    note = "Planted among the training reviews, see docs/concepts/evaluation/memorisation.md."
    show_facts("canaries", built.artifact, built.reused, note)
    return as_task_state(built)
