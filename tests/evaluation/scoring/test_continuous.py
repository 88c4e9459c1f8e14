"""One continuous stream of text: static, with a cache, under dynamic evaluation, side by side."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from typer.testing import CliRunner

from core.errors import EmptyInput, InputError
from evaluation.scoring.continuous import compare_continuous, continuous_nats, stream_of
from models.base import ModelError
from models.bundles.bundle import load_bundle, save_bundle
from models.neural.recurrent import RecurrentLM
from models.specs import DynamicSpec, NeuralCacheSpec, NGramSpec, ObjectiveSpec, RecurrentSpec, VocabularySpec
from models.streams import TokenStream, write_stream
from models.text.normal_form import NormalForm
from models.tokens.vocabulary import CONTEXT_IDS, Vocabulary
from reviewlm.cli import app

WORDS = ["soup", "pizza", "staff", "taco", "place", "patio", "music", "waiter", "menu", "bread", "salad", "wine"]
SPEC = RecurrentSpec(kind="gru", hidden=12, embedding=8, objective=ObjectiveSpec(output="softmax"))
DYNAMIC = DynamicSpec(rule="sgd", segment=5, rates=(0.1, 1.0), decays=(0.0, 0.01), tuning_tokens=300)
CACHE = NeuralCacheSpec(thetas=(0.0, 0.5), windows=(50, 200))


def lines(count, seed):
    """Sentences that speak of the same three things for a while."""
    draw = np.random.default_rng(seed)
    topics = [draw.choice(WORDS, 3) for _ in range(1 + count // 10)]
    return [" ".join(draw.choice(topics[i // 10], 8)) for i in range(count)]


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("continuous")
    vocabulary = Vocabulary.train([" ".join(WORDS)] * 2, VocabularySpec(min_count=1), NormalForm())
    for number, name in enumerate(("train", "validation", "test")):
        frame = pl.DataFrame({"text": lines(60, number)}).with_row_index("review_id")
        columns = {"review_id": pl.col("review_id").cast(pl.String), "stars": pl.lit(0, pl.Int8)}
        frame = frame.with_columns(**columns, bytes=pl.col("text").str.len_bytes() + 1)
        write_stream(folder / name, vocabulary, [frame])
        (folder / f"{name}.txt").write_text("\n".join(lines(60, number)) + "\n")
    torch.manual_seed(0)
    network = RecurrentLM.build(SPEC, torch.full((vocabulary.size,), 100))
    save_bundle(folder / "bundle", SPEC, vocabulary, RecurrentLM(SPEC, network, vocabulary.size), [("soup", 0)], {})
    return folder


def opened(work):
    return load_bundle(work / "bundle"), *(TokenStream.open(work / name) for name in ("validation", "test"))


def test_the_three_figures_are_named_for_the_stream_and_adapting_helps_on_text_that_repeats_itself(work):
    bundle, validation, test = opened(work)
    figures = compare_continuous(bundle, validation, test, cache=CACHE, dynamic=DYNAMIC)
    assert [figure.variant for figure in figures] == [
        "static, continuous stream", "continuous cache, continuous stream", "dynamic evaluation, continuous stream",
    ]  # fmt: skip
    static, cache, dynamic = figures
    assert {figure.tokens for figure in figures} == {test.tokens}
    assert cache.perplexity < 0.7 * static.perplexity
    assert dynamic.perplexity < 0.9 * static.perplexity
    assert set(cache.chosen) == {"theta", "window", "lambda"}
    assert set(dynamic.chosen) == {"rate", "decay"}
    assert static.chosen == {}


def test_the_static_figure_is_the_models_own_on_one_stream(work):
    bundle, validation, test = opened(work)
    ids_1T = np.asarray(test.ids, np.int64)[None]
    nats_1T, _ = bundle.model.score(ids_1T, bundle.model.start(1))
    alone = compare_continuous(bundle, validation, test, variants=("static",))[0]
    beside = compare_continuous(bundle, validation, test, variants=("static", "cache"), cache=CACHE)[0]
    assert alone.nats == pytest.approx(nats_1T.sum(), rel=1e-6)
    assert beside.nats == pytest.approx(nats_1T.sum(), rel=1e-6)
    assert beside.variant == alone.variant
    by_review = sum(bundle.model.score(test.document(i)[None].astype(np.int64), bundle.model.start(1))[0].sum()
                    for i in range(len(test)))  # fmt: skip
    assert alone.nats != pytest.approx(by_review, rel=1e-9)


@pytest.mark.slow
def test_the_test_text_has_no_say_in_what_is_chosen(work):
    bundle, validation, test = opened(work)
    train = TokenStream.open(work / "train")
    options = {"variants": ("cache", "dynamic"), "cache": CACHE, "dynamic": DYNAMIC}
    one, other = (compare_continuous(bundle, validation, text, **options) for text in (test, train))
    assert [figure.chosen for figure in one] == [figure.chosen for figure in other]


def test_every_token_that_is_not_given_is_scored_once(work):
    bundle, _, test = opened(work)
    sums = continuous_nats(bundle.model, test)
    assert sums.tokens == test.tokens == int((~np.isin(test.ids, sorted(CONTEXT_IDS))).sum())


def test_a_text_file_packed_or_not_is_read_as_its_lines(work, tmp_path):
    bundle, _, test = opened(work)
    (tmp_path / "t.txt.gz").write_bytes(gzip.compress((work / "test.txt").read_bytes()))
    for number, path in enumerate((work / "test.txt", tmp_path / "t.txt.gz")):
        found = stream_of(path, bundle.vocabulary, tmp_path / str(number))
        assert found.ids.tolist() == test.ids.tolist()


@pytest.mark.parametrize("inside", ["\u2028", "\u0085", "\x0b", "\x0c"])
def test_a_line_ends_where_a_file_has_a_new_line_and_nowhere_else(work, tmp_path, inside):
    bundle, _, _ = opened(work)
    (tmp_path / "t.txt").write_bytes(f"soup{inside}pizza{inside}taco\r\nwine bread\n".encode())
    found = stream_of(tmp_path / "t.txt", bundle.vocabulary, tmp_path / "stream")
    assert len(found) == 2
    assert found.tokens == 3 + 2 + 2 + 2, "words, breaks within the first document, an end of each"


def test_training_text_without_a_document_is_not_replaced_by_the_validation_text(work, tmp_path):
    bundle, validation, test = opened(work)
    nothing = pl.DataFrame(schema={"review_id": pl.String, "text": pl.String, "stars": pl.Int8, "bytes": pl.Int64})
    learning = replace(DYNAMIC, rule="rms", rates=(0.001,), decays=(0.01,))
    write_stream(tmp_path / "empty", bundle.vocabulary, [nothing])
    with pytest.raises(ModelError, match="training text has 0 tokens"):
        compare_continuous(
            bundle, validation, test, TokenStream.open(tmp_path / "empty"), ("dynamic",), dynamic=learning
        )
    other = Vocabulary.train(["beans"] * 2, VocabularySpec(min_count=1), NormalForm())
    write_stream(tmp_path / "other", other, [nothing])
    with pytest.raises(ModelError, match="vocabulary"):
        compare_continuous(bundle, validation, test, TokenStream.open(tmp_path / "other"), ("static",))


def test_bad_input_has_a_clear_error(work, tmp_path):
    bundle, validation, test = opened(work)
    with pytest.raises(InputError, match="nknown variant"):
        compare_continuous(bundle, validation, test, variants=("static", "magic"))
    with pytest.raises(InputError, match="needs the training text"):
        compare_continuous(bundle, validation, test, variants=("dynamic",))
    with pytest.raises(InputError, match="cannot be read"):
        stream_of(tmp_path / "absent.txt", bundle.vocabulary, tmp_path)
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(EmptyInput, match="no line"):
        stream_of(tmp_path / "empty.txt", bundle.vocabulary, tmp_path)


@pytest.mark.slow
def test_the_verb_prints_the_three_side_by_side(work):
    asked = ["adapt", "--bundle", work / "bundle", "--validation", work / "validation.txt", "--test", work / "test",
             "--train", work / "train", "--segment", "5", "--rates", "0.001", "--decays", "0.01", "--thetas", "0,0.5",
             "--windows", "100", "--json"]  # fmt: skip
    result = CliRunner().invoke(app, [str(word) for word in asked])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout.splitlines()[-1])["variants"]
    assert [row["variant"].split(",")[0] for row in rows] == ["static", "continuous cache", "dynamic evaluation"]
    assert all(row["variant"].endswith("continuous stream") for row in rows)
    assert "ONE continuous stream" in result.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--rule", "adam"], "or 'sgd'"), (["--rates", "fast"], "must be numbers"), (["--windows", "0"], "at least 1"),
     (["--bundle", "nowhere"], "no such folder"), (["--variants", "magic"], "nknown variant"),
     (["--variants", ","], "nknown variant"), (["--windows", "1.5"], "whole numbers"),
     (["--test", "nowhere.txt"], "text does not exist"), (["--variants", "dynamic"], "needs the training text")],
)  # fmt: skip
def test_the_verb_refuses_what_makes_no_sense(work, options, said):
    asked = {"--bundle": str(work / "bundle"), "--validation": str(work / "validation"), "--test": str(work / "test")}
    asked |= dict([options])
    result = CliRunner().invoke(app, ["adapt", *(word for pair in asked.items() for word in pair)])
    assert result.exit_code != 0
    assert said in str(result.exception)


def test_a_model_without_a_network_is_refused(work):
    bundle, validation, test = opened(work)

    counts = replace(bundle, spec=NGramSpec(), model=object())
    with pytest.raises(ModelError, match="needs a neural model"):
        compare_continuous(counts, validation, test, variants=("cache",))
