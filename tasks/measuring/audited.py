"""Audit what an opened model writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.config.sections.audit import AuditConfig
from corpus.synthetic.canaries import Canaries
from evaluation.scoring.part_scores import PartScores
from evaluation.writing.audit import audit
from evaluation.writing.reference import RealText
from models.bundles.bundle import Bundle
from tasks.measuring.model_work import Report


def audited(
    bundle: Bundle, report: Report, work: Path, options: Mapping[str, Any], reference: str, planted: str,
    tokens_per_word: float, shared: str = "",
) -> dict[str, Any]:  # fmt: skip
    """Audit what a model writes.

    Args:
        bundle, report, work: See the module.
        options: An `AuditConfig`.
        reference: Folder of the audit reference.
        planted: Folder of the canaries; "": there are none.
        tokens_per_word: Tokens per word of the model's vocabulary.
        shared: Folder of `PartScores`; "": there is none.
    """
    canaries = Canaries.load(Path(planted)) if planted else None
    config = AuditConfig.model_validate(options)
    parts = PartScores(Path(shared)) if shared else None
    return audit(bundle, RealText(Path(reference)), canaries, config, tokens_per_word, work, report, parts)
