"""`promote --version`, `rollback` and `history`: what a person does by hand is tested first, and written down."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from reviewlm.cli import app
from reviewlm.core.errors import BundleError, ConfigError, ReviewLMError, TrackingUnavailable
from reviewlm.core.services.join import PROMOTED, ROLLED_BACK
from reviewlm.tracking.logged_models.bundles import log_bundle
from reviewlm.tracking.registry.registry import Registry
from reviewlm.tracking.registry.versions import CHAMPION
from reviewlm.tracking.runs.runs import Tracker
from reviewlm.tracking.tags import MODEL_URI_TAG, SINCE
from tests.core.http_server import http_server
from tests.programs import command
from tests.tracking.tiny_model import fitted

pytestmark = pytest.mark.slow


@dataclass
class Shop:
    """A home folder with three versions that answer: the first two were champions, the gate refused the third."""

    home: Path
    registry: Registry

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))

    def json(self, *arguments: str) -> dict[str, Any]:
        done = self.run(*arguments, "--json")
        assert done.exception is None, done.output
        return dict(json.loads(done.stdout.splitlines()[-1]))

    def champion(self) -> int:
        version = self.registry.alias(CHAMPION)
        assert version is not None
        return version.version


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, template_home: Path) -> Path:
    home = tmp_path_factory.mktemp("shop") / "home"
    shutil.copytree(template_home, home)
    tracker = Tracker(f"sqlite:///{home / 'mlflow.db'}", "reviewlm", home / "mlartifacts")
    registry, run_id = Registry(tracker, "reviewlm"), tracker.start_run("fits")
    for order in (1, 2, 3):
        bundle = fitted(home.with_name(f"order {order}"), order)
        log_bundle(tracker, run_id, bundle)
        registry.register(tracker.tag(run_id, MODEL_URI_TAG), run_id, {"kind": "ngram"})
    registry.settle(
        1,
        None,
        True,
        "",
        {"gate/outcome": "promoted", "gate/reason": "the first"},
    )
    registry.settle(
        2,
        1,
        True,
        "",
        {"gate/outcome": "promoted", "gate/reason": "better"},
    )
    registry.settle(
        3,
        2,
        False,
        "",
        {"gate/outcome": "refused", "gate/reason": "slower"},
    )
    return home.rename(home.with_name("moved"))  # else its copies would open the bundles here


@pytest.fixture
def shop(
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Shop:
    home = tmp_path / "home"
    shutil.copytree(made, home)
    monkeypatch.setenv("REVIEWLM_HOME", str(home))
    tracker = Tracker(f"sqlite:///{home / 'mlflow.db'}", "reviewlm", home / "mlartifacts")
    return Shop(home, Registry(tracker, "reviewlm"))


def test_a_rollback_is_one_command_without_prefect(shop: Shop) -> None:
    environment = {**os.environ, "REVIEWLM_HOME": str(shop.home)}
    done = subprocess.run(
        command("roll_back"),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["champion_version"], result["previous_version"]) == (1, 2)
    assert (result["decision"], result["why"]) == ("rolled back to", "complaints")
    assert "prefect imported: False" in done.stderr


def test_a_colleague_who_rolls_back_too_undoes_nothing(shop: Shop) -> None:
    shop.json("rollback", "--why", "complaints")
    assert isinstance(shop.run("rollback").exception, ReviewLMError)
    assert shop.champion() == 1


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What a Prefect server is told: path, user, and the events."""
    received: list[dict[str, Any]] = []

    def answer(
        path: str,
        headers: Message,
        body: bytes,
    ) -> tuple[int, str]:
        [event] = json.loads(body)
        user = base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode()
        received.append(
            {
                "path": path,
                "user": user,
                **event,
            }
        )
        return 204, ""

    with http_server(answer) as address:
        monkeypatch.setenv("PREFECT_API_URL", f"{address}/api")
        monkeypatch.setenv("PREFECT_API_AUTH_STRING", "ann:secret")
        yield received


def test_what_a_person_decides_is_told_to_prefects_server_which_sends_the_alerts(
    shop: Shop, told: list[dict[str, Any]]
) -> None:
    shop.json(
        "rollback",
        "--why",
        "it swears",
        "--who",
        "ann",
    )
    shop.json(
        "promote",
        "--version",
        "3",
        "--force",
        "--why",
        "agreed",
        "--who",
        "bob",
    )
    assert [(one["path"], one["user"], one["event"], one["payload"]) for one in told] == [
        (
            "/api/events",
            "ann:secret",
            ROLLED_BACK,
            {"version": 1, "sentence": "By hand, by ann: it swears"},
        ),
        (
            "/api/events",
            "ann:secret",
            PROMOTED,
            {"version": 3, "sentence": "By hand, by bob: agreed"},
        ),
    ]
    assert {one["resource"]["prefect.resource.name"] for one in told} == {"reviewlm"}


def away_after(monkeypatch: pytest.MonkeyPatch, last: str) -> None:
    """Let the log answer nothing any more once the method *last* has written."""
    write = getattr(Registry, last)

    def written(self: Registry, *given: Any) -> Any:
        answer = write(self, *given)
        monkeypatch.setattr(Registry, "events", away)
        return answer

    def away(self: Registry) -> Any:
        raise TrackingUnavailable("MLflow cannot be reached", cause="the line is cut")

    monkeypatch.setattr(Registry, last, written)


LAST_ANSWERS = pytest.mark.parametrize(
    "last", ["append", "mark"], ids=["only decided", "carried out"]
)


def roll_back_before_outage(
    shop: Shop,
    last: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Result:
    """Roll back, with MLflow gone after its answer *last* until the command has ended."""
    with monkeypatch.context() as line:
        away_after(line, last)
        return shop.run("rollback", "--why", "complaints", "--json")


@LAST_ANSWERS
def test_a_rollback_after_which_mlflow_goes_away_is_told_as_decided(
    shop: Shop,
    last: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = roll_back_before_outage(shop, last, monkeypatch)
    assert done.exit_code == 0
    told = "The decision is recorded as event 4; the next command moves the aliases: MLflow cannot be reached"
    assert f"{told} (the line is cut)" in done.stdout
    assert "rollback --model reviewlm --to 1" in done.stdout
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["event"], result["champion_version"], result["previous_version"]) == (4, 1, 2)
    assert result["state"] == "pending"


@LAST_ANSWERS
def test_a_rollback_after_which_mlflow_goes_away_is_not_undone_by_asking_again(
    shop: Shop,
    last: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    roll_back_before_outage(shop, last, monkeypatch)
    again = shop.run("rollback", "--to", "1")
    assert "Version 1 is the champion already" in str(again.exception)
    assert shop.champion() == 1
    assert [row["state"] for row in shop.registry.decisions()] == ["carried out"] * 4


def test_a_repeated_promotion_of_the_champion_succeeds_without_a_decision(shop: Shop) -> None:
    events = shop.registry.decisions()
    done = shop.run(
        "promote",
        "--version",
        str(shop.champion()),
        "--why",
        "again",
        "--json",
    )
    assert done.exit_code == 0
    assert json.loads(done.stdout.splitlines()[-1])["champion_version"] == shop.champion()
    assert shop.registry.decisions() == events


def test_a_rollback_of_which_nobody_knows_whether_it_arrived_says_how_to_ask_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(self: Registry, *given: Any) -> Any:
        raise TrackingUnavailable("MLflow cannot be reached", remedy="start the server")

    monkeypatch.setattr(Registry, "append", cut)
    done = shop.run("rollback")
    assert isinstance(done.exception, TrackingUnavailable)
    assert (
        done.exception.remedy
        == "start the server; to ask again: `reviewlm rollback --model reviewlm --to 1`"
    )


def test_a_promotion_by_hand_after_which_mlflow_goes_away_is_made_once(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = ("promote", "--version", "3", "--why", "cheaper", "--force")
    with monkeypatch.context() as line:
        away_after(line, "append")
        assert shop.json(*wanted)["state"] == "pending"
    assert shop.json(*wanted)["state"] == "carried out"
    assert shop.champion() == 3
    assert len(shop.registry.decisions()) == 4


def test_a_version_that_does_not_open_is_not_rolled_back_to(shop: Shop) -> None:
    shutil.rmtree(shop.registry.bundle_folder(1))
    before = shop.registry.decisions()
    done = shop.run("rollback")
    assert isinstance(done.exception, BundleError)
    assert (shop.champion(), shop.registry.decisions()) == (2, before)


def test_a_version_that_answers_differently_from_when_it_was_saved_is_not_promoted(
    shop: Shop,
) -> None:
    spec = shop.registry.bundle_folder(1) / "spec.json"
    facts = json.loads(spec.read_text())
    facts["probes"] = [{**probe, "nats": probe["nats"] + 1} for probe in facts["probes"]]
    spec.write_text(json.dumps(facts))
    before = shop.registry.decisions()
    assert isinstance(shop.run("rollback").exception, BundleError)
    assert isinstance(
        shop.run(
            "promote",
            "--version",
            "1",
            "--why",
            "cheaper",
        ).exception,
        BundleError,
    )
    assert (shop.champion(), shop.registry.decisions()) == (2, before)


BY_HAND = ("promote", "--version", "3", "--why", "cheaper", "--who", "ana", "--force")


def test_a_version_that_the_gate_refused_needs_force(shop: Shop) -> None:
    done = shop.run(
        "promote",
        "--version",
        "3",
        "--why",
        "cheaper",
    )
    assert isinstance(done.exception, ReviewLMError)
    assert done.exception.cause == "slower"
    assert shop.champion() == 2


def test_a_version_that_the_gate_refused_is_promoted_by_force(shop: Shop) -> None:
    result = shop.json(*BY_HAND)
    assert (result["champion_version"], result["previous_version"], result["event"]) == (3, 2, 4)


def test_the_log_says_who_promoted_by_hand(shop: Shop) -> None:
    shop.json(*BY_HAND)
    newest = shop.json("history")["events"][0]
    assert (newest["who"], newest["why"]) == ("ana", "cheaper")
    assert (newest["decision"], newest["against"]) == ("promoted by hand", 2)


@pytest.fixture
def rolled_back(shop: Shop) -> Shop:
    """The shop after a promotion by hand that a colleague rolled back."""
    shop.json(*BY_HAND)
    shop.json(
        "rollback",
        "--why",
        "it swears",
        "--who",
        "bob",
    )
    return shop


def test_the_history_lists_what_was_decided_by_hand(rolled_back: Shop) -> None:
    answer = rolled_back.json("history")
    assert [(row["version"], row["decision"]) for row in answer["events"][:2]] == [
        (2, "rolled back to"),
        (3, "promoted by hand"),
    ]
    assert [(row["outcome"], row["by_hand"]) for row in answer["versions"]] == [
        ("refused", "rolled back from"),
        ("promoted", "rolled back to"),
        ("promoted", ""),
    ]


def test_a_version_tells_the_last_decision_about_it(rolled_back: Shop) -> None:
    left, used, _ = rolled_back.registry.versions()
    assert "rolled back from on" in left.description
    assert "by ana" not in left.description
    assert left.tags["by_hand"].endswith("by bob: it swears")
    assert "rolled back to" in used.description


def test_only_the_champion_has_a_day_since_which_it_is_that(rolled_back: Shop) -> None:
    left, used, _ = rolled_back.registry.versions()
    assert (SINCE in left.tags, SINCE in used.tags) == (False, True)


REFUSALS: dict[str, tuple[list[str], list[str]]] = {
    "champion already": ([], ["rollback", "--to", "2"]),
    "never champion": ([], ["rollback", "--to", "3"]),
    "refused by the gate": ([], ["promote", "--version", "3", "--why", "x"]),
    "no such version": ([], ["rollback", "--to", "9"]),
    "no such model": ([], ["rollback", "--model", "reviewlm2"]),
    "rolled back from": (["rollback"], ["rollback"]),
}
"""A command before, and a command that is then refused."""


@pytest.mark.parametrize("case", REFUSALS)
def test_each_command_that_a_refusal_proposes_is_carried_out(
    case: str,
    shop: Shop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, refused = REFUSALS[case]
    if before:
        shop.run(*before)

    assert require_remedies(shop.run(*refused), shop.home, tmp_path, monkeypatch)


def test_a_first_champion_that_cannot_be_rolled_back_from_is_replaced_by_the_proposed_command(
    shop: Shop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone = Registry(shop.registry.tracker, "alone")
    run_id = alone.tracker.start_run("fits")
    for order in (2, 3):
        log_bundle(alone.tracker, run_id, fitted(tmp_path / f"order {order}", order))
        alone.register(alone.tracker.tag(run_id, MODEL_URI_TAG), run_id, {"kind": "ngram"})

    alone.promote(1, None, why="the first")
    done = shop.run("rollback", "--model", "alone")
    commands = require_remedies(done, shop.home, tmp_path, monkeypatch)
    assert any(words[:2] == ["reviewlm", "promote"] for words in commands)


def require_remedies(
    done: Result,
    home: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> list[list[str]]:
    """Carry out each command of an error's remedy, each in a copy of the home, and return them."""
    assert isinstance(done.exception, ReviewLMError), done.output
    commands = [
        shlex.split(line) for line in re.findall(r"`(reviewlm .+?)`", done.exception.remedy)
    ]
    assert commands, done.exception.remedy
    for number, words in enumerate(commands):
        copied = folder / f"copy {number}"
        shutil.copytree(home, copied)
        monkeypatch.setenv("REVIEWLM_HOME", str(copied))
        answer = CliRunner().invoke(app, words[1:])
        assert answer.exit_code == 0, (words, answer.output, answer.exception)

    return commands


@pytest.mark.parametrize("names", [("champion", "champion"), ("2", "champion"), ("kn5", "kn5")])
def test_a_model_is_not_compared_with_itself(names: tuple[str, str], shop: Shop) -> None:
    refused = shop.run("compare", *names).exception
    assert isinstance(refused, ConfigError)
    assert refused.value == " ".join(names)
