"""Verbs about what models remember, as a user types them: models of bundles and of the store, files, errors."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from core.errors import ReviewLMError
from course.gradient_flow import untrained
from models.mixture.parts import Part
from models.specs import MixtureSpec, NeuralCacheSpec
from reviewlm.cli import app
from reviewlm.findings import hand_over
from reviewlm.fitted import FittedModel, recurrent_networks
from reviewlm.verbs.memory import _gradients
from tests.command_line import complaint, run
from tests.reviewlm.fitted_home import KN, RNN, bundles_in, drawn_texts, fill_home


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return drawn_texts()


@pytest.fixture(scope="module")
def fitted(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two fits, their tokens, and their preset."""
    home = tmp_path_factory.mktemp("fitted")
    fill_home(home, texts)
    return home


@pytest.fixture
def at_home(fitted: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    monkeypatch.setenv("REVIEWLM_HOME", str(fitted))
    return "--preset", str(fitted / "preset.toml"), "--fitted"


@pytest.mark.slow
def test_gradients_of_new_networks_of_every_cell_need_no_model(tmp_path: Path, own_home: Path) -> None:
    found = run("gradient-flow", "--fresh", 16, "--distances", 12, "--reviews", 2, "--out", tmp_path / "out")
    by_name = {row["network"]: row for row in found["gradient_flow"]}
    assert {"rnn", "relu", "gru", "lstm", "lstm: h", "lstm: c"} == set(by_name)
    assert by_name["rnn"]["half-length"] < by_name["lstm"]["half-length"] < by_name["relu"]["half-length"]
    assert [row["network"] for row in found["relu_units"]] == ["relu"]
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {"gradient_flow.csv", "relu_units.csv", "gradient_flow.png"}
    [first, *_] = csv.DictReader((tmp_path / "out" / "gradient_flow.csv").open())
    assert float(first["half-length"]) == pytest.approx(by_name[first["network"]]["half-length"])


@pytest.mark.slow
def test_a_table_of_an_earlier_run_does_not_stay_beside_a_finding_without_it(tmp_path: Path, own_home: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    run("gradient-flow", "--fresh", 4, "--distances", 5, "--reviews", 2, "--out", tmp_path)
    assert (tmp_path / "relu_units.csv").is_file()
    tanh, ids_BT = replace(RNN, nonlinearity="tanh"), np.full((2, 26), 20)
    found = _gradients([("tanh", tanh, untrained(tanh, 50), ids_BT)], 5, {})
    hand_over(None, found, tmp_path, as_json=False)
    assert {path.name for path in tmp_path.iterdir()} >= {"notes.txt", "gradient_flow.csv", "gradient_flow.png"}
    assert not (tmp_path / "relu_units.csv").exists()


def test_gradients_of_the_fitted_networks_stand_beside_those_of_their_initial_weights(at_home: tuple[str, ...]) -> None:
    found = run("gradient-flow", *at_home, "--untrained", "--distances", 10, "--reviews", 3)
    rnn, untrained = found["gradient_flow"]
    assert (rnn["network"], untrained["network"]) == ("rnn", "rnn, untrained")
    assert rnn["half-length"] == pytest.approx(untrained["half-length"]), "this one was never trained"


def test_contexts_are_measured_for_all_models_of_the_preset_with_their_speeds(at_home: tuple[str, ...]) -> None:
    kn, rnn = run("context-use", *at_home, "--contexts", "1,4", "--tokens", 60)["context_use"]
    assert (kn["model"], rnn["model"]) == ("kn", "rnn")
    assert kn["needs"] == 1
    assert kn["1"] == pytest.approx(kn["all"])
    assert kn["scored tokens/CPU s"] > 0
    assert (kn["trained tokens/s"], rnn["trained tokens/s"]) == (1234, 1234)


def test_of_the_fitted_models_some_are_chosen_by_name(at_home: tuple[str, ...]) -> None:
    options = ("--contexts", "1", "--tokens", 20)
    for names, expected in (("rnn", ["rnn"]), ("rnn, kn", ["kn", "rnn"])):
        rows = run("context-use", *at_home, "--model", names, *options)["context_use"]
        assert [row["model"] for row in rows] == expected
    unknown = complaint("context-use", *at_home, "--model", "rn")
    assert (unknown.exit_code, unknown.where, unknown.remedy) == (2, "--model", "did you mean 'rnn'?")


def test_a_bundle_is_measured_on_a_text(fitted: Path, texts: list[str], tmp_path: Path, own_home: Path) -> None:
    (tmp_path / "reviews.txt").write_text("\n".join(texts[:6]))
    bundles = bundles_in(fitted)
    found = run(
        "context-use", "--bundle", f"mine={bundles['rnn']}", "--bundle", bundles["ngram"].parent,
        "--text", tmp_path / "reviews.txt", "--contexts", "2", "--tokens", 20,
    )["context_use"]  # fmt: skip
    assert [row["model"] for row in found] == ["mine", "kn"]
    assert found[0]["trained tokens/s"] is None


def test_a_text_from_standard_input_serves_all_models(fitted: Path, texts: list[str], own_home: Path) -> None:
    bundles = bundles_in(fitted)
    options = ("--text", "-", "--contexts", "2", "--tokens", "20", "--json")
    arguments = ["context-use", "--bundle", f"a={bundles['rnn']}", "--bundle", f"b={bundles['ngram']}", *options]
    done = CliRunner().invoke(app, arguments, input="\n".join(texts[:6]), catch_exceptions=False)
    assert [row["model"] for row in json.loads(done.stdout.splitlines()[-1])["context_use"]] == ["a", "b"]


def test_a_bundle_of_the_store_finds_its_own_test_reviews(fitted: Path, at_home: tuple[str, ...]) -> None:
    found = run("context-use", "--bundle", bundles_in(fitted)["rnn"], "--contexts", "2", "--tokens", 20)
    assert [row["model"] for row in found["context_use"]] == ["rnn"]


def test_damage_of_what_is_not_read_stops_no_verb(
    fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    shutil.copytree(fitted, home)
    monkeypatch.setenv("REVIEWLM_HOME", str(home))
    for manifest in home.glob("store/tokens/*/manifest.json"):
        if json.loads(manifest.read_text())["options"] != {"split": "test"}:
            largest = max(manifest.parent.iterdir(), key=lambda file: file.stat().st_size * (file != manifest))
            largest.write_bytes(bytes(largest.stat().st_size))
    options = ("--contexts", "2", "--tokens", 20)
    of_preset = run("context-use", "--preset", home / "preset.toml", "--fitted", *options)
    assert [row["model"] for row in of_preset["context_use"]] == ["kn", "rnn"]
    of_bundle = run("context-use", "--bundle", bundles_in(home)["rnn"], *options)
    assert [row["model"] for row in of_bundle["context_use"]] == ["rnn"]


@pytest.mark.slow
def test_probes_are_asked_and_skipped_where_words_are_unknown(at_home: tuple[str, ...], tmp_path: Path) -> None:
    found = run("probe", *at_home, "--out", tmp_path)
    number = [row for row in found["probes_accuracy"] if row["kind"] == "number of the verb"]
    assert sum(row["skipped"] for row in number) > 0
    cuisine = [row for row in found["probes_shift"] if row["kind"] == "cuisine"]
    assert {(row["probes"], row["kn"]) for row in cuisine} == {(0, None)}
    measures = ("accuracy", "shift", "probability", "nats")
    assert {path.name for path in tmp_path.iterdir()} == {
        f"probes_{m}.{kind}" for m in measures for kind in ("csv", "png")
    }


@pytest.mark.long
def test_the_probability_of_the_right_word_is_logged_by_distance(at_home: tuple[str, ...]) -> None:
    found = run("probe", *at_home, "--track")
    from core.config.presets import load_config
    from tasks.tracking.track import tracker_of

    with tracker_of(load_config("small")).reaching() as client:
        logged = client.get_run(found["mlflow_run_id"]).data.metrics
        files = {one.path for one in client.list_artifacts(found["mlflow_run_id"])}
    asked = [row for row in found["probes_probability"] if row["kind"] == "next word" and row["probes"]]
    assert [row["words back"] for row in asked] == ["1"]
    for model in ("kn", "rnn"):
        assert 0 < asked[0][model] < 1
        assert logged[f"{model}/probability/next_word/from_1"] == asked[0][model]
        assert logged[f"{model}/nats/next_word/from_1"] > 0
    assert {"probes_probability.json", "probes_nats.json"} <= files


@pytest.mark.long
def test_probes_of_the_grammar_are_drawn_by_seed(at_home: tuple[str, ...]) -> None:
    found = [run("probe", *at_home, "--probes", "grammar", "--reviews", 5, "--seed", seed) for seed in (1, 1, 2)]
    assert found[0] == found[1]
    assert found[0] != found[2]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("gradient-flow",), 7, "no champion"),
        (("gradient-flow", "--fitted"), 2, "not clear which data"),
        (("gradient-flow", "--fitted", "--preset", "small"), 5, "No model of this configuration"),
        (("gradient-flow", "--fresh", 8, "--fitted"), 2, "--fresh needs no model"),
        (("gradient-flow", "--fresh", 8, "--model", "99"), 2, "--fresh needs no model"),
        (("gradient-flow", "--fitted", "--bundle", "x"), 2, "cannot be used together"),
        (("context-use", "--bundle", "no_such_folder"), 7, "no such folder"),
        (("context-use", "--contexts", "0,5"), 2, "at least 1"),
        (("probe", "--probes", "greek"), 2, "'english' or 'grammar'"),
        (("probe", "--out", __file__), 2, "a file has its name"),
        (("toy", "addition", "--networks", "lsmt forget 1"), 2, "lstm forget 1"),
        (("toy", "addition", "--networks", ","), 2, "nknown network"),
        (("toy", "recall", "--lag", 2, "--length", 3), 2, "--length 2 at most, or a --lag of 3 or more"),
        (("toy", "association", "--keys", 2), 2, "keys is 2; it must be at least pairs = 3"),
        (("toy", "association", "--networks", "memry"), 2, "memory"),
        (("toy", "association", "--rates", "1e-3,0"), 2, "positive numbers"),
        (("toy", "implication", "--names", 8), 2, "names is 8; it must be between 9"),
        (("toy", "implication", "--networks", "memory, hops 4"), 2, "nknown network"),
    ],
)
def test_what_cannot_be_done_is_said_with_its_code(
    arguments: tuple[str | int, ...], code: int, said: str, own_home: Path
) -> None:
    error = complaint(*arguments)  # type: ignore[arg-type]
    assert error.exit_code == code
    assert said in str(error)


def test_models_that_are_no_networks_and_texts_that_are_too_short_are_refused(
    fitted: Path, texts: list[str], tmp_path: Path, own_home: Path
) -> None:
    bundles = bundles_in(fitted)
    assert "kn (ngram)" in str(complaint("gradient-flow", "--bundle", bundles["ngram"]))
    missing = complaint("gradient-flow", "--bundle", bundles["rnn"])
    assert (missing.exit_code, "--text FILE" in str(missing)) == (5, True)
    (tmp_path / "short.txt").write_text("the food was good\n")
    short = complaint("gradient-flow", "--bundle", bundles["rnn"], "--text", tmp_path / "short.txt")
    assert (short.exit_code, "no review has" in str(short)) == (3, True)
    twice = complaint("context-use", "--bundle", bundles["rnn"], "--bundle", bundles["rnn"])
    assert "have the same name" in str(twice)


def test_help_names_the_verbs() -> None:
    shown = CliRunner().invoke(app, ["--help"]).stdout
    for verb in ("gradient-flow", "context-use", "probe", "toy"):
        assert verb in shown


def test_the_networks_inside_a_cache_or_a_mixture_are_found() -> None:
    def part(name: str, spec: Any, model: Any) -> Part:
        return Part(name, spec, model)

    rnn = part("rnn", RNN, SimpleNamespace(network="weights"))
    cache = part("rnn+cache", NeuralCacheSpec(name="rnn+cache", part="rnn"), SimpleNamespace(part=rnn, spec=RNN))
    counts = part("kn", KN, SimpleNamespace())
    mixture = SimpleNamespace(parts=(counts, cache))
    spec = MixtureSpec(name="mix", parts=("kn", "rnn+cache"))
    bundle: Any = SimpleNamespace(spec=spec, model=mixture)
    assert recurrent_networks(FittedModel("mix v3", bundle)) == [("rnn of rnn+cache of mix v3", RNN, "weights")]
    assert recurrent_networks(FittedModel("kn v1", SimpleNamespace(spec=KN, model=SimpleNamespace()))) == []  # type: ignore[arg-type]


def test_all_fitted_models_of_the_champions_run_are_those_of_its_own_data(
    fitted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of equal options there may be newer fits, of other reviews."""
    from core.config.presets import load_config
    from reviewlm import fitted as module

    monkeypatch.setenv("REVIEWLM_HOME", str(fitted))
    config = load_config(str(fitted / "preset.toml"))
    both = module.chosen_models(module.RequestedModels(config, clean="reviews"), None, True)
    assert [one.name for one in both] == ["kn", "rnn"]
    with pytest.raises(ReviewLMError, match="No model of this configuration"):
        module.chosen_models(module.RequestedModels(config, clean="others"), None, True)
