"""Make small saved models in a second, to fuzz code that opens models: n-grams, a network, a cache, a line model."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from reviewlm.models.bundles.bundle import load_bundle, save_bundle
from reviewlm.models.mixture.cache import CacheLM
from reviewlm.models.mixture.parts import Part
from reviewlm.models.ngram.lm import NGramLM
from reviewlm.models.specs import CacheSpec, NGramSpec, ObjectiveSpec, RecurrentSpec, VocabularySpec
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.special import CONTEXT_IDS
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.training.ngram.counting.counts import count_ngrams
from reviewlm.training.ngram.fitting import fit_tables
from reviewlm.training.ngram.lines.line_lm import LineLM
from reviewlm.training.vocabularies.learn import learn_vocabulary

TEXTS = [
    "The food was great, and I loved it! We'll be back.",
    "Our waiter said the soup is hot (it was not).",
    "We drove to Phoenix for the BBQ. The café was great...",
    "Don't go. The take-out isn't worth it :(",
] * 2
PROBES = [("The soup was great.", 5), ("", 0)]
ARPA = """\\data\\
ngram 1=6
ngram 2=4
ngram 3=2

\\1-grams:
-1.2\t<unk>
-99\t<s>\t-0.3
-1\t</s>
-0.5\tthe\t-0.2
-0.7\tsoup\t-0.1
-1.5\twas

\\2-grams:
-0.1\t<s> the\t-0.05
-0.2\tthe soup\t-0.01
-0.4\tsoup was
-0.3\tsoup </s>

\\3-grams:
-0.05\t<s> the soup
-0.15\tthe soup was

\\end\\
"""


def save_models(folder: Path) -> None:
    """Write the folders ngram, lstm and cache, which are bundles, and lines, a model of lines."""
    word, char = (_vocabulary(unit) for unit in ("word", "char"))
    spec = NGramSpec(order=3)
    counts = count_ngrams(_documents(word), spec.order, word.size, CONTEXT_IDS)
    save_bundle(
        folder / "ngram",
        spec,
        word,
        NGramLM(fit_tables(counts, spec).tables),
        PROBES,
        {"note": 1},
    )
    save_bundle(folder / "lstm", *_network(char), PROBES, {"note": 1})
    inner = load_bundle(folder / "ngram")
    part = Part("kn3", spec, inner.model, folder / "ngram")
    cache = CacheSpec(part="kn3", order=1)
    weights = np.tile([0.9, 0.1], (5, 1))
    save_bundle(
        folder / "cache",
        cache,
        word,
        CacheLM(cache, part, weights),
        PROBES,
        {"note": 1},
    )
    arpa = folder / "lines.arpa"
    arpa.write_text(ARPA, encoding="utf-8")
    LineLM.from_arpa(arpa).save(folder / "lines")


def _vocabulary(unit: Any) -> Vocabulary:
    return learn_vocabulary(
        TEXTS,
        VocabularySpec(
            unit=unit,
            size=400,
            min_count=1,
        ),
        NormalForm(),
    )


def _documents(vocabulary: Vocabulary) -> Any:
    encoded = vocabulary.encode_documents(TEXTS, [0] * len(TEXTS))
    return SimpleNamespace(ids=encoded.ids, offsets=encoded.offsets)


def _network(vocabulary: Vocabulary) -> tuple[RecurrentSpec, Vocabulary, Any]:
    import torch

    from reviewlm.models.neural.lm import NeuralLM

    spec = RecurrentSpec(
        hidden=4,
        embedding=4,
        objective=ObjectiveSpec(output="softmax", head=1_000),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = NeuralLM.build(spec, torch.ones(vocabulary.size, dtype=torch.int64))

    return spec, vocabulary, NeuralLM(spec, network, vocabulary.size)
