"""Fit a language model of any kind."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING

from reviewlm.models.specs import ModelSpec
from reviewlm.training.context import FitContext, FitResult

if TYPE_CHECKING:
    from reviewlm.models.streams import TokenStream
    from reviewlm.models.tokens.vocabulary import Vocabulary

FITS = {
    "ngram": "reviewlm.training.ngram.fitting:fit_ngrams",
    "rnn": "reviewlm.training.neural.neural_fit:fit_network",
    "gru": "reviewlm.training.neural.neural_fit:fit_network",
    "lstm": "reviewlm.training.neural.neural_fit:fit_network",
    "nplm": "reviewlm.training.neural.neural_fit:fit_network",
    "mixture": "reviewlm.training.mixture.fitting:fit_mixture",
    "cache": "reviewlm.training.mixture.caches:fit_cache",
    "neural_cache": "reviewlm.training.mixture.caches:fit_neural_cache",
}
"""The function that fits each kind of `models.specs.KINDS`; imported when it is needed, as torch takes seconds."""
OF_NETWORKS = (
    "reviewlm.models.neural.architectures",
    "reviewlm.models.ngram.step_kernels",
    "reviewlm.training.neural.int8_loss",
)
"""Modules that fits of networks, and of what is made of several models, import when they use them."""


def fit_model(
    spec: ModelSpec,
    vocabulary: Vocabulary,
    train: TokenStream,
    validation: TokenStream,
    context: FitContext,
) -> FitResult:
    """Fit the model of a spec on *train*; choose or tune on *validation* what its kind chooses there.

    Raises:
        ModelError: As the fit of its kind.
    """
    return resolve_name(FITS[spec.kind])(
        spec,
        vocabulary,
        train,
        validation,
        context,
    )


def libraries_of(kind: str) -> tuple[str, ...]:
    """Return the modules that the fit of a kind imports, the first one with most of the others."""
    module = FITS[kind].partition(":")[0]
    if kind == "ngram":
        return (module,)
    return (module, *OF_NETWORKS)
