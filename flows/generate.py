"""Prediction apart from training: reviews from a registered version, given nothing but where the registry is."""

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
    """Let a registered version write reviews.

    Args:
        model: An alias, a number, the name of a registered model, or `models:/NAME@ALIAS`, `models:/NAME/VERSION`.
        tracking_uri: The registry; empty means the one in the home folder.
        n: How many reviews.
        stars: Their rating, 1 to 5; none means as in the training data.
        prompt: How each begins.
        temperature: Below 1 for likelier words, above 1 for bolder ones.
        top_p: Only the likeliest words that together have this probability.
        max_tokens: A review that has not ended by then is cut.
        seed: Equal seeds give equal reviews.
    """
    config = RunConfig(execution=ExecutionConfig(tracking_uri=tracking_uri))
    sampling = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens, "seed": seed}
    return generate_reviews.submit(config, model, n, stars, prompt=prompt, **sampling).result()
