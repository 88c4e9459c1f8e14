"""Weights that are read from their file: the same numbers, and memory only while they are used."""

from __future__ import annotations

import re
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models.bundles.bundle import load_bundle, save_bundle
from models.neural.inference.weights_on_disk import WeightsOnDisk, networks_of
from models.neural.lm import RecurrentLM
from serving.engine.number_format import ChosenNumbers
from serving.engine.requests import Generation
from tests.serving.engine.small_models import bundle_of

IDS = np.random.default_rng(0).integers(9, 40, (3, 12))


@pytest.fixture(params=["lstm", "gru", "nplm"])
def loaded(request: pytest.FixtureRequest, tmp_path: Path):
    bundle = bundle_of(request.param)
    save_bundle(tmp_path, bundle.spec, bundle.vocabulary, bundle.model, [("The soup", 3)], {})
    return load_bundle(tmp_path)


def resident_kb(file: Path) -> int:
    """Return how much of a mapped file is in memory."""
    regions = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text(), flags=re.MULTILINE)
    own = [region for region in regions if str(file) in region.partition("\n")[0]]
    assert own, "the file is not mapped"
    return sum(int(re.search(r"^Rss: +(\d+)", region, re.MULTILINE)[1]) for region in own)


def test_scores_and_steps_are_the_same_to_the_bit(loaded):
    model = loaded.model
    scores, logp_BV = model.score(IDS, model.start(3))[0], model.step(IDS[:, 0], model.start(3))[0]
    tied = model.network.embedding.weight is model.network.output.weight
    on_disk = WeightsOnDisk(model)
    assert (model.network.embedding.weight is model.network.output.weight) == tied
    for _ in range(2):
        assert np.array_equal(model.score(IDS, model.start(3))[0], scores)
        assert torch.equal(model.step(IDS[:, 0], model.start(3))[0], logp_BV)
        on_disk.forget()


def test_memory_is_taken_only_while_the_weights_are_read(loaded):
    file = loaded.model.network.file
    on_disk = WeightsOnDisk(loaded.model)
    loaded.model.score(IDS, loaded.model.start(3))
    assert resident_kb(file) >= 0.9 * file.stat().st_size / 1024
    on_disk.forget()
    assert resident_kb(file) == 0


@pytest.mark.parametrize("how", ["removed", "cut off", "other weights", "not a file of weights"])
def test_weights_whose_file_has_changed_stay_in_memory(loaded, how):
    model, file = loaded.model, loaded.model.network.file
    scores = model.score(IDS, model.start(3))[0]
    if how == "removed":
        file.unlink()
    elif how == "cut off":
        file.write_bytes(file.read_bytes()[:-400])
    elif how == "other weights":
        save_file({name: tensor + 1 for name, tensor in load_file(file).items()}, file)
    else:
        file.write_bytes(b"nothing" * 9)
    WeightsOnDisk(model).forget()
    assert np.array_equal(model.score(IDS, model.start(3))[0], scores)


def test_the_file_may_be_removed_afterwards(loaded):
    model, file = loaded.model, loaded.model.network.file
    scores, on_disk = model.score(IDS, model.start(3))[0], WeightsOnDisk(model)
    file.unlink()
    file.write_bytes(b"another")
    on_disk.forget()
    assert np.array_equal(model.score(IDS, model.start(3))[0], scores)


def test_the_networks_of_combined_models_are_found():
    assert {type(each) for each in networks_of(bundle_of("mixture").model)} == {RecurrentLM}
    assert {type(each) for each in networks_of(bundle_of("neural_cache").model)} == {RecurrentLM}
    assert set(networks_of(bundle_of("ngram").model)) == set()
    WeightsOnDisk(bundle_of("mixture").model).forget()  # it was made here, so it has no file


@pytest.mark.parametrize("numbers", ["float32", "int8"])
def test_a_server_keeps_them_on_disk_if_int8_writes_the_texts(loaded, numbers, monkeypatch, engine_of):
    monkeypatch.setattr("serving.engine.engine.IDLE_SECONDS", 0.05)
    monkeypatch.setattr("serving.engine.engine.choose_numbers", lambda bundle, asked, threads: ChosenNumbers(
        asked, "as asked", fast=bundle.model if asked == "int8" else None
    ))  # fmt: skip
    forgotten, forget = Event(), WeightsOnDisk.forget
    monkeypatch.setattr(WeightsOnDisk, "forget", lambda self: (forget(self), forgotten.set()))
    text, file = Generation("The soup", 3, max_tokens=8), loaded.model.network.file
    expected, nats = engine_of(loaded).submit(text).result().text, loaded.score_text("The soup").nats
    engine = engine_of(loaded, numbers=numbers)
    for _ in range(2):
        assert engine.submit(text).result().text == expected
        assert engine.run(lambda context: context.bundle.score_text("The soup")).result(10).nats == nats
        assert forgotten.wait(20 if numbers == "int8" else 0.2) == (numbers == "int8")
        forgotten.clear()
    assert (str(file) in Path("/proc/self/maps").read_text()) == (numbers == "int8")
