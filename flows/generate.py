"""Generate reviews with a registered version, separately from training. Only the registry is needed."""

from __future__ import annotations

from typing import Any

from prefect import flow

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.section import (
    MAX_TOKENS,
    SEED,
    TEMPERATURE,
    TOP_P,
    Count,
    DrawSeed,
    NotNegative,
    Positive,
    Share,
    ShareAboveZero,
    WholeOrZero,
)
from reviewlm.core.config.sections.execution import ExecutionConfig
from reviewlm.flows.server.parameters import Reference, Stars
from reviewlm.tasks.generate import generate_reviews


@flow(
    name="generate",
    flow_run_name="generate: {n} reviews by {model}",
    persist_result=False,
)
def generate(
    model: Reference = "champion",
    tracking_uri: str = "",
    n: Count = 3,
    stars: Stars = None,
    prompt: str = "",
    temperature: NotNegative = TEMPERATURE,
    top_p: ShareAboveZero = TOP_P,
    max_tokens: Count = MAX_TOKENS,
    seed: DrawSeed = SEED,
    top_k: WholeOrZero = 0,
    min_p: Share = 0.0,
    typical_p: ShareAboveZero = 1.0,
    repetition_penalty: Positive = 1.0,
    no_repeat_ngram_size: WholeOrZero = 0,
    stop: list[str] | None = None,
) -> dict[str, Any]:
    """Generate reviews with a registered version.

    Args:
        model: An alias, a number, the name of a registered model, or `models:/NAME@ALIAS`, `models:/NAME/VERSION`.
        tracking_uri: Address of the registry. Empty: the one in the home folder.
        n: Number of reviews.
        stars: Star rating of the reviews, 1 to 5. 0: without one. None: drawn as in the training data.
        prompt: Text that each review begins with.
        temperature: Sampling temperature. Below 1: likelier words. Above 1: less likely words.
        top_p: Nucleus sampling: draw only from the likeliest words that together have this probability.
        max_tokens: Maximum length of a review in tokens. A longer review is cut there.
        seed: Equal seeds give equal reviews.
        top_k: Draw only from this number of likeliest words. 0: all.
        min_p: Draw only words at least this share as likely as the likeliest. 0: all.
        typical_p: Draw only the words whose surprise is nearest to the expected one, up to this probability. 1: all.
        repetition_penalty: Above 1: words that the text already has become less likely.
        no_repeat_ngram_size: No sequence of this many tokens occurs twice. 0: no limit.
        stop: Texts before which a review ends.
    """
    if tracking_uri:
        execution = ExecutionConfig(tracking_uri=tracking_uri)
    else:
        execution = ExecutionConfig()

    config = RunConfig(execution=execution)
    sampling = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "typical_p": typical_p,
        "repetition_penalty": repetition_penalty,
        "no_repeat_ngram_size": no_repeat_ngram_size,
        "stop": stop or (),
        "max_tokens": max_tokens,
        "seed": seed,
    }
    name = config.promotion.model_name
    return generate_reviews(
        config.workspace,
        name,
        model,
        n,
        stars,
        prompt=prompt,
        **sampling,
    )
