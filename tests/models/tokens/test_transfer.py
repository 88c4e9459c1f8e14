"""A table of one vocabulary becomes one of another."""

import numpy as np
import polars as pl
import pytest
import torch

from models.base import FitContext, ModelError
from models.neural.training.transfer import transfer_rows
from models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec, VocabularySpec, model_class
from models.streams import TokenStream, write_stream
from models.text.normal_form import NormalForm
from models.tokens.vocabulary import UNK, Vocabulary
from tests.models.small_vocabularies import LOSSLESS, TRAIN, UNITS, train

MORE = [*TRAIN, *["The zucchini pancakes were wonderful, zucchini forever!"] * 9]


def table(vocabulary, seed=0):
    return np.random.default_rng(seed).standard_normal((vocabulary.size, 3)).astype(np.float32)


def shared(old, new):
    ids = {old.entry(i): i for i in range(9, old.size)}
    return [(ids[new.entry(i)], i) for i in range(9, new.size) if new.entry(i) in ids]


@pytest.mark.parametrize("unit", list(UNITS))
def test_shared_entries_keep_their_rows_bit_for_bit(unit, vocabularies):
    old, new = vocabularies[unit], train(unit, MORE, size=450)
    rows = table(old)
    moved = transfer_rows(old, new, rows)
    pairs = shared(old, new)
    assert moved.shape == (new.size, 3)
    assert moved.dtype == rows.dtype
    assert len(pairs) > 60
    assert any(a != b for a, b in pairs)
    assert all(moved[b].tobytes() == rows[a].tobytes() for a, b in [*pairs, *((i, i) for i in range(9))])


@pytest.mark.parametrize("unit", LOSSLESS)
def test_new_pieces_start_from_the_mean_of_their_old_pieces(unit, vocabularies):
    old, new = vocabularies[unit], train(unit, [*MORE, "é☕" * 9], size=450)
    rows = table(old)
    moved = transfer_rows(old, new, rows)
    known = {b for _, b in shared(old, new)}
    fresh = [i for i in range(9, new.size) if i not in known]
    assert fresh
    for i in fresh:
        text = new.entry(i).decode("utf-8", "ignore")
        if text.encode() == new.entry(i):
            assert moved[i] == pytest.approx(rows[old.encode(text)].mean(0), abs=1e-6)


def test_new_words_start_from_the_mean_of_all_words(vocabularies):
    old, new = vocabularies["word"], train("word", MORE)
    rows = table(old)
    zucchini = int(new.encode("zucchini")[0])
    assert zucchini != UNK == old.encode("zucchini")[0]
    assert transfer_rows(old, new, rows)[zucchini] == pytest.approx(rows[9:].mean(0), abs=1e-6)


def test_words_can_become_pieces_and_biases_go_over_too(vocabularies):
    old, new = vocabularies["word"], vocabularies["bpe"]
    biases = table(old)[:, 0]
    moved = transfer_rows(old, new, biases)
    assert moved.shape == (new.size,)
    assert np.isfinite(moved).all()
    assert (transfer_rows(old, new, biases) == moved).all()


def test_a_table_of_another_vocabulary_is_refused(vocabularies):
    with pytest.raises(ModelError, match=r"has 7 rows, but the old vocabulary \d+ entries"):
        transfer_rows(vocabularies["word"], vocabularies["bpe"], np.zeros((7, 2)))


def reviews(animals, count, seed):
    """"the cat . it meows !": each animal has its sound."""
    rng, sounds = np.random.default_rng(seed), {"cat": "meows", "dog": "barks", "cow": "moos", "owl": "hoots"}
    drawn = (rng.choice(animals, rng.integers(1, 4)) for _ in range(count))
    return [" ".join(f"the {animal} . it {sounds[animal]} !" for animal in some) for some in drawn]


def stream(folder, vocabulary, texts):
    size = len(texts)
    write_stream(folder, vocabulary, [pl.DataFrame({
        "review_id": [str(i) for i in range(size)], "text": texts, "stars": [1] * size, "bytes": [9] * size,
    })])
    return TokenStream.open(folder)


def test_the_first_loss_of_a_warm_start_is_below_that_of_a_cold_one(tmp_path):
    texts = {"old": reviews(["cat", "dog", "cow"], 150, 1), "new": reviews(["cat", "dog", "cow", "owl"], 150, 2)}
    options = VocabularySpec(unit="bpe", size=330, min_count=2)
    old, new = (Vocabulary.train(some, options, NormalForm()) for some in texts.values())
    training = TrainingSpec(epochs=4, batch=4, bptt_len=12, learning_rate=2e-2, precision="float32", evaluations=2)
    spec = RecurrentSpec(
        kind="gru", hidden=16, embedding=8, dropout=0.0, training=training, objective=ObjectiveSpec(output="softmax")
    )
    train_stream = stream(tmp_path / "train", old, texts["old"])
    kind, work = model_class("gru"), FitContext(work=tmp_path / "fit")
    work.work.mkdir()
    fitted = kind.fit(spec, old, train_stream, stream(tmp_path / "old", old, texts["old"][:20]), work).model
    held_out = stream(tmp_path / "new", new, reviews(["cat", "dog", "cow", "owl"], 30, 3))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        counts = torch.from_numpy(np.bincount(np.concatenate(new.encode_batch(texts["new"])), minlength=new.size) + 1)
        cold, warm = kind.build(spec, counts), kind.build(spec, counts)
    weights = {name: tensor.numpy() for name, tensor in fitted.network.state_dict().items()}
    for name, tensor in warm.state_dict().items():
        by_entry = tensor.shape[0] == new.size
        moved = transfer_rows(old, new, weights[name]) if by_entry else weights[name]
        tensor.copy_(torch.from_numpy(np.asarray(moved)))
    losses = [nats(kind(spec, network, new.size), held_out) for network in (warm, cold)]
    assert losses[0] < 0.6 * losses[1]


def nats(model, held_out):
    scored = [model.score(held_out.document(i)[None].astype(np.int64), model.start(1))[0] for i in range(len(held_out))]
    return sum(one.sum() for one in scored) / held_out.tokens
