import json
import math

import numpy as np
import polars as pl
import pytest

from core.errors import InputError, ReviewLMError
from evaluation.scoring.metrics import figures_of
from evaluation.scoring.score import FIGURES_FILE, SCORES_FILE, TOKEN_NATS, record_scores, score_stream
from models.base import ModelError
from models.specs import VocabularySpec
from models.streams import TokenStream, write_stream
from models.text.normal_form import NormalForm
from models.tokens.special import CONTEXT_IDS
from models.tokens.vocabulary import Vocabulary


def nats_by_hand(bundle, ids):
    before = np.concatenate([[0], ids[:-1]])
    return sum(-bundle.model.logp_VV[b, i] for b, i in zip(before, ids, strict=True) if int(i) not in CONTEXT_IDS)


def test_each_review_gets_the_nats_of_its_own_tokens_in_the_order_of_the_stream(bundle, stream, reviews):
    rows = score_stream(bundle, stream)
    assert rows["review_id"].to_list() == reviews["review_id"].to_list()
    for row in range(len(stream)):
        assert rows["nats"][row] == pytest.approx(nats_by_hand(bundle, stream.document(row)), rel=1e-12)


def test_scored_tokens_are_those_of_the_text_and_the_end(bundle, stream, reviews):
    words = reviews["text"].str.split(" ").list.len()
    assert score_stream(bundle, stream)["tokens"].to_list() == (words + 1).to_list()


@pytest.mark.parametrize("tokens_per_batch", [1, 7, 64, 100_000])
def test_batch_size_and_chunking_change_nothing(bundle, stream, tokens_per_batch):
    expected = score_stream(bundle, stream)["nats"].to_numpy()
    found = score_stream(bundle, stream, tokens_per_batch=tokens_per_batch)["nats"].to_numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_order_of_the_reviews_changes_nothing(bundle, stream, reviews, vocabulary, tmp_path):
    write_stream(tmp_path, vocabulary, [reviews.reverse()])
    found = score_stream(bundle, TokenStream.open(tmp_path))
    joined = score_stream(bundle, stream).join(found, on="review_id", suffix="_reversed")
    np.testing.assert_allclose(joined["nats_reversed"], joined["nats"], rtol=1e-6)


def test_every_review_starts_from_the_fresh_state(bundle, reviews, vocabulary, tmp_path):
    write_stream(tmp_path, vocabulary, [pl.concat([reviews.head(1)] * 3)])
    assert score_stream(bundle, TokenStream.open(tmp_path))["nats"].n_unique() == 1


def test_a_stream_that_promises_other_tokens_is_refused(bundle, stream):
    broken = TokenStream.open(stream.folder)
    broken.tokens += 1
    with pytest.raises(ReviewLMError, match="Not every token was scored once"):
        score_stream(bundle, broken)


def test_a_stream_of_another_vocabulary_is_refused(bundle, reviews, tmp_path):
    other = Vocabulary.train(["a b c d"] * 3, VocabularySpec(min_count=1), NormalForm())
    write_stream(tmp_path, other, [reviews])
    with pytest.raises(ModelError, match=other.digest):
        score_stream(bundle, TokenStream.open(tmp_path))


def test_perplexity_is_recomputed_from_the_scores_of_the_tokens(bundle, stream, tmp_path):
    figures = figures_of(score_stream(bundle, stream, tmp_path, observed=range(len(stream))))
    tokens = pl.read_parquet(tmp_path / TOKEN_NATS)
    assert len(tokens) == figures.tokens
    assert math.exp(tokens["nats"].mean()) == pytest.approx(figures.perplexity, rel=1e-9)


def test_what_a_run_keeps_of_its_scores_are_tables_figures_and_the_policies_beside_them(bundle, stream, tmp_path):
    facts = record_scores(bundle, stream, tmp_path, [3, 5])
    assert facts["perplexity"] == figures_of(pl.read_parquet(tmp_path / SCORES_FILE)).perplexity
    assert pl.read_parquet(tmp_path / TOKEN_NATS)["review_id"].unique(maintain_order=True).to_list() == ["r03", "r05"]
    written = json.loads((tmp_path / FIGURES_FILE).read_text())
    assert written["figures"] == {name: value for name, value in facts.items() if name != "score_seconds"}
    assert "fresh state" in written["policies"]["state"]


def test_a_review_outside_the_stream_is_named(bundle, stream, tmp_path):
    with pytest.raises(InputError, match="60"):
        score_stream(bundle, stream, tmp_path, observed=[60])


def test_scores_are_written_where_asked(bundle, stream, tmp_path):
    rows = score_stream(bundle, stream, tmp_path)
    assert pl.read_parquet(tmp_path / "scores.parquet").equals(rows)


def test_progress_ends_at_the_number_of_reviews(bundle, stream):
    seen = []
    score_stream(bundle, stream, tokens_per_batch=100, report=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (60, 60)
    assert seen == sorted(seen)
