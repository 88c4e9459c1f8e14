"""Make a home whose champion is an LSTM with a vocabulary of reviews and weights that were drawn, not trained.

Speed depends on the sizes of the weights, not on their values, but for one thing: a model that is sure of its next word
has few words in the nucleus (top_p). So the biases of the output are the frequencies of the words, and the weights are
as large as it needs to be as sure as a trained model. It never ends a text, so each text is as long as was asked for.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import torch

from reviewlm.core.environment import prepare_environment
from reviewlm.corpus.synthetic.synth import write_reviews
from reviewlm.models.bundles.bundle import INT8_LOSS, Bundle, save_bundle
from reviewlm.models.neural.lm import NeuralLM
from reviewlm.models.specs import ObjectiveSpec, RecurrentSpec, VocabularySpec
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.special import EOS
from reviewlm.training.vocabularies.learn import learn_vocabulary

SPEC = RecurrentSpec(
    layers=2,
    hidden=650,
    embedding=650,
    objective=ObjectiveSpec(output="softmax"),
)
NAME = "served"
WORDS = 8_971
REVIEWS = 40_000
LAYERS_STD, OUTPUT_STD = 1.5, 0.36
"""Standard deviations of the weights: of the layers by the square root of their inputs; with these, the mean entropy of
the next word is 4.4 nats, a perplexity of 80. The LSTM of 640 trained on 10,000 real reviews has 77 (README)."""
NEVER = -60.0


def made_texts(count: int = REVIEWS) -> list[str]:
    """Return the texts of made-up reviews."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "made.jsonl")
        write_reviews(
            file,
            count,
            seed=1,
            malformed=0.0,
            duplicates=0.0,
        )
        return pl.read_ndjson(file)["text"].to_list()


def made_bundle(
    texts: Sequence[str],
    words: int = WORDS,
    spec: RecurrentSpec = SPEC,
    unit: Literal["word", "bpe"] = "word",
) -> Bundle:
    """Return a model of the words of some texts, or of parts of words; it never ends a text."""
    vocabulary = learn_vocabulary(
        texts,
        VocabularySpec(
            unit=unit,
            size=words,
            min_count=1,
        ),
        NormalForm(),
    )
    counts_V = np.bincount(
        np.concatenate(vocabulary.encode_batch(texts)), minlength=vocabulary.size
    )
    torch.manual_seed(1)
    network = NeuralLM.build(spec, torch.from_numpy(counts_V + 1))
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.startswith("layers."):
                weight.normal_(
                    0.0, LAYERS_STD / weight.shape[-1] ** 0.5 if "weight" in name else 0.1
                )
        network.output.weight.normal_(0.0, OUTPUT_STD)
        network.output.bias.copy_(torch.from_numpy(np.log(counts_V + 0.1)))
        network.output.bias[EOS] = NEVER

    return Bundle(spec, vocabulary, NeuralLM(spec, network, vocabulary.size))


def make_home(
    home: Path,
    bundle: Bundle,
    name: str = NAME,
    int8_loss: float | None = None,
) -> None:
    """Register a bundle as the first champion of this name; create the home if it is missing.

    Args:
        int8_loss: What its bundle says that int8 loses; None: nothing, so its texts are written in float32.
    """
    from reviewlm.tracking.logged_models.bundles import log_bundle
    from reviewlm.tracking.registry.registry import Registry
    from reviewlm.tracking.runs.runs import Tracker
    from reviewlm.tracking.tags import MODEL_URI_TAG

    prepare_environment(home)
    folder = home / f"made-{name}"
    facts = {"stars_prior": bundle.stars_prior, INT8_LOSS: int8_loss}
    save_bundle(
        folder,
        bundle.spec,
        bundle.vocabulary,
        bundle.model,
        [("The food was good.", 5)],
        facts,
    )
    tracker = Tracker(f"sqlite:///{home / 'mlflow.db'}", "reviewlm", home / "mlartifacts")
    run = tracker.start_run("made")
    registry = Registry(tracker, name)
    log_bundle(tracker, run, folder)
    registry.promote(registry.register(tracker.tag(run, MODEL_URI_TAG), run), None, why="benchmark")
