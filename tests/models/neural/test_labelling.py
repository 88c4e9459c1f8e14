"""Classifiers and taggers: one trunk under two tasks, blind to padding; what each can learn; kept and opened again."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.base import ModelError
from models.neural.labelling.fit import asked_features, fit
from models.neural.labelling.labelled_sequences import LabelledSequences, Sequences
from models.neural.labelling.labeller import Labeller
from models.neural.labelling.network import LabellingNetwork
from models.neural.labelling.spec import OF_STREAMS, LabellingSpec, from_dict, to_dict
from models.neural.output import NOT_SCORED
from models.neural.recurrent import RecurrentNetwork
from models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec

V, H, E = 40, 6, 5
NOISE = 20
"""Words from 9 on that mean nothing; those above decide."""
DECIDES = 9 + NOISE
LENGTHS = np.array([3, 9, 1, 6])
TRAINING = TrainingSpec(epochs=3, batch=32, learning_rate=1e-2, evaluations=3, precision="float32")
SMALL = LabellingSpec(kind="gru", hidden=24, embedding=16, dropout=0.0, training=TRAINING)


def network(**options):
    torch.manual_seed(1)
    spec = LabellingSpec(**{"hidden": H, "embedding": E, "layers": 2, "dropout": 0.0} | options)
    made = LabellingNetwork(spec, V, np.zeros(0, np.float64 if spec.numbers else np.int64))
    return made.double()


def some_ids():
    return torch.randint(9, V, (4, 9), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_one_trunk_gives_a_classifier_one_row_a_sequence_and_a_tagger_one_a_position(kind, bidirectional):
    """The same weights; a sequence's row is what each direction says at its end."""
    labels, ids, lengths = ("a", "b", "c"), some_ids(), torch.from_numpy(LENGTHS)
    options = {"kind": kind, "bidirectional": bidirectional, "labels": labels}
    classifier, tagger = network(**options), network(task="tagging", **options)
    assert classifier.state_dict().keys() == tagger.state_dict().keys()
    width = H * (2 if bidirectional else 1)
    summary, positions = classifier(ids, lengths), tagger(ids, lengths)
    assert summary.shape == (4, width)
    assert positions.shape == (LENGTHS.sum(), width)
    assert classifier.head(summary).shape == (4, 3)
    assert tagger.head(positions).shape == (LENGTHS.sum(), 3)
    ends = LENGTHS.cumsum()
    assert torch.equal(summary[:, :H], positions[ends - 1, :H])
    if bidirectional:
        assert torch.equal(summary[:, H:], positions[ends - LENGTHS, H:])


@pytest.mark.parametrize("cells", ["own", "fused"])
@pytest.mark.parametrize("task", ["classification", "tagging"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_never_changes_a_result_or_a_gradient(task, bidirectional, cells):
    options = {"task": task, "bidirectional": bidirectional, "cells": cells}
    lengths, ids = torch.from_numpy(LENGTHS), some_ids()
    padded = network(**options)
    found = padded(ids, lengths)
    found.square().sum().backward()
    other = network(**options)
    padding = torch.arange(9) >= lengths[:, None]
    junk = ids.masked_fill(padding, 10**6)  # no entry of any vocabulary: nobody may look there
    more = torch.cat([junk, junk[:, :3]], 1)
    same = other(more, lengths)
    same.square().sum().backward()
    torch.testing.assert_close(same, found, rtol=1e-12, atol=1e-12)
    for one, two in zip(padded.parameters(), other.parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(two.grad, one.grad, rtol=1e-10, atol=1e-12)
    alone = [padded(ids[i : i + 1, :length], torch.tensor([length])) for i, length in enumerate(LENGTHS.tolist())]
    torch.testing.assert_close(torch.cat(alone), found, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("loss", ["cross_entropy", "hinge", "hinge_sum", "squared_error"])
@pytest.mark.parametrize(("task", "bidirectional"), [("classification", False), ("tagging", True)])
def test_gradients_of_the_whole_network_equal_numeric_differences(loss, task, bidirectional):
    labels = () if loss == "squared_error" else ("a", "b", "c")
    made = network(kind="gru", cells="own", loss=loss, labels=labels, task=task, bidirectional=bidirectional, layers=1)
    torch.nn.init.normal_(made.embedding.weight)
    torch.nn.init.normal_(made.head.linear.weight)
    ids, lengths = some_ids()[:2, :4], torch.tensor([4, 2])
    rows = 6 if task == "tagging" else 2
    targets = torch.arange(rows).double() if made.head.linear.out_features == 1 else torch.arange(rows) % 3
    names, weights = zip(*made.named_parameters(), strict=True)

    def loss_of(*values):
        features = torch.func.functional_call(made, dict(zip(names, values, strict=True)), (ids, lengths))
        head = {name: value for name, value in zip(names, values, strict=True) if name.startswith("head.")}
        weight, bias = head["head.linear.weight"], head["head.linear.bias"]
        return made.head.loss(features @ weight.T + bias, targets)

    assert torch.autograd.gradcheck(loss_of, weights, fast_mode=True)


@pytest.mark.parametrize(
    ("ids", "lengths", "complaint"),
    [
        (torch.zeros(0, 3, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), r"ids are \(0, 3\)"),
        (torch.zeros(2, 0, dtype=torch.int64), torch.tensor([0, 0]), r"ids are \(2, 0\)"),
        (torch.zeros(3, dtype=torch.int64), torch.tensor([3]), r"ids are \(3,\)"),
        (torch.zeros(2, 3, dtype=torch.int64), torch.tensor([3]), "2 of them are needed, each between 1 and 3"),
        (torch.zeros(2, 3, dtype=torch.int64), torch.tensor([3, 0]), "each between 1 and 3"),
        (torch.zeros(2, 3, dtype=torch.int64), torch.tensor([4, 1]), "each between 1 and 3"),
    ],
)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_batches_of_no_sequences_and_impossible_lengths_are_refused(ids, lengths, complaint, bidirectional):
    with pytest.raises(ModelError, match=complaint):
        network(bidirectional=bidirectional)(ids, lengths)


def reviews(count, labels, seed, longest=14):
    """Noise of 4 to *longest* words; one word anywhere in it, DECIDES + label, is all that tells the label."""
    draw = np.random.default_rng(seed)
    targets = draw.integers(0, labels, count)
    texts = []
    for target in targets:
        text = draw.integers(9, DECIDES, draw.integers(4, longest + 1))
        text[draw.integers(len(text))] = DECIDES + target
        texts.append(text)
    return LabelledSequences.of(texts, targets)


@pytest.mark.parametrize(
    ("loss", "labels", "bidirectional", "kind"),
    [
        ("cross_entropy", 2, False, "lstm"),
        ("cross_entropy", 3, True, "rnn"),
        ("hinge", 2, True, "gru"),
        ("hinge", 3, False, "gru"),
        ("hinge_sum", 3, True, "lstm"),
    ],
)
def test_a_classifier_learns_which_word_anywhere_decides(loss, labels, bidirectional, kind):
    names = ("negative", "neutral", "positive")[:labels]
    spec = replace(SMALL, loss=loss, labels=names, bidirectional=bidirectional, kind=kind)
    train, validation, test = (reviews(count, labels, seed) for count, seed in ((1_500, 1), (200, 2), (400, 3)))
    model, summary = fit(spec, V, train, validation)
    assert summary["error_rate"] <= 0.02
    found = model.measure(test)
    assert found["error_rate"] <= 0.02
    assert found["error_rate"] == (model.answers(test.sequences) != test.targets).mean()


def next_word_tags(count, seed):
    """Whether the next word is an even one: known to who has read further. Of the last word nothing is asked."""
    draw = np.random.default_rng(seed)
    texts = [draw.integers(9, DECIDES, draw.integers(3, 11)) for _ in range(count)]
    return LabelledSequences.of(texts, [[*(text[1:] % 2).tolist(), NOT_SCORED] for text in texts])


def test_tags_that_need_the_future_are_learned_by_the_bidirectional_encoder_only():
    """The words are drawn independently, so who reads from the beginning can do no better than half."""
    spec = replace(SMALL, task="tagging", labels=("odd", "even"))
    train, validation, test = (next_word_tags(count, seed) for count, seed in ((1_500, 1), (200, 2), (400, 3)))
    both = fit(replace(spec, bidirectional=True), V, train, validation).model.measure(test)
    forwards = fit(spec, V, train, validation).model.measure(test)
    assert both["error_rate"] <= 0.01
    assert forwards["error_rate"] > 0.4
    assert forwards["cross_entropy"] > 0.68


def test_tags_that_need_only_the_past_are_learned_from_the_beginning_with_a_margin_too():
    """Whether the word that decides has been read yet. Every position is asked."""

    def switched(count, seed):
        sequences = reviews(count, 1, seed).sequences
        texts = np.split(sequences.ids_P, sequences.offsets[1:-1])
        return LabelledSequences.of(texts, [np.cumsum(text == DECIDES) for text in texts])

    spec = replace(SMALL, task="tagging", labels=("before", "after"), loss="hinge", kind="lstm")
    model, _ = fit(spec, V, switched(1_000, 1), switched(200, 2))
    assert model.measure(switched(300, 3))["error_rate"] <= 0.01


def test_stars_are_learned_as_a_number_by_squared_error():
    """A word anywhere says 1 to 5 stars; who answers the mean is off by √2 on average."""
    train, validation, test = (reviews(count, 5, seed) for count, seed in ((2_500, 1), (200, 2), (400, 3)))
    train, validation, test = (replace(data, targets=data.targets + 1) for data in (train, validation, test))
    spec = replace(SMALL, labels=(), loss="squared_error", bidirectional=True)
    model, _ = fit(spec, V, train, validation)
    found = model.measure(test)
    assert found["root_mean_square"] < 0.35
    assert found["squared_error"] == pytest.approx(found["root_mean_square"] ** 2)
    answers = model.answers(test.sequences)
    assert found["squared_error"] == pytest.approx(np.square(answers.astype(np.float64) - test.targets).mean())


QUICK = replace(SMALL, training=replace(TRAINING, epochs=1, evaluations=2), dropout=0.2)


@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "task": "tagging", "kind": "lstm"}])
def test_equal_seeds_give_equal_weights_other_seeds_others_and_torchs_random_stream_stays(options):
    spec = replace(QUICK, **options)
    data = next_word_tags(150, 1) if spec.task == "tagging" else reviews(150, 2, 1)
    before = torch.get_rng_state()
    one, two = (fit(spec, V, data, data).model for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    other = fit(replace(spec, training=replace(spec.training, seed=2)), V, data, data).model
    assert np.array_equal(one.scores(data.sequences), two.scores(data.sequences))
    assert not np.array_equal(one.scores(data.sequences), other.scores(data.sequences))


def test_training_in_bf16_learns_as_well():
    spec = replace(SMALL, bidirectional=True, training=replace(TRAINING, precision="bf16"))
    train, test = reviews(1_500, 2, 1), reviews(300, 2, 3)
    model, _ = fit(spec, V, train, test)
    assert model.measure(test)["error_rate"] <= 0.02
    assert {parameter.dtype for parameter in model.network.parameters()} == {torch.float32}


def test_the_state_that_is_kept_is_that_of_the_best_evaluation():
    """The examples to choose by have the wrong labels: the more is learned, the worse. The first state is the best."""
    spec = replace(QUICK, training=replace(TRAINING, evaluations=6))
    data, seen = reviews(600, 2, 1), []
    chosen_by = replace(data, targets=1 - data.targets)
    model, summary = fit(spec, V, data, chosen_by, report=seen.append)
    found = [progress.figures["cross_entropy"] for progress in seen]
    assert len(found) == 6
    assert found[-1] > 2 * found[0]
    assert summary["cross_entropy"] == min(found)
    assert model.measure(chosen_by)["cross_entropy"] == pytest.approx(min(found), abs=1e-12)
    assert seen[-1].step == seen[-1].total == 3 * len(data.sequences.ids_P)


def test_the_mean_of_an_update_is_over_what_is_asked():
    """Two sequences of 1 and 8 answers: the gradient is that of the mean over 9 positions, not of the mean of means."""
    spec = LabellingSpec(task="tagging", hidden=H, embedding=E, dropout=0.0)
    data = LabelledSequences.of([[9, 10, 11], list(range(9, 17))], [[-1, 1, -1], [0, 1] * 4])
    made = network(task="tagging", layers=1)
    batch = data.sequences.batch(np.array([1, 0]))
    features, targets = asked_features(made, batch, data.of_rows(spec, batch.rows_B), spec)
    assert targets.tolist() == [0, 1] * 4 + [1]
    assert features.shape == (9, H)
    assert torch.equal(features[-1], made(torch.tensor([[9, 10, 11]]), torch.tensor([3]))[1])


def test_examples_that_do_not_fit_are_refused_before_training():
    good = reviews(10, 2, 1)
    for train, validation in ((reviews(10, 3, 1), good), (good, reviews(10, 3, 1))):
        with pytest.raises(ModelError, match="it must be a whole number from 0 to 1"):
            fit(QUICK, V, train, validation)
    with pytest.raises(ModelError, match="is no entry of the vocabulary: those are 0 to 19"):
        fit(QUICK, 20, good, good)


def test_a_training_that_diverges_says_so():
    spec = replace(SMALL, labels=(), loss="squared_error", training=replace(TRAINING, optimizer="sgd", clip=None,
                   learning_rate=1e20))  # fmt: skip
    data = replace(reviews(100, 5, 1), targets=np.full(100, 1e15))
    data.targets[::2] = -1e15
    with pytest.raises(ModelError, match=r"learning_rate") as caught:
        fit(spec, V, data, data)
    assert caught.value.kind == "diverged"


@pytest.fixture(scope="module")
def fitted():
    data = next_word_tags(150, 1)
    return fit(replace(QUICK, bidirectional=True, task="tagging"), V, data, data, vocabulary_digest="words").model


def test_answers_depend_neither_on_the_batch_nor_on_the_order(fitted):
    sequences = next_word_tags(60, 5).sequences
    together = fitted.scores(sequences)
    assert together.shape == (len(sequences.ids_P), 2)
    texts = np.split(sequences.ids_P, sequences.offsets[1:-1])
    alone = np.concatenate([fitted.scores(Sequences.of([text])) for text in texts])
    np.testing.assert_allclose(alone, together, atol=1e-6)
    probabilities = fitted.probabilities(sequences)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)
    assert np.array_equal(probabilities.argmax(1), fitted.answers(sequences))


def test_margins_and_numbers_are_not_called_probabilities():
    data = reviews(40, 2, 1)
    model = fit(replace(QUICK, loss="hinge"), V, data, data).model
    with pytest.raises(ModelError, match="'hinge' has no probabilities: ask for scores"):
        model.probabilities(data.sequences)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"loss": "hinge", "bidirectional": True, "layers": 2},
        {"loss": "squared_error", "labels": ()},
        {"kind": "gru", "cells": "own", "form": "cho", "layer_norm": True, "task": "tagging"},
    ],
)
def test_what_is_opened_answers_as_what_was_kept(options, tmp_path):
    spec = replace(QUICK, **options)
    torch.manual_seed(3)
    kept = Labeller(spec, LabellingNetwork(spec, V, np.zeros(0, np.float64 if spec.numbers else np.int64)), "words")
    kept.save(tmp_path / "model")
    opened, sequences = Labeller.load(tmp_path / "model", "words"), reviews(20, 2, 1).sequences
    assert (opened.spec, opened.entries, opened.vocabulary_digest) == (spec, V, "words")
    assert np.array_equal(opened.scores(sequences), kept.scores(sequences))


def test_a_folder_that_cannot_be_opened_says_why(fitted, tmp_path):
    folder = tmp_path / "model"
    fitted.save(folder)
    with pytest.raises(ModelError, match="trained with vocabulary 'words', not 'characters'"):
        Labeller.load(folder, "characters")
    values = json.loads((folder / "labeller.json").read_text())

    def written(**changes):
        (folder / "labeller.json").write_text(json.dumps(values | changes))

    for changes, complaint in (
        ({"format": 2}, "format 2 is newer"),
        ({"entries": V + 1}, "embedding.weight"),
        ({"spec": values["spec"] | {"beam": 3}}, r"\['beam'\].*known to this version"),
        ({"spec": values["spec"] | {"loss": "zero_one"}}, "gradient is 0"),
    ):
        written(**changes)
        with pytest.raises(ModelError, match=complaint) as caught:
            Labeller.load(folder)
        assert caught.value.kind == "bundle"
    written()
    raw = bytearray((folder / "weights.safetensors").read_bytes())
    raw[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(raw)
    with pytest.raises(ModelError, match="damaged"):
        Labeller.load(folder)
    (folder / "labeller.json").unlink()
    with pytest.raises(ModelError, match="no classifier or tagger that can be read"):
        Labeller.load(folder)


def language_model(**options):
    torch.manual_seed(7)
    shape = {"kind": "gru", "hidden": 24, "embedding": 16, "tied": False, "objective": ObjectiveSpec("softmax")}
    return RecurrentNetwork(RecurrentSpec(**shape | options), torch.ones(V))


def test_a_classifier_may_start_from_a_language_models_embedding_and_layers():
    trained = language_model()
    made = LabellingNetwork(SMALL, V, np.zeros(0, np.int64)).eval()
    made.take_over(trained)
    ids = some_ids()
    features, _ = trained.eval()(ids, trained.start(4, "cpu"))
    lengths = torch.from_numpy(LENGTHS)
    expected = features[torch.arange(4), lengths - 1]
    torch.testing.assert_close(made(ids, lengths), expected)
    made.embedding.weight.data.zero_()
    assert trained.embedding.weight.any()
    data = reviews(60, 2, 1)
    fresh, started = (fit(QUICK, V, data, data, start=start).model for start in (None, trained))
    assert not np.array_equal(fresh.scores(data.sequences), started.scores(data.sequences))


def test_a_language_model_that_does_not_fit_is_refused():
    made = LabellingNetwork(SMALL, V, np.zeros(0, np.int64))
    with pytest.raises(ModelError, match="layers of the language model is"):
        made.take_over(language_model(hidden=20))
    with pytest.raises(ModelError, match="bidirectional must be false"):
        LabellingNetwork(replace(SMALL, bidirectional=True), V, np.zeros(0, np.int64)).take_over(language_model())


OTHER_VALUES = {
    "window": 10, "backprop": 60, "reset": 0.5, "random_window": True, "carry": "review", "micro_batch": 2, "ema": 0.9,
    "activation_penalty": 1.0, "temporal_penalty": 1.0, "spike": 1.0, "start": "champion", "optimizer": "nt_asgd",
    "schedule": "plateau",
}  # fmt: skip


@pytest.mark.parametrize("name", [*OF_STREAMS, "optimizer", "schedule"])
def test_options_of_the_recipe_that_have_no_part_here_are_refused(name):
    with pytest.raises(ValueError, match=rf"training\.{name} is .*it must be"):
        LabellingSpec(training=replace(TRAINING, **{name: OTHER_VALUES[name]}))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"labels": ("a",)}, "at least two different names"),
        ({"labels": ("a", "a")}, "at least two different names"),
        ({"labels": ()}, "at least two different names"),
        ({"loss": "squared_error"}, r"it must be \(\) for 'squared_error'"),
        ({"loss": "hinges"}, "loss is 'hinges'; it must be one of cross_entropy, hinge"),
        ({"task": "translation"}, "'classification' or 'tagging'"),
        ({"kind": "transformer"}, "'rnn', 'gru' or 'lstm'"),
        ({"hidden": 0}, "hidden is 0"),
        ({"dropout": 1.0}, r"dropout is 1.0; it must be in \[0, 1\)"),
        ({"form": "cho"}, "form is 'cho'"),
        ({"layer_norm": True}, "layer_norm is True"),
        ({"forget_bias": 2.0, "kind": "gru"}, "forget_bias is 2.0"),
    ],
)
def test_impossible_options_are_refused(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        LabellingSpec(**options)


def test_a_spec_survives_json():
    spec = LabellingSpec(labels=("so", "la"), task="tagging", bidirectional=True, training=replace(TRAINING, clip=None))
    assert from_dict(json.loads(json.dumps(to_dict(spec)))) == spec


def test_options_are_read_without_torch():
    code = "import sys, models.neural.labelling.spec; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_the_example_of_the_documentation_gives_what_it_says(tmp_path, monkeypatch):
    page = Path(__file__).resolve().parents[3] / "docs" / "labelling.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(example, names)
    assert names["answers"] == ["good", "bad"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("options", [{}, {"task": "tagging", "bidirectional": True, "loss": "hinge"}])
def test_a_model_on_a_gpu_learns_and_answers_as_on_the_processor(options, tmp_path):
    spec = replace(SMALL, labels=("odd", "even"), **options)
    data = next_word_tags(1_000, 1) if spec.task == "tagging" else reviews(1_500, 2, 1)
    model, summary = fit(spec, V, data, data, device="cuda")
    assert summary["error_rate"] <= 0.02
    model.save(tmp_path)
    there, here = model.scores(data.sequences), Labeller.load(tmp_path).scores(data.sequences)
    np.testing.assert_allclose(there, here, atol=1e-3)
