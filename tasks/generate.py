"""Generate reviews with a registered version; only the registry is needed."""

from __future__ import annotations

import logging
from typing import Any

from reviewlm.core.errors import converted_errors
from reviewlm.core.output import quote_text
from reviewlm.core.workspace import Workspace
from reviewlm.models.bundles.bundle import unseen_warnings
from reviewlm.tasks.data.rating_doubts import doubts_about_stars
from reviewlm.tasks.execution.stage import show_markdown, stage_task
from reviewlm.tracking.registry.opening import open_version

log = logging.getLogger(__name__)


@stage_task("generate")
def generate_reviews(
    workspace: Workspace,
    model_name: str,
    reference: str,
    n: int,
    stars: int | None,
    **sampling: Any,
) -> dict[str, Any]:
    """Generate reviews with a registered version, show them in the UI, and return them with the version's number.

    Args:
        model_name: Name of the registered model that an alias or a number is of.
        reference: An alias, a number, or a full `models:/…` address.
        stars: 1 to 5; 0: unknown; None: drawn as in the training data.
        sampling: The other arguments of `reviewlm.models.sampling.generate`.
    """
    from reviewlm.models.sampling import generate  # it imports torch
    from reviewlm.models.sampling.batch import rating_of

    bundle, version = open_version(workspace, model_name, reference)
    with converted_errors(reference):
        texts = generate(bundle, n, stars, **sampling)
        ratings = [rating_of(bundle, stars, sampling.get("seed", 0), number) for number in range(n)]

    shown = "\n\n".join(map(quote_text, texts))
    writer = version.run_model or "its registered model"
    title = f"{n} reviews by version {version.version} ({writer}), stars: {stars or 'any'}"
    show_markdown("generated-reviews", shown, title)
    warnings = unseen_warnings(bundle, sampling.get("prompt", ""), stars)
    if stars:
        warnings += doubts_about_stars(workspace.home, version)

    for sentence in warnings:
        log.warning("%s", sentence)

    return {
        **version.answer_fields,
        "texts": list(map(str, texts)),
        "ended": [text.ended for text in texts],
        "stars": ratings,
        "warnings": warnings,
    }
