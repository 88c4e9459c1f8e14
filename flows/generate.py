"""Generate reviews with a registered version, separately from training. Only the registry is needed."""

from __future__ import annotations

from typing import Any

from prefect import flow

from core.config.run_config import ExecutionConfig, RunConfig
from tasks.generate import generate_reviews


@flow(name="generate", persist_result=False)
def generate(
    model: str = "champion", tracking_uri: str = "", n: int = 3, stars: int | None = None,
    prompt: str = "", temperature: float = 0.8, top_p: float = 0.95, max_tokens: int = 200, seed: int = 1,
) -> dict[str, Any]:
    """Generate reviews with a registered version.

    Args:
        model: An alias, a number, the name of a registered model, or `models:/NAME@ALIAS`, `models:/NAME/VERSION`.
        tracking_uri: Address of the registry. Empty: the one in the home folder.
        n: Number of reviews.
        stars: Star rating of the reviews, 1 to 5. None: drawn as in the training data.
        prompt: Text that each review begins with.
        temperature: Sampling temperature. Below 1: likelier words. Above 1: less likely words.
        top_p: Nucleus sampling: draw only from the likeliest words that together have this probability.
        max_tokens: Maximum length of a review in tokens. A longer review is cut there.
        seed: Equal seeds give equal reviews.
    """
    config = RunConfig(execution=ExecutionConfig(tracking_uri=tracking_uri))
    sampling = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens, "seed": seed}
    return generate_reviews(config, model, n, stars, prompt=prompt, **sampling)
