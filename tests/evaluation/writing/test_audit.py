"""The audit of a whole model: one that knows its training text by heart is told from one that has learnt from it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import polars as pl
import pytest
import torch

from reviewlm.core.config.sections.evaluation import AuditConfig
from reviewlm.corpus.cleaning.clean_table import CLEAN
from reviewlm.corpus.splitting.split import iter_split
from reviewlm.corpus.synthetic.canaries import Canaries, as_reviews, choose_canaries
from reviewlm.evaluation.writing import exposure as writing_exposure
from reviewlm.evaluation.writing.audit import TABLES, audit, draw_samples
from reviewlm.evaluation.writing.exposure import FACTS, measure_exposure
from reviewlm.evaluation.writing.novelty import overlap
from reviewlm.evaluation.writing.reference import RealText, make_reference
from reviewlm.evaluation.writing.word_stream import word_stream
from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.mixture.cache import RANGES, CacheLM
from reviewlm.models.mixture.lm import MixtureLM
from reviewlm.models.mixture.parts import Part
from reviewlm.models.sampling import generate
from reviewlm.models.specs import (
    CacheSpec,
    MixtureSpec,
    NGramSpec,
    ObjectiveSpec,
    RecurrentSpec,
    TrainingSpec,
    VocabularySpec,
)
from reviewlm.models.streams import TokenStream, stars_prior, write_stream
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.training.context import FitContext
from reviewlm.training.fit import fit_model
from reviewlm.training.mixture.fitting import tune_weights
from reviewlm.training.vocabularies.learn import learn_vocabulary
from tests.evaluation.challengers import HONEST, judge, rule

WORDS = [a + b + c for a in "bdfgkl" for b in "aeiou" for c in "rs"]
KIND, UNKIND = ["lovely", "great"], ["awful", "rude"]


class SmallAudit(AuditConfig):
    max_canary_share: ClassVar = 0.05


CONFIG = SmallAudit(
    samples=60,
    max_words=15,
    canaries=4,
    copies=(1,),
    candidates=500,
)


def review(random, stars):
    middle = list(random.choice(WORDS, random.integers(8, 13)))
    middle[int(random.integers(0, 8))] = str(random.choice(KIND if stars > 3 else UNKIND))
    return " ".join(middle)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """Short reviews: random words, one of which says what the stars say."""
    folder, random = tmp_path_factory.mktemp("clean"), np.random.default_rng(5)
    splits = ["test"] * 150 + ["validation"] * 20 + ["train"] * 120
    stars = [1 if i % 3 == 0 else 5 for i in range(len(splits))]
    texts = [review(random, rating) for rating in stars]
    rows = pl.DataFrame({"review_id": [f"r{i}" for i in range(len(splits))], "text": texts})
    table = as_reviews(rows, 0).with_columns(
        pl.Series("stars", stars, pl.Int8), pl.Series("split", splits)
    )
    missing = [
        pl.lit(None, kind).alias(name) for name, kind in CLEAN.items() if name not in table.columns
    ]
    table.with_columns(missing).select(*CLEAN).write_parquet(folder / "clean.parquet")
    return folder


@pytest.fixture(scope="module")
def reference(clean, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    make_reference(clean, folder, CONFIG.max_words)
    return RealText(folder)


@pytest.fixture(scope="module")
def canaries(clean):
    return choose_canaries(clean, CONFIG)


@pytest.fixture(scope="module")
def streams(
    clean,
    canaries,
    tmp_path_factory,
):
    """Return a vocabulary, and the streams of training and validation."""
    folder = tmp_path_factory.mktemp("streams")
    texts = [text for batch in iter_split(clean, "train") for text in batch["text"]]
    vocabulary = learn_vocabulary(texts, VocabularySpec(min_count=1), NormalForm())
    write_stream(folder / "train", vocabulary, canaries.plant(iter_split(clean, "train")))
    write_stream(folder / "validation", vocabulary, iter_split(clean, "validation"))
    return vocabulary, *(TokenStream.open(folder / split) for split in ("train", "validation"))


@pytest.fixture(scope="module")
def fitted(streams, tmp_path_factory):
    """Fit a small network for so many epochs; the same data, vocabulary and start."""
    torch.set_num_threads(1)
    vocabulary, train, validation = streams

    def fit(epochs):
        training = TrainingSpec(
            epochs=epochs,
            batch=16,
            bptt_len=14,
            learning_rate=0.02,
            evaluations=1,
            seed=1,
        )
        objective = ObjectiveSpec(output="softmax")
        spec = RecurrentSpec(
            kind="lstm",
            hidden=64,
            embedding=32,
            training=training,
            objective=objective,
        )
        context = FitContext(tmp_path_factory.mktemp("fit"))
        model = fit_model(
            spec,
            vocabulary,
            train,
            validation,
            context,
        ).model
        return Bundle(spec, vocabulary, model, stars_prior=tuple(stars_prior(train)))

    return fit


@pytest.fixture(scope="module")
def regular(fitted):
    return fitted(6)


@pytest.fixture(scope="module")
def audited(
    fitted,
    regular,
    reference,
    canaries,
    tmp_path_factory,
):
    """The facts and the folder of the audits of a regular model and of one that was trained far too long."""
    found = {}
    for name, bundle in (("regular", regular), ("overtrained", fitted(80))):
        folder = tmp_path_factory.mktemp(name)
        found[name] = (
            audit(
                bundle,
                reference,
                canaries,
                CONFIG,
                1.0,
                folder,
            ),
            folder,
        )
    return found


@pytest.mark.long
def test_a_model_that_was_trained_far_too_long_copies(audited):
    (regular, _), (overtrained, _) = audited["regular"], audited["overtrained"]
    assert overtrained["copied_8"] > 0.2 > 0.01 > regular["copied_8"]
    assert overtrained["longest_copied"] >= 9 > 5 >= regular["longest_copied"]
    assert overtrained["real_longest_copied"] == regular["real_longest_copied"] <= 4


@pytest.mark.long
def test_a_model_that_was_trained_far_too_long_knows_the_canaries(audited):
    (regular, _), (overtrained, _) = audited["regular"], audited["overtrained"]
    assert overtrained["exposure_mean"] == pytest.approx(np.log2(501), abs=0.5)
    assert regular["exposure_mean"] < 5
    for facts, passed in ((regular, True), (overtrained, False)):
        assert facts["exposure_once"] == facts["exposure_mean"], "all were planted once"
        found = rule(judge(audit=facts), "known secrets")
        assert (found.passed, found.limit) == (passed, 0), "a fifth of four"


@pytest.mark.parametrize("least", [1, 2])
@pytest.mark.parametrize("kind", ["ngram", "linear", "gated", "cache"])
def test_models_with_an_ngram_part_pass_only_if_it_holds_what_several_reviews_say(
    kind,
    least,
    streams,
    canaries,
    tmp_path,
):
    """By default, and measured: all four canaries are known by heart, or as if they had never been planted."""
    vocabulary, train, validation = streams
    spec = NGramSpec(order=4, min_documents=least)
    part = Part(
        "kn4",
        spec,
        fit_model(
            spec,
            vocabulary,
            train,
            validation,
            FitContext(tmp_path),
        ).model,
    )
    unigram = fit_model(
        NGramSpec(order=1),
        vocabulary,
        train,
        validation,
        FitContext(tmp_path),
    ).model
    parts, model = [part, Part("unigram", NGramSpec(order=1), unigram)], part.model
    if kind == "cache":
        model = CacheLM(CacheSpec(part="kn4"), part, np.full((len(RANGES) + 1, 3), [0.8, 0.1, 0.1]))
    elif kind != "ngram":
        mixture = MixtureSpec(parts=("kn4", "unigram"), method=kind)
        model = MixtureLM(parts, tune_weights(mixture, parts, validation)[0])
    samples = pl.Series([""])
    bundle = Bundle(spec, vocabulary, model)
    table, facts = measure_exposure(
        bundle,
        canaries,
        1_000,
        samples,
        tmp_path / "scored",
    )
    found = rule(
        judge(audit={**HONEST, **facts}, single_review_model="kn4" if least < 2 else ""),
        "known secrets",
    )
    assert found.passed is (least == 2)
    if least == 1:
        assert facts["canaries_known"] == 4
        assert facts["exposure_once"] == pytest.approx(np.log2(1_001))
    else:
        # Chance: 1.44 on average, with a deviation of 0.72 for four.
        assert facts["exposure_once"] < 4.5
        assert table["exposure"].max() < np.log2(1_001)
        assert facts["canaries_known"] == 0


@pytest.mark.parametrize(
    ("ranks", "candidates", "known", "passed"),
    [
        ([4] * 10, 20_000, 10, False),  # a mean exposure of 12.3 bits
        ([20] * 3 + [5_000] * 7, 20_000, 3, False),  # the first 0.1 %
        ([21] * 10, 20_000, 0, True),
        ([1, 1] + [5_000] * 8, 20_000, 2, True),
        ([1] * 3 + [300] * 7, 500, 3, False),  # of few candidates, only the first rank counts
    ],
)
def test_canaries_among_the_first_thousandth_are_counted(
    ranks,
    candidates,
    known,
    passed,
    monkeypatch,
    tmp_path,
):
    def score(
        bundle,
        texts,
        stars,
        work,
    ):
        nats = [rank - 0.5 for rank in ranks] + [1.0 + number for number in range(candidates)]
        return pl.DataFrame({"nats": nats, "oov": [0] * len(nats)})

    monkeypatch.setattr(writing_exposure, "_score_texts", score)
    texts = tuple(f"canary number {number}" for number in range(len(ranks)))
    canaries = Canaries(
        tuple(WORDS),
        5,
        5,
        texts,
        (1,) * len(ranks),
        1,
        1_000,
    )
    samples = pl.Series([""])
    _, facts = measure_exposure(
        None,
        canaries,
        candidates,
        samples,
        tmp_path / "scored",
    )
    found = rule(judge(audit={**HONEST, **facts}), "known secrets")
    assert (facts["canaries_known"], found.passed) == (known, passed)


@pytest.mark.slow
def test_each_copied_span_stands_in_the_training_review_that_is_named(audited, clean):
    spans = pl.read_parquet(audited["overtrained"][1] / "copied.parquet").filter(
        pl.col("longest") > 0
    )
    assert spans["longest"].is_sorted(descending=True)
    train = {
        row["review_id"]: row["text"]
        for batch in iter_split(clean, "train")
        for row in batch.to_dicts()
    }
    assert spans.height == CONFIG.samples
    assert all(
        span in train[review_id] for span, review_id in spans.select("span", "review_id").rows()
    )


@pytest.mark.slow
def test_tables_say_what_the_facts_say(audited):
    facts, folder = audited["regular"]
    assert all((folder / table).exists() for table in TABLES)
    samples = pl.read_parquet(folder / "samples.parquet")
    assert samples.height == facts["samples"] == 60
    assert samples["stars"].value_counts(sort=True).rows() == [
        (5, 41),
        (1, 19),
    ]  # as 84 and 40 training reviews
    exposure, curve = (
        pl.read_parquet(folder / f"{name}.parquet") for name in ("exposure", "novelty")
    )
    assert exposure["exposure"].max() == facts["exposure_max"]
    assert dict(curve.select("n", "samples").rows())[4] == facts["copied_4"]
    assert dict(curve.select("n", "real").rows())[8] == facts["real_copied_8"]
    assert not list(folder.glob("scored*"))


@pytest.mark.slow
def test_figures_of_samples_have_their_real_counterpart(audited):
    facts = audited["regular"][0]
    names = ["copied_4", "copied_8", "copied_passages", "longest_copied", "private_patterns"]
    assert {*names, *(f"real_{name}" for name in names), *FACTS} <= facts.keys()
    assert not [name for name, value in facts.items() if value is None]


@pytest.mark.slow
def test_a_sample_can_be_written_again(regular, audited):
    row = (
        pl.read_parquet(audited["regular"][1] / "samples.parquet")
        .filter(stars=5, number=3)
        .to_dicts()[0]
    )
    assert (
        generate(
            regular,
            4,
            5,
            max_tokens=15,
            seed=row["seed"],
        )[3]
        == row["text"]
    )
    again = draw_samples(regular, CONFIG, 1.0)
    assert again.equals(pl.read_parquet(audited["regular"][1] / "samples.parquet"))


def test_the_number_of_written_samples_is_told_while_one_batch_is_written(regular):
    told = []
    draw_samples(regular, CONFIG, 1.0, told.append)
    assert told == sorted(told)
    assert told[-1] == CONFIG.samples
    assert len(set(told)) > CONFIG.samples // 4


def test_real_reviews_are_cut_where_samples_end(
    regular,
    clean,
    monkeypatch,
    tmp_path,
):
    """Long reviews that run on in circles, and samples that are their beginnings, copy as much as each other."""
    (tmp_path / "clean").mkdir()
    table = pl.read_parquet(clean / "clean.parquet")
    train = table.filter(split="train")["text"]
    tail = " lovely place" * 20 + " " + " ".join(train.head(3))
    longer = pl.when(split="test").then(
        pl.col("text").str.split(" ").list.head(8).list.join(" ") + tail
    )
    table = table.with_columns(text=longer.otherwise("text"))
    table.write_parquet(tmp_path / "clean" / "clean.parquet")
    make_reference(tmp_path / "clean", tmp_path, 10)
    real = table.filter(split="test").head(60)
    written = real.select(
        stars=pl.col("stars").cast(pl.Int64),
        number=pl.int_range(60),
        seed=pl.lit(1),
        text=pl.col("text").str.split(" ").list.head(11).list.join(" "),
    )
    monkeypatch.setattr(
        "reviewlm.evaluation.writing.audit.draw_samples", lambda *arguments: written
    )
    facts = audit(
        regular,
        RealText(tmp_path),
        None,
        CONFIG.model_copy(update={"max_words": 10}),
        1.0,
        tmp_path,
    )
    assert facts["words"] == 600
    assert (
        pl.read_parquet(tmp_path / "copied.parquet")["span"].str.split(" ").list.len().max() <= 10
    )
    for name in ("longest_copied", "copied_4", "copied_passages"):
        assert facts[name] == facts[f"real_{name}"], name
    uncut = word_stream(real["text"])
    assert (
        overlap(uncut, RealText(tmp_path).training).longest_D.max() > facts["real_longest_copied"]
    )


def test_personal_data_in_a_sample_is_shown_with_its_text(
    regular,
    reference,
    monkeypatch,
    tmp_path,
):
    texts = ["bar bas", "mail joe@example.com, call 480-555-1234"]
    written = pl.DataFrame(
        {
            "stars": [5, 1],
            "number": [0, 0],
            "seed": [1, 1],
            "text": texts,
        }
    )
    monkeypatch.setattr(
        "reviewlm.evaluation.writing.audit.draw_samples", lambda *arguments: written
    )
    facts = audit(
        regular,
        reference,
        None,
        CONFIG,
        1.0,
        tmp_path,
    )
    assert (facts["private_patterns"], facts["real_private_patterns"]) == (2, 0)
    shown = pl.read_parquet(tmp_path / "private.parquet")
    assert shown.sort("pattern").select("stars", "pattern", "text").rows() == [
        (1, "e-mail", written["text"][1]),
        (1, "telephone number", written["text"][1]),
    ]
    assert facts["canaries"] == 0
    assert facts["exposure_max"] is None
