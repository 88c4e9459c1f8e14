"""A fit may begin at the weights of another: only of the very same function, and then it needs fewer tokens."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from reviewlm.models.bundles.bundle import save_bundle
from reviewlm.models.neural.spec import WEIGHTS
from reviewlm.models.specs import (
    CacheSpec,
    MixtureSpec,
    NeuralCacheSpec,
    NGramSpec,
    ObjectiveSpec,
    RecurrentSpec,
    TrainingSpec,
    VocabularySpec,
)
from reviewlm.models.streams import TokenStream, write_stream
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.training.context import FitContext
from reviewlm.training.fit import fit_model
from reviewlm.training.neural.warm_start import find_network
from reviewlm.training.vocabularies.learn import learn_vocabulary
from tests.marked_cases import long_but

TRAINING = TrainingSpec(
    epochs=4,
    batch=4,
    bptt_len=12,
    learning_rate=1e-2,
    precision="float32",
    evaluations=16,
    seed=3,
)
LSTM = RecurrentSpec(
    hidden=16,
    embedding=8,
    dropout=0.0,
    objective=ObjectiveSpec(output="softmax"),
    training=TRAINING,
)
NOUNS, VERBS = ["soup", "pizza", "staff", "taco", "menu", "bread"], ["was", "is", "seems"]
PRAISE_THEN, PRAISE_NOW = (
    ["great"] * 9 + ["nice"] * 9 + ["awful", "bad"],
    ["great", "nice", "awful", "bad"],
)


def reviews(
    count,
    seed,
    praise,
):
    """Each noun has a quality of its own; which words end a review changes from one set of data to the next."""
    rng = np.random.default_rng(seed)
    texts = []
    for _ in range(count):
        chosen = rng.choice(len(NOUNS), rng.integers(2, 5))
        texts.append(
            " ".join(f"the {NOUNS[i]} {rng.choice(VERBS)} q{i} ." for i in chosen)
            + " "
            + rng.choice(praise)
        )
    return texts


def stream(
    folder,
    vocabulary,
    texts,
):
    frame = pl.DataFrame(
        {
            "review_id": [f"{folder.name}{i}" for i in range(len(texts))],
            "text": texts,
            "stars": [3] * len(texts),
            "bytes": [len(text.encode()) + 1 for text in texts],
        }
    )
    write_stream(folder, vocabulary, [frame])
    return TokenStream.open(folder)


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """The champion's data, vocabulary and bundles: an LSTM, and a cache on a mixture that holds it."""
    folder = tmp_path_factory.mktemp("old")
    texts = reviews(400, 1, PRAISE_THEN)
    vocabulary = learn_vocabulary(texts, VocabularySpec(size=60, min_count=1), NormalForm())
    streams = {
        "train": stream(folder / "train", vocabulary, texts),
        "validation": stream(folder / "validation", vocabulary, reviews(40, 2, PRAISE_THEN)),
    }
    specs = {
        "lstm": LSTM,
        "bigram": NGramSpec(name="bigram", order=2),
        "mix": MixtureSpec(name="mix", parts=("bigram", "lstm")),
        "cached": CacheSpec(name="cached", part="mix"),
        "looking back": NeuralCacheSpec(
            name="looking back",
            part="lstm",
            windows=(100,),
        ),
    }
    bundles = {}
    for name, spec in specs.items():
        context = FitContext(work=folder / f"work-{name}", parts=dict(bundles))
        fitted = fit_model(
            spec,
            vocabulary,
            streams["train"],
            streams["validation"],
            context,
        )
        bundles[name] = folder / name
        save_bundle(
            bundles[name],
            spec,
            vocabulary,
            fitted.model,
            [("the soup was q0 .", 3)],
            {},
        )
    return vocabulary, bundles


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", long_but(["lstm", "mix", "cached", "looking back"], ["lstm", "cached"])
)
def test_the_network_is_found_wherever_a_bundle_holds_it(old, name):
    vocabulary, bundles = old
    folder, reason = find_network(
        bundles[name], replace(LSTM, name="other", dropout=0.3), vocabulary.digest
    )
    assert reason == ""
    ours, theirs = (load_file(place / WEIGHTS) for place in (folder, bundles["lstm"]))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(
    ("bundle", "change", "said"),
    [
        ("lstm", {"hidden": 17}, "hidden 16 instead of 17"),
        ("mix", {"kind": "gru"}, "kind lstm instead of gru"),
        ("lstm", {"condition_on_stars": False}, "condition_on_stars True instead of False"),
        (
            "lstm",
            {"objective": ObjectiveSpec(output="adaptive")},
            "objective.output softmax instead of adaptive",
        ),
        ("bigram", {}, "no neural network"),
    ],
)
def test_what_stands_in_the_way_is_named(
    old,
    bundle,
    change,
    said,
):
    vocabulary, bundles = old
    folder, reason = find_network(bundles[bundle], replace(LSTM, **change), vocabulary.digest)
    assert folder is None
    assert said in reason


def fit(
    spec,
    vocabulary,
    train,
    validation,
    work,
    start=None,
):
    return fit_model(
        spec,
        vocabulary,
        train,
        validation,
        FitContext(work=work, init_weights=start),
    )


def curve(work):
    lines = [json.loads(line) for line in (work / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["validation/nats"]) for line in lines if "validation/nats" in line]


@pytest.mark.long
def test_on_new_data_the_champions_weights_reach_the_cold_result_with_a_third_of_the_tokens(
    old, tmp_path
):
    vocabulary, bundles = old
    train = stream(tmp_path / "train", vocabulary, reviews(250, 3, PRAISE_NOW))
    validation = stream(tmp_path / "validation", vocabulary, reviews(40, 4, PRAISE_NOW))
    cold = fit(
        LSTM,
        vocabulary,
        train,
        validation,
        tmp_path / "cold",
    ).summary
    third = replace(LSTM, training=replace(TRAINING, epochs=TRAINING.epochs / 3))
    warm = fit(
        third,
        vocabulary,
        train,
        validation,
        tmp_path / "warm",
        bundles["lstm"],
    ).summary
    short = fit(
        third,
        vocabulary,
        train,
        validation,
        tmp_path / "short",
    ).summary
    assert warm["tokens"] <= cold["tokens"] / 3 + 4 * 12  # rounded to whole updates
    assert warm["validation_nats"] <= cold["validation_nats"] < short["validation_nats"]
    reached = next(
        tokens for tokens, nats in curve(tmp_path / "warm") if nats <= cold["best_validation_nats"]
    )
    assert reached <= cold["best_tokens"] / 3
