"""On a GPU, real or pretended: training, going on and scoring. The processor says what is right."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from reviewlm.models.neural.lm import NeuralLM
from reviewlm.training.neural import checkpointing
from reviewlm.training.neural.step import TrainingStep
from tests.models.neural.made_trainings import SPEC, V, curve, journal, network_of, run

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu_as_in_a_fit")]
GPU = torch.device("cuda", 0)
STILL = replace(SPEC, dropout=0.0)  # the two devices draw other masks


class Killed(BaseException):
    """Stands for the end of the process: nothing in the program may catch it."""


# --- training


@pytest.mark.parametrize("cells", ["fused", "reference"])
@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_a_training_in_float32_is_that_of_the_processor(
    tmp_path,
    kind,
    cells,
):
    spec = replace(STILL, kind=kind, cells=cells)
    network, summary = run(tmp_path / "gpu", network_of(spec).to(GPU))
    _, expected = run(tmp_path / "cpu", network_of(spec))
    assert network.output.weight.device == GPU
    assert summary["divergences"] == 0
    for name in ("train/nats", "gradient_norm", "validation/nats"):
        np.testing.assert_allclose(
            curve(tmp_path / "gpu", name), curve(tmp_path / "cpu", name), rtol=0.02
        )
    assert summary["validation_nats"] == pytest.approx(expected["validation_nats"], rel=0.02)


# --- going on


def test_a_training_that_is_killed_goes_on_to_the_same_weights_up_to_rounding(
    tmp_path, monkeypatch
):
    """With dropout: the checkpoint holds the GPU's random stream too."""
    undisturbed, expected = run(tmp_path / "undisturbed", network_of().to(GPU))
    update = TrainingStep.__call__

    def dying(self, *arguments):
        if self.state.metrics.updates == expected["updates"] * 3 // 4:
            raise Killed
        update(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingStep, "__call__", dying)
        patch.setattr(checkpointing, "CHECKPOINT_SECONDS", 0.0)
        with pytest.raises(Killed):
            run(tmp_path / "killed", network_of().to(GPU))
    network, summary = run(tmp_path / "killed", network_of().to(GPU))
    assert summary["updates"] == expected["updates"]
    assert summary["class_changes"] == 0
    for one, other in zip(network.parameters(), undisturbed.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3)
    lines = [len(journal(tmp_path / name)) for name in ("undisturbed", "killed")]
    assert lines[0] == lines[1]


# --- scoring


@pytest.fixture(
    params=[(kind, cells) for kind in ("rnn", "gru", "lstm") for cells in ("fused", "reference")],
    ids="-".join,
)
def scored(request, tmp_path):
    """A model on the GPU, a batch of texts, and the nats of the processor to 1e-5.

    Products rounded to TF32 would differ by 1e-4 and more.
    """
    kind, cells = request.param
    spec = replace(
        STILL,
        kind=kind,
        cells=cells,
        hidden=256,
        embedding=128,
    )
    model = NeuralLM(spec, network_of(spec), V)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.mul_(2)  # far from uniform
    model.save(tmp_path)
    there = NeuralLM.load(tmp_path, spec, SimpleNamespace(size=V), "cuda:0")
    ids_BT = np.random.default_rng(1).integers(9, V, (6, 60))
    nats_BT, _ = model.score(ids_BT, model.start(6))
    return SimpleNamespace(
        model=there,
        ids_BT=ids_BT,
        nats_BT=nats_BT,
    )


def test_scores_are_those_of_the_processor(scored):
    nats_BT, _ = scored.model.score(scored.ids_BT, scored.model.start(6))
    np.testing.assert_allclose(nats_BT, scored.nats_BT, rtol=1e-5, atol=1e-5)


def test_scores_do_not_depend_on_how_a_text_is_cut(scored):
    state, parts = scored.model.start(6), []
    for begin in range(0, 60, 7):
        nats_BT, state = scored.model.score(scored.ids_BT[:, begin : begin + 7], state)
        parts.append(nats_BT)
    np.testing.assert_allclose(np.concatenate(parts, 1), scored.nats_BT, rtol=1e-5, atol=1e-5)


def test_scores_do_not_depend_on_the_batch(scored):
    for row in range(6):
        alone_1T, _ = scored.model.score(scored.ids_BT[row : row + 1], scored.model.start(1))
        np.testing.assert_allclose(alone_1T[0], scored.nats_BT[row], rtol=1e-5, atol=1e-5)
