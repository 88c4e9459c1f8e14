"""Which registered model a question is put to: one's own wins, the demo's answers until there is one."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reviewlm.cli import app
from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.sections.evaluation import DEMO_MODEL, OWN_MODEL
from reviewlm.core.errors import BundleError, ConfigError
from reviewlm.tracking.logged_models.bundles import log_bundle
from reviewlm.tracking.registry.locating import locate
from reviewlm.tracking.registry.opening import find, open_version
from reviewlm.tracking.registry.registry import Registry
from reviewlm.tracking.registry.versions import REFUSED
from reviewlm.tracking.runs.runs import Tracker
from reviewlm.tracking.tags import (
    BY_HAND,
    MODEL_NAME,
    MODEL_URI_TAG,
    OUTCOME,
    REASON,
    RUN_MODELS,
)
from tests.command_line import run
from tests.reviewlm.examined_homes import only
from tests.tracking.tiny_model import fitted


@dataclass
class Home:
    """A home folder; models are registered under a name, as champion or not."""

    folder: Path
    tracker: Tracker

    def register(
        self,
        name: str,
        order: int = 2,
        champion: bool = True,
        others: Mapping[str, int] | None = None,
    ) -> None:
        registry = Registry(self.tracker, name)
        run, address = self.log(name, order)
        addresses = {}
        for model, its_order in (others or {}).items():
            addresses[model] = self.log(name, its_order)[1]

        tags = {MODEL_NAME: f"kn{order}", RUN_MODELS: json.dumps(addresses)}
        number = registry.register(address, run, tags)
        if champion:
            before = registry.alias("champion")
            registry.promote(number, before.version if before else None, why="test")

    def log(self, name: str, order: int) -> tuple[str, str]:
        """Log a model of a run of its own; return the run and the address of the logged model."""
        run = self.tracker.start_run("fit")
        log_bundle(self.tracker, run, fitted(self.folder / f"made-{name}-{order}", order))
        return run, self.tracker.tag(run, MODEL_URI_TAG)


@pytest.fixture
def home(
    store_home: Path,
    tracker: Tracker,
    monkeypatch: pytest.MonkeyPatch,
) -> Home:
    monkeypatch.setenv("REVIEWLM_HOME", str(store_home))
    return Home(store_home, tracker)


def made_home(folder: Path, template_home: Path) -> Home:
    """Return a home for all tests of this module that only ask: registering a model takes a second."""
    shutil.copytree(template_home, folder)
    address = f"sqlite:///{folder / 'mlflow.db'}"
    return Home(folder, Tracker(address, "reviewlm", folder / "mlartifacts"))


@pytest.fixture(scope="module")
def home_of_one_run(tmp_path_factory: pytest.TempPathFactory, template_home: Path) -> Home:
    """A home with a champion of one's own, kn2, whose run has also made kn3."""
    home = made_home(tmp_path_factory.mktemp("one") / "home", template_home)
    home.register(OWN_MODEL, others={"kn3": 3})
    return home


@pytest.fixture
def two_models(home_of_one_run: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The champion kn2, and kn3 of the same run."""
    monkeypatch.setenv("REVIEWLM_HOME", str(home_of_one_run.folder))


@pytest.mark.parametrize(
    "reference", ["kn3", f"{OWN_MODEL}/1/kn3", "1/kn3", f"models:/{OWN_MODEL}/1/kn3"]
)
@pytest.mark.usefixtures("two_models")
def test_another_model_of_the_champion_s_run_is_opened_by_name(reference: str) -> None:
    bundle, version = open_version(RunConfig().workspace, OWN_MODEL, reference)
    assert (bundle.spec.name, version.version, version.run_model) == ("kn3", 1, "kn3")


@pytest.mark.usefixtures("two_models")
def test_the_champion_is_opened_by_the_name_of_its_model() -> None:
    bundle, version = open_version(RunConfig().workspace, OWN_MODEL, "kn2")
    assert (bundle.spec.name, version.run_model) == ("kn2", "")


@pytest.mark.parametrize("reference", ["kn4", f"{OWN_MODEL}/1/kn4"])
@pytest.mark.usefixtures("two_models")
def test_an_unknown_model_of_a_run_is_an_error_that_names_those_that_there_are(
    reference: str,
) -> None:
    with pytest.raises(BundleError) as error:
        open_version(RunConfig().workspace, OWN_MODEL, reference)
    assert "kn3" in error.value.remedy


@pytest.mark.parametrize("words", [("suggest", "The pizza"), ("generate", "--n", "1")])
@pytest.mark.usefixtures("two_models")
def test_the_answer_of_a_command_says_which_model_of_the_run_answered(
    words: tuple[str, ...],
) -> None:
    answered = run(*words, "--model", "kn3")
    assert (answered["model"], answered["version"]) == (OWN_MODEL, 1)
    assert answered["run_model"] == "kn3"
    assert "run_model" not in run(*words)


@pytest.mark.usefixtures("two_models")
def test_a_record_is_not_of_another_model_of_a_run() -> None:
    with pytest.raises(ConfigError):
        find(RunConfig().workspace, OWN_MODEL, f"{OWN_MODEL}/1/kn3")


@pytest.mark.slow
def test_after_the_demo_alone_its_model_answers(home: Home) -> None:
    home.register(DEMO_MODEL)
    _, version = open_version(RunConfig().workspace, OWN_MODEL)
    assert (version.name, version.version) == (DEMO_MODEL, 1)
    assert locate(RunConfig().workspace, OWN_MODEL, "1")[1] == f"models:/{DEMO_MODEL}/1"
    assert find(RunConfig().workspace, OWN_MODEL, "champion").version.name == DEMO_MODEL


def test_it_is_said_once_that_the_model_of_the_demo_answers(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    """It is nothing to warn of, and a command asks several times."""
    home.register(DEMO_MODEL)
    caplog.set_level(logging.INFO)
    for reference in ("1", "champion"):
        locate(RunConfig().workspace, OWN_MODEL, reference)
    told = [
        record.levelname for record in caplog.records if f"'{DEMO_MODEL}'" in record.getMessage()
    ]
    assert told == ["INFO"]


@pytest.fixture(scope="module")
def home_of_both(tmp_path_factory: pytest.TempPathFactory, template_home: Path) -> Home:
    """A home with a model of one's own beside the demo's."""
    home = made_home(tmp_path_factory.mktemp("both") / "home", template_home)
    home.register(DEMO_MODEL)
    home.register(OWN_MODEL, order=3)
    return home


@pytest.fixture
def both_models(
    home_of_both: Home,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One's own champion beside that of the demo."""
    monkeypatch.setenv("REVIEWLM_HOME", str(home_of_both.folder))
    caplog.set_level(logging.INFO)


@pytest.mark.usefixtures("both_models")
def test_a_model_of_ones_own_answers_from_then_on(caplog: pytest.LogCaptureFixture) -> None:
    assert open_version(RunConfig().workspace, OWN_MODEL)[1].name == OWN_MODEL
    assert f"'{DEMO_MODEL}'" not in caplog.text


@pytest.mark.parametrize(
    "reference",
    [
        DEMO_MODEL,
        f"{DEMO_MODEL}@champion",
        f"{DEMO_MODEL}/1",
        f"models:/{DEMO_MODEL}@champion",
    ],
)
@pytest.mark.usefixtures("both_models")
def test_the_model_of_the_demo_answers_by_its_name(
    reference: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert open_version(RunConfig().workspace, OWN_MODEL, reference)[1].name == DEMO_MODEL
    assert f"'{DEMO_MODEL}'" not in caplog.text


@pytest.mark.slow
def test_own_versions_of_which_none_is_champion_are_not_replaced_by_the_demo_unasked(
    home: Home,
) -> None:
    home.register(DEMO_MODEL)
    home.register(OWN_MODEL, champion=False)
    with pytest.raises(BundleError, match="models:/reviewlm@champion") as error:
        open_version(RunConfig().workspace, OWN_MODEL)
    assert "`reviewlm history --model reviewlm`" in error.value.remedy
    assert error.value.cause == "the gate has not decided about version 1 yet"
    Registry(home.tracker, OWN_MODEL).settle(
        1,
        None,
        False,
        "",
        {OUTCOME: REFUSED, REASON: "95 % come within 2 s"},
    )
    with pytest.raises(BundleError) as error:
        open_version(RunConfig().workspace, OWN_MODEL)
    assert error.value.cause == "the gate refused version 1: 95 % come within 2 s"
    assert "`reviewlm promote --version 1 --force --why TEXT`" in error.value.remedy
    assert "`--model reviewlm/1`" in error.value.remedy
    assert open_version(RunConfig().workspace, OWN_MODEL, "reviewlm/1")[1].version == 1
    assert open_version(RunConfig().workspace, OWN_MODEL, "1")[1].name == OWN_MODEL


@pytest.mark.parametrize(
    ("tags", "waits"), [({}, True), ({OUTCOME: REFUSED}, False), ({BY_HAND: "ann"}, False)]
)
def test_a_run_is_waited_for_only_while_neither_gate_nor_person_has_decided(
    home: Home,
    tags: dict[str, str],
    waits: bool,
) -> None:
    home.register(OWN_MODEL, champion=False)
    with home.tracker.reaching() as client:
        for name, value in tags.items():
            client.set_model_version_tag(OWN_MODEL, "1", name, value)
    with pytest.raises(BundleError) as error:
        open_version(RunConfig().workspace, OWN_MODEL)
    assert ("wait for the run" in error.value.remedy, "has not decided" in error.value.cause) == (
        waits,
        waits,
    )


@pytest.mark.parametrize(
    ("gone", "seen"),
    [
        ("the alias", True),
        *(
            pytest.param(gone, False, marks=pytest.mark.slow)
            for gone in ("the alias", "version 1", "the registered model")
        ),
    ],
)
def test_a_champion_that_is_gone_by_other_means_is_said_as_it_is_by_doctor_too(
    home: Home,
    gone: str,
    seen: bool,
) -> None:
    home.register(DEMO_MODEL)
    home.register(OWN_MODEL, order=3)
    if gone == "version 1":
        home.register(OWN_MODEL, order=2, champion=False)
    assert only("champion").state == "ok"
    with home.tracker.reaching() as client:
        if gone == "the alias":
            client.delete_registered_model_alias(OWN_MODEL, "champion")
        elif gone == "version 1":
            client.delete_model_version(OWN_MODEL, "1")
        else:
            client.delete_registered_model(OWN_MODEL)
    if seen:
        Registry(home.tracker, OWN_MODEL).champions()  # notes in the log what it finds
    with pytest.raises(BundleError) as error:
        open_version(RunConfig().workspace, OWN_MODEL)  # and not the demo's instead
    assert error.value.where == "models:/reviewlm@champion"
    assert str(error.value.cause).startswith(gone)
    line = only("champion")
    assert (line.state, str(error.value.cause) in line.found) == ("problem", True)
    if gone != "the registered model":
        Registry(home.tracker, OWN_MODEL).promote(
            1 if gone == "the alias" else 2, None, why="again"
        )
        assert open_version(RunConfig().workspace, OWN_MODEL)[1].name == OWN_MODEL
        assert only("champion").state == "ok"


@pytest.mark.parametrize("damage", ["removed", "cut", "no bundle"])
def test_a_champion_whose_files_are_gone_is_a_problem_for_doctor(home: Home, damage: str) -> None:
    home.register(OWN_MODEL)
    folder = find(RunConfig().workspace, OWN_MODEL, "champion").folder
    if damage == "cut":
        os.truncate(next(folder.glob("*.npy")), 10)
    else:
        (folder / ("spec.json" if damage == "no bundle" else "vocabulary.json")).unlink()

    line = only("champion")
    assert line.state == "problem"
    with pytest.raises(BundleError) as error:
        open_version(RunConfig().workspace, OWN_MODEL)
    assert (error.value.cause or error.value.what) in line.found


@pytest.mark.parametrize("reference", [DEMO_MODEL, "champion"])
def test_a_deleted_model_is_asked_for_by_its_name(home: Home, reference: str) -> None:
    """Not as an alias of another model."""
    home.register(DEMO_MODEL)
    delete_demo(home)
    address = locate(RunConfig().workspace, OWN_MODEL, reference)[1]
    assert address == f"models:/{DEMO_MODEL}@champion"


def test_a_version_of_a_deleted_model_is_named_as_missing(home: Home) -> None:
    home.register(DEMO_MODEL)
    delete_demo(home)
    with pytest.raises(BundleError, match="has no version 1"):
        open_version(RunConfig().workspace, OWN_MODEL, f"{DEMO_MODEL}/1")


def delete_demo(home: Home) -> None:
    with home.tracker.reaching() as client:
        client.delete_registered_model(DEMO_MODEL)


def test_an_empty_registry_is_named(home: Home) -> None:
    with pytest.raises(BundleError) as error:
        open_version(RunConfig().workspace, OWN_MODEL)
    assert str(home.folder) in str(error.value)


@pytest.mark.slow
def test_a_name_that_was_configured_is_never_exchanged(home: Home) -> None:
    home.register(DEMO_MODEL)
    with pytest.raises(BundleError, match="models:/mine@champion"):
        open_version(RunConfig().workspace, "mine")


@pytest.mark.long
def test_a_rollback_touches_the_model_that_was_named_alone(home: Home) -> None:
    for name in (OWN_MODEL, DEMO_MODEL):
        home.register(name)
        home.register(name, order=3)
    assert run("rollback", "--model", DEMO_MODEL)["champion_version"] == 1
    champions = {
        name: Registry(home.tracker, name).alias("champion") for name in (OWN_MODEL, DEMO_MODEL)
    }
    assert {name: version.version for name, version in champions.items() if version} == {
        OWN_MODEL: 2,
        DEMO_MODEL: 1,
    }
    done = CliRunner().invoke(app, ["rollback", "--model", "reviewlm-dmeo"])
    assert "No model is registered under this name" in str(done.exception)
